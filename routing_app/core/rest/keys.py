"""REST: `/api/keys/`, the API keys themselves."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from django.db import transaction
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ModelViewSet

from routing_app.core.access import keys
from routing_app.core.access.key_changes import forget, revoke
from routing_app.core.access.patterns import MAX_LENGTH, MAX_PATTERNS, check_patterns
from routing_app.core.models import ApiKey, Scope
from routing_app.core.rest.fields import StrictModelSerializer, StringField
from routing_app.core.rest.known_rows import ALL_ADMIN, NO_STORE
from routing_app.core.rest.views import OfBroker

EXAMPLE: Final = {
    "name": "shop",
    "scopes": ["publish", "read"],
    "addresses": ["room:bus/*", "token:shop"],
    "expires_at": "2027-12-31T00:00:00Z",
}

READ: Final = {
    "id": 1,
    "prefix": "sb_1f9Qx",
    **EXAMPLE,
    "created_at": "2026-11-29T06:00:00Z",
    "last_used_at": None,
    "revoked_at": None,
}


class KeySerializer(StrictModelSerializer[ApiKey]):
    """A key without the key itself; `addresses` are patterns, and none is all addresses."""

    scopes = serializers.ListField(child=serializers.ChoiceField(Scope.choices), min_length=1)
    addresses = serializers.ListField(
        child=StringField(max_length=MAX_LENGTH, trim_whitespace=False),
        required=False,
        max_length=MAX_PATTERNS,
        validators=[check_patterns],
        help_text="Addresses, or prefixes of addresses with a final *; empty: all.",
    )

    class Meta:
        model = ApiKey
        fields = (
            "id",
            "name",
            "prefix",
            "scopes",
            "addresses",
            "expires_at",
            "created_at",
            "last_used_at",
            "revoked_at",
        )
        read_only_fields = ("prefix", "created_at", "last_used_at", "revoked_at")

    def validate_scopes(self, value: list[str]) -> list[str]:
        """Each scope once, in order."""
        return sorted(set(value))

    def create(self, validated_data: dict[str, Any]) -> ApiKey:
        """Make a key; `plain` is the key itself, this once."""
        row, self.plain = keys.issue(**validated_data)
        row.refresh_from_db()
        return row


class NewKeySerializer(KeySerializer):
    """A new key, with the key itself."""

    key = serializers.CharField(read_only=True, help_text="The key; it is not shown again.")

    class Meta(KeySerializer.Meta):
        fields = ("key", *KeySerializer.Meta.fields)  # type: ignore[assignment]  # one more


@extend_schema_view(
    list=extend_schema(summary="List API keys"),
    retrieve=extend_schema(summary="One API key"),
    update=extend_schema(summary="Change an API key"),
    partial_update=extend_schema(summary="Change a part of an API key"),
    destroy=extend_schema(
        summary="Revoke an API key",
        description="It is refused from now on, and its sockets and streams end; its row stays.",
    ),
)
class KeyViewSet(OfBroker, ModelViewSet[ApiKey]):
    """API keys. All of it needs the scope admin; changes hold at once."""

    serializer_class = KeySerializer
    queryset = ApiKey.objects.all()
    lookup_value_regex = "[0-9]+"
    body_example: ClassVar = EXAMPLE
    row_example: ClassVar = READ
    new_example: ClassVar = {"key": "sb_1f9Qx…", **READ}
    scopes: ClassVar = ALL_ADMIN

    @extend_schema(
        summary="Make an API key",
        responses={201: NewKeySerializer},
    )
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Make a key, and show it this once."""
        serializer = KeySerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        serializer.save()
        made = {"key": serializer.plain, **serializer.data}
        return Response(made, status=status.HTTP_201_CREATED, headers=NO_STORE)

    def perform_update(self, serializer: Any) -> None:
        """Change it everywhere."""
        serializer.save()
        transaction.on_commit(forget)

    def perform_destroy(self, instance: ApiKey) -> None:
        """Revoke it everywhere."""
        revoke([instance])
