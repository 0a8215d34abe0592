"""REST for operators: `/api/publishers/`, with their limits and keys."""

from __future__ import annotations

from copy import copy
from typing import Any, ClassVar, Final

from django.core.exceptions import ValidationError as ModelError
from django.db.models import QuerySet
from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.mixins import (
    CreateModelMixin,
    ListModelMixin,
    RetrieveModelMixin,
    UpdateModelMixin,
)
from rest_framework.viewsets import GenericViewSet, ModelViewSet

from routing_app.core.issuers.service import FIELD_OF
from routing_app.core.jwt.algorithms import ALGORITHMS, KeyKind
from routing_app.core.models.issuers import MAX_NAME, check_clean
from routing_app.core.rest.fields import StrictModelSerializer, StringField, WholeNumberField
from routing_app.core.rest.views import OfBroker
from sessions_app.models import Limit, Publisher, PublisherKey
from sessions_app.publishers import lines

NAME: Final = "[A-Za-z0-9._-]+"
OF_PUBLISHER: Final = f"publishers/(?P<publisher>{NAME})"
METHODS: Final = ["get", "post", "patch", "delete", "head", "options"]
MAX_MATERIAL: Final = 16_384
MAX_LINES: Final = 100
MAX_MAXIMUM: Final = 2**31 - 1

CREATED_AT: Final = "2026-11-29T06:00:00Z"
PUBLISHER_EXAMPLE: Final = {"name": "demo", "tracking_enabled": True, "audiences": ["web"], "issuers": []}
LIMIT_EXAMPLE: Final = {
    "scope": "offer",
    "value": "",
    "customer": "",
    "maximum": 2,
    "policy": "ask",
    "observe_only": False,
}
KEY_EXAMPLE: Final = {"kid": "2026-11", "algorithm": "HS256", "active": True}


class LinesField(serializers.ListField):
    """Strings that a column has one a line."""

    child = StringField(max_length=MAX_NAME, validators=[check_clean])

    def to_internal_value(self, data: Any) -> str:  # type: ignore[override]  # not a list
        """As the column has it. Raises ValidationError."""
        return "\n".join(super().to_internal_value(data))

    def to_representation(self, value: Any) -> list[str]:
        """As a list."""
        return list(lines(value))


class PublisherSerializer(StrictModelSerializer[Publisher]):
    """A signer of customer tokens: `name` is the `publisherId` in them, and stays."""

    audiences = LinesField(
        required=False,
        max_length=MAX_LINES,
        help_text="Accepted `aud` of its tokens. Empty: tokens have none.",
    )
    issuers = LinesField(
        required=False,
        max_length=MAX_LINES,
        help_text="Accepted `iss` of its tokens. Empty: tokens have none.",
    )

    class Meta:
        model = Publisher
        fields = ("name", "tracking_enabled", "audiences", "issuers", "created_at")
        read_only_fields = ("created_at",)
        extra_kwargs: ClassVar = {"name": {"trim_whitespace": False}}

    def validate_name(self, value: str) -> str:
        """Raise ValidationError for another name than it has."""
        if isinstance(self.instance, Publisher) and value != self.instance.name:
            raise serializers.ValidationError("The name is in the tokens of its customers, and stays.")
        return value

    def create(self, validated_data: dict[str, Any]) -> Publisher:
        """Make it."""
        row = super().create(validated_data)
        row.refresh_from_db()
        return row


@extend_schema_view(
    list=extend_schema(summary="List publishers"),
    create=extend_schema(summary="Make a publisher"),
    retrieve=extend_schema(summary="One publisher"),
    partial_update=extend_schema(summary="Change a part of a publisher"),
)
class PublisherViewSet(
    OfBroker,
    ListModelMixin,
    CreateModelMixin,
    RetrieveModelMixin,
    UpdateModelMixin,
    GenericViewSet[Publisher],
):
    """Those who sign customer tokens. Reading needs the scope read, a change manage, which holds within 5
    seconds."""

    serializer_class = PublisherSerializer
    queryset = Publisher.objects.all()
    body_example: ClassVar = PUBLISHER_EXAMPLE
    row_example: ClassVar = {**PUBLISHER_EXAMPLE, "created_at": CREATED_AT}
    lookup_field = "name"
    lookup_value_regex = NAME
    http_method_names = METHODS


class OfPublisher(OfBroker, ModelViewSet[Any]):
    """Rows of the publisher in the path."""

    lookup_value_regex = "[0-9]{1,18}"
    http_method_names = METHODS

    def get_queryset(self) -> QuerySet[Any]:
        """Its rows."""
        return super().get_queryset().filter(publisher=self.publisher()).order_by("pk")

    def publisher(self) -> Publisher:
        """The publisher. Raises Http404."""
        row = Publisher.objects.filter(name=self.kwargs["publisher"]).first()
        if row is None:
            raise Http404
        return row

    def get_serializer_context(self) -> dict[str, Any]:
        """With the publisher; there is none where the OpenAPI document is made."""
        named = "publisher" in self.kwargs
        return {**super().get_serializer_context(), "publisher": self.publisher() if named else None}

    def perform_create(self, serializer: Any) -> None:
        """Make it, of this publisher."""
        serializer.save(publisher=serializer.context["publisher"])


class PublisherLimitSerializer(StrictModelSerializer[Limit]):
    """A maximum of sessions of one customer at once; several apply at once."""

    maximum = WholeNumberField(min_value=0, max_value=MAX_MAXIMUM)

    class Meta:
        model = Limit
        fields = ("id", "scope", "value", "customer", "maximum", "policy", "observe_only")
        extra_kwargs: ClassVar = {
            "value": {"trim_whitespace": False},
            "customer": {"trim_whitespace": False},
        }

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Raise ValidationError for what the model refuses, such as a limit that is there already."""
        made = Limit(publisher=self.context["publisher"])
        row = copy(self.instance) if isinstance(self.instance, Limit) else made
        for name, value in attrs.items():
            setattr(row, name, value)
        try:
            row.clean()
            row.validate_constraints()
        except ModelError as error:
            raise serializers.ValidationError(_as_answer(error)) from None
        return attrs


def _as_answer(error: ModelError) -> dict[str, list[str]]:
    return {
        "non_field_errors" if field == "__all__" else field: messages
        for field, messages in error.message_dict.items()
    }


PUBLISHER: Final = OpenApiParameter("publisher", str, "path", description="The publisher's name.")


@extend_schema(parameters=[PUBLISHER])
@extend_schema_view(
    list=extend_schema(summary="List limits of a publisher"),
    create=extend_schema(summary="Make a limit of a publisher"),
    retrieve=extend_schema(summary="One limit of a publisher"),
    partial_update=extend_schema(summary="Change a part of a limit"),
    destroy=extend_schema(summary="Delete a limit of a publisher"),
)
class PublisherLimitViewSet(OfPublisher):
    """How many sessions a customer may have at once. Reading needs the scope read, a change manage, which
    holds at once."""

    serializer_class = PublisherLimitSerializer
    queryset = Limit.objects.all()
    body_example: ClassVar = LIMIT_EXAMPLE
    row_example: ClassVar = {"id": 1, **LIMIT_EXAMPLE}


class PublisherKeySerializer(StrictModelSerializer[PublisherKey]):
    """A key of a publisher, by one of `secret` (never shown), `pem` and `jwks_url`, which stay."""

    algorithm = serializers.ChoiceField(ALGORITHMS)
    secret = StringField(max_length=MAX_MATERIAL, trim_whitespace=False, required=False, write_only=True)
    pem = StringField(max_length=MAX_MATERIAL, required=False)
    jwks_url = StringField(max_length=MAX_MATERIAL, required=False)

    class Meta:
        model = PublisherKey
        fields = ("id", "kid", "algorithm", "kind", "secret", "pem", "jwks_url", "active", "created_at")
        read_only_fields = ("kind", "created_at")

    def validate_kid(self, value: str) -> str:
        """Raise ValidationError for what no token may hold."""
        try:
            check_clean(value)
        except ModelError as error:
            raise serializers.ValidationError(error.messages) from None
        return value

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """The columns. Raises ValidationError for a key that cannot work."""
        given = {kind: attrs.pop(name) for kind, name in FIELD_OF.items() if name in attrs}
        if isinstance(self.instance, PublisherKey):
            if given or attrs.get("algorithm", self.instance.algorithm) != self.instance.algorithm:
                raise serializers.ValidationError("A key stays as it is; make another one for rotation.")
            return attrs
        if len(given) != 1:
            raise serializers.ValidationError("expected one of secret, pem and jwks_url")
        [(kind, material)] = given.items()
        try:
            PublisherKey(kind=kind, algorithm=attrs["algorithm"], material=material).clean()
        except ModelError as error:
            raise serializers.ValidationError({FIELD_OF[kind]: error.messages}) from None
        return {**attrs, "kind": kind.value, "material": material}

    def create(self, validated_data: dict[str, Any]) -> PublisherKey:
        """Make it."""
        row = super().create(validated_data)
        row.refresh_from_db()
        return row

    def to_representation(self, instance: PublisherKey) -> dict[str, Any]:
        """A key without its secret."""
        kind = KeyKind(instance.kind)
        shown = {} if kind is KeyKind.SECRET else {FIELD_OF[kind]: instance.material}
        fields = {"kid": instance.kid, "algorithm": instance.algorithm, "kind": kind.value, **shown}
        created_at = self.fields["created_at"].to_representation(instance.created_at)
        return {"id": instance.pk, **fields, "active": instance.active, "created_at": created_at}


@extend_schema(parameters=[PUBLISHER])
@extend_schema_view(
    list=extend_schema(summary="List keys of a publisher"),
    create=extend_schema(summary="Add a key to a publisher"),
    retrieve=extend_schema(summary="One key of a publisher"),
    partial_update=extend_schema(summary="Change a part of a key, as to switch it off"),
    destroy=extend_schema(summary="Delete a key of a publisher", description="Its tokens are refused."),
)
class PublisherKeyViewSet(OfPublisher):
    """Keys that customer tokens are checked with. Reading needs the scope read, a change manage, which holds
    within 5 seconds."""

    serializer_class = PublisherKeySerializer
    queryset = PublisherKey.objects.all()
    body_example: ClassVar = {**KEY_EXAMPLE, "secret": "a secret of at least 32 characters"}
    row_example: ClassVar = {"id": 1, **KEY_EXAMPLE, "kind": "secret", "created_at": CREATED_AT}
