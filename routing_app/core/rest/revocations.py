"""REST: `/api/revocations/`, names that are let in no more."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from django.core.exceptions import ValidationError as Invalid
from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.mixins import CreateModelMixin, DestroyModelMixin, ListModelMixin, RetrieveModelMixin
from rest_framework.viewsets import GenericViewSet

from routing_app.core.models import Revocation, Scope
from routing_app.core.models.revocations import NAMED
from routing_app.core.rest.fields import StrictModelSerializer, StringField
from routing_app.core.rest.views import OfBroker
from routing_app.core.revocations import service


class RevocationSerializer(StrictModelSerializer[Revocation]):
    """A revocation of exactly one name; `issued_before` only with `subject`."""

    class Meta:
        model = Revocation
        fields = ("id", *NAMED, "issued_before", "until", "reason", "created_at")
        read_only_fields = ("created_at",)
        extra_kwargs: ClassVar = {name: {"trim_whitespace": False} for name in NAMED}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """The fields by the rules of the service. Raises ValidationError, also for unknown fields."""
        if unknown := set(self.initial_data) - set(self.fields):
            raise serializers.ValidationError({name: ["Unknown field."] for name in sorted(unknown)})
        try:
            return service.checked(attrs)
        except Invalid as error:
            raise serializers.ValidationError(serializers.as_serializer_error(error)) from None


class RevocationFilter(serializers.Serializer[Any]):
    """The filters of a list."""

    subject = StringField(required=False, trim_whitespace=False)
    jti = StringField(required=False, trim_whitespace=False)
    token = StringField(required=False, trim_whitespace=False)
    key = StringField(required=False, trim_whitespace=False)
    network = StringField(required=False, help_text="As it is listed, in CIDR form.")
    active = serializers.BooleanField(
        required=False, allow_null=True, default=None, help_text="False: those whose `until` has come."
    )


EXAMPLE: Final = {"subject": "user-17", "until": "2030-01-01T00:00:00Z", "reason": "account blocked"}
READ: Final = {
    "id": 1,
    **dict.fromkeys(NAMED, ""),
    **EXAMPLE,
    "issued_before": None,
    "created_at": "2026-11-29T06:00:00Z",
}


@extend_schema_view(
    list=extend_schema(summary="List revocations", parameters=[RevocationFilter]),
    create=extend_schema(
        summary="Revoke a name",
        description="Exactly one of `subject`, `jti`, `token`, `key` and `network`. Matching connections are"
        " closed with 4008 on every worker, and new ones are refused until `until`.",
        examples=[
            OpenApiExample("A network", {"network": "203.0.113.0/24"}, request_only=True),
        ],
    ),
    retrieve=extend_schema(summary="One revocation"),
    destroy=extend_schema(summary="Lift a revocation"),
)
class RevocationViewSet(
    OfBroker,
    CreateModelMixin,
    RetrieveModelMixin,
    DestroyModelMixin,
    ListModelMixin,
    GenericViewSet[Revocation],
):
    """Names that are let in no more, on every protocol. All of it needs the scope manage."""

    serializer_class = RevocationSerializer
    queryset = Revocation.objects.all()
    lookup_value_regex = "[0-9]+"
    body_example: ClassVar = EXAMPLE
    row_example: ClassVar = READ
    scopes: ClassVar = dict.fromkeys(("GET", "HEAD", "OPTIONS"), Scope.MANAGE)

    def get_queryset(self) -> QuerySet[Revocation]:
        """Revocations, the newest first; a list is narrowed by the filters."""
        rows = super().get_queryset()
        if self.action != "list":
            return rows
        narrow = RevocationFilter(data=self.request.query_params)
        narrow.is_valid(raise_exception=True)
        wanted = narrow.validated_data
        active = wanted.pop("active")
        if active is not None:
            over = rows.filter(until__lte=timezone.now())
            rows = rows.exclude(until__lte=timezone.now()) if active else over
        return rows.filter(**wanted)

    def perform_create(self, serializer: Any) -> None:
        """Make it, and tell every worker."""
        service.tell_made([serializer.save()])

    def perform_destroy(self, instance: Revocation) -> None:
        """Lift it, and tell every worker."""
        service.lift([instance])
