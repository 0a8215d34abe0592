"""REST: `/api/issuers/`, those who sign access tokens."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.viewsets import ModelViewSet

from routing_app.core.issuers import service
from routing_app.core.issuers.service import FIELD_OF, MAX_KEYS, BadKey, WantedKey
from routing_app.core.jwt.algorithms import ALGORITHMS, KeyKind
from routing_app.core.models import Issuer, IssuerKey
from routing_app.core.models.issuers import MAX_NAME, check_clean
from routing_app.core.rest.fields import StrictModelSerializer, StringField
from routing_app.core.rest.known_rows import ALL_ADMIN
from routing_app.core.rest.views import OfBroker

MAX_MATERIAL: Final = 16_384
MAX_AUDIENCES: Final = 100


class IssuerKeySerializer(serializers.Serializer[Any]):
    """A key of an issuer, by one of `secret` (never shown), `pem` and `jwks_url`; none of them: the one that
    it has already, by algorithm and kid.
    """

    kid = StringField(max_length=MAX_NAME, default="", allow_blank=True, validators=[check_clean])
    algorithm = serializers.ChoiceField(choices=ALGORITHMS)
    kind = serializers.ChoiceField(choices=[kind.value for kind in KeyKind], read_only=True)
    secret = StringField(max_length=MAX_MATERIAL, trim_whitespace=False, required=False, write_only=True)
    pem = StringField(max_length=MAX_MATERIAL, required=False)
    jwks_url = StringField(max_length=MAX_MATERIAL, required=False)
    active = serializers.BooleanField(default=True)

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """The fields of a key, which is whole also where a part of its issuer is changed.

        REST Framework asks nothing of the fields below a partial change; a serializer that stands alone is
        not below one.
        """
        if self.root is not self:
            return dict(type(self)().run_validation(data))
        fields: dict[str, Any] = super().to_internal_value(data)
        return fields

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """At most one form. Raises ValidationError."""
        if len([name for name in FIELD_OF.values() if name in attrs]) > 1:
            raise serializers.ValidationError("expected one of secret, pem and jwks_url")
        return attrs

    def to_representation(self, instance: IssuerKey) -> dict[str, Any]:
        """A key without its secret."""
        kind = KeyKind(instance.kind)
        shown = {} if kind is KeyKind.SECRET else {FIELD_OF[kind]: instance.material}
        return {
            "kid": instance.kid,
            "algorithm": instance.algorithm,
            "kind": kind.value,
            "active": instance.active,
            **shown,
        }


class IssuerSerializer(StrictModelSerializer[Issuer]):
    """A signer of access tokens: `name` is the `iss` in them. Its keys are replaced as a whole."""

    audiences = serializers.ListField(
        child=StringField(max_length=MAX_NAME, trim_whitespace=False, validators=[check_clean]),
        max_length=MAX_AUDIENCES,
        required=False,
        help_text="Accepted `aud` of its tokens. Empty: tokens have none.",
    )
    keys = IssuerKeySerializer(many=True, required=False, max_length=MAX_KEYS)  # type: ignore[call-arg]

    class Meta:
        model = Issuer
        fields = ("id", "name", "audiences", "keys", "enabled", "created_at")
        read_only_fields = ("created_at",)
        extra_kwargs: ClassVar = {"name": {"trim_whitespace": False}}

    def to_representation(self, instance: Issuer) -> dict[str, Any]:
        """Keys as they were given, the oldest first."""
        keys = sorted(instance.keys.all(), key=lambda key: (key.created_at, key.pk))
        shown = self.fields["keys"].to_representation(keys)
        return {**super().to_representation(instance), "keys": shown}

    def create(self, validated_data: dict[str, Any]) -> Issuer:
        """Make it. Raises ValidationError."""
        keys = _wanted(validated_data.pop("keys", []))
        try:
            return service.make(validated_data, keys)
        except BadKey as error:
            raise _as_answer(error, len(keys)) from None

    def update(self, instance: Issuer, validated_data: dict[str, Any]) -> Issuer:
        """Change it; without `keys` they stay. Raises ValidationError, NotFound."""
        given = validated_data.pop("keys", None)
        keys = None if given is None else _wanted(given)
        try:
            return service.change(instance, validated_data, keys)
        except BadKey as error:
            raise _as_answer(error, len(keys or ())) from None
        except Issuer.DoesNotExist:
            raise NotFound from None


def _wanted(keys: list[dict[str, Any]]) -> list[WantedKey]:
    return [_wanted_key(key) for key in keys]


def _wanted_key(key: dict[str, Any]) -> WantedKey:
    for kind, name in FIELD_OF.items():
        if name in key:
            return WantedKey(key["algorithm"], key["kid"], kind, key[name], key["active"])
    return WantedKey(key["algorithm"], key["kid"], active=key["active"])


def _as_answer(error: BadKey, count: int) -> serializers.ValidationError:
    """As REST Framework tells of an item of a list: an object for each, empty where nothing is wrong."""
    keys: list[dict[str, Any]] = [{} for _ in range(count)]
    keys[error.number] = {error.field: [str(error)]}
    return serializers.ValidationError({"keys": keys})


EXAMPLE: Final = {
    "name": "shop",
    "audiences": ["switchboard"],
    "keys": [{"kid": "2026-11", "algorithm": "HS256", "secret": "a secret of at least 32 characters"}],
    "enabled": True,
}
BY_URL: Final = {
    "name": "login",
    "keys": [{"algorithm": "RS256", "jwks_url": "https://login.example/.well-known/jwks.json"}],
}
READ: Final = {
    "id": 1,
    "name": "shop",
    "audiences": ["switchboard"],
    "keys": [{"kid": "2026-11", "algorithm": "HS256", "kind": "secret", "active": True}],
    "enabled": True,
    "created_at": "2026-11-29T06:00:00Z",
}


@extend_schema_view(
    list=extend_schema(summary="List issuers"),
    create=extend_schema(
        summary="Make an issuer",
        examples=[
            OpenApiExample("An issuer with a JWKS", BY_URL, request_only=True),
        ],
    ),
    retrieve=extend_schema(summary="One issuer"),
    update=extend_schema(summary="Change an issuer"),
    partial_update=extend_schema(summary="Change a part of an issuer"),
    destroy=extend_schema(summary="Delete an issuer", description="Its tokens are refused."),
)
class IssuerViewSet(OfBroker, ModelViewSet[Issuer]):
    """Those who sign access tokens. All of it needs the scope admin; changes hold within 5 seconds."""

    serializer_class = IssuerSerializer
    queryset = Issuer.objects.none()
    lookup_value_regex = "[0-9]+"
    body_example: ClassVar = EXAMPLE
    row_example: ClassVar = READ
    scopes: ClassVar = ALL_ADMIN

    def get_queryset(self) -> QuerySet[Issuer]:
        """Issuers by name, with their keys."""
        return Issuer.objects.prefetch_related("keys")

    def perform_destroy(self, instance: Issuer) -> None:
        """Delete it, and tell."""
        service.delete(instance)
