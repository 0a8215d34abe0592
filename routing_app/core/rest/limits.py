"""REST: `/api/limits/`, the rate limits."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from django.core.exceptions import ValidationError as ModelError
from django.db import models
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers

from routing_app.core.models import RateLimit, Scope
from routing_app.core.rate_limits.notice import tell_limits_changed
from routing_app.core.rest.fields import NumberField, StrictModelSerializer, WholeNumberField
from routing_app.core.rest.known_rows import KnownRows


class LimitSerializer(StrictModelSerializer[RateLimit]):
    """A rate limit; every limit that fits what a client does is counted."""

    serializer_field_mapping: ClassVar = {
        **StrictModelSerializer.serializer_field_mapping,
        models.FloatField: NumberField,
        models.PositiveIntegerField: WholeNumberField,
    }

    class Meta:
        model = RateLimit
        fields = ("id", "protocol", "command", "per", "rate", "burst", "then", "note")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Raise ValidationError for a limit that could never count anything."""
        names = ("protocol", "command", "per", "rate", "then")
        known = {} if self.instance is None else {name: getattr(self.instance, name) for name in names}
        given = {name: attrs[name] for name in names if name in attrs}
        try:
            RateLimit(**{**known, **given}).clean()
        except ModelError as error:
            raise serializers.ValidationError(error.message_dict) from None
        return attrs


EXAMPLE: Final = {
    "protocol": "*",
    "command": "publish",
    "per": "identity",
    "rate": 10,
    "burst": 50,
    "then": "refuse",
    "note": "chat",
}


@extend_schema_view(
    list=extend_schema(summary="List rate limits"),
    create=extend_schema(summary="Make a rate limit"),
    retrieve=extend_schema(summary="One rate limit"),
    update=extend_schema(summary="Change a rate limit"),
    partial_update=extend_schema(summary="Change a part of a rate limit"),
    destroy=extend_schema(summary="Delete a rate limit"),
)
class LimitViewSet(KnownRows[RateLimit]):
    """How often clients may do something. All of it needs the scope manage; changes hold within 5 seconds."""

    serializer_class = LimitSerializer
    queryset = RateLimit.objects.all()
    body_example: ClassVar = EXAMPLE
    row_example: ClassVar = {"id": 1, **EXAMPLE}
    scopes: ClassVar = dict.fromkeys(("GET", "HEAD", "OPTIONS"), Scope.MANAGE)

    def tell(self) -> None:
        """Have every worker read the limits."""
        tell_limits_changed()
