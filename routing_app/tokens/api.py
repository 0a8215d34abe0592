"""REST: `/api/tokens/`."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.filters import SearchFilter
from rest_framework.request import Request
from rest_framework.viewsets import ModelViewSet

from routing_app.core.access.masking import hides_identities, shown_identity
from routing_app.core.rest.auth import addresses_of, check_address, secret_access
from routing_app.core.rest.fields import StrictModelSerializer
from routing_app.core.rest.views import OfBroker
from routing_app.tokens import service, wire
from routing_app.tokens.models import RegisteredToken, Source

BODY: Final = {"token": "abc1", "enabled": True, "note": "the shop's screen"}


class TokenSerializer(StrictModelSerializer[RegisteredToken]):
    """A registered token. `token` is set when it is created; to change it, delete it and create another."""

    disabled_by = serializers.CharField(
        read_only=True, help_text="admin, api or import; empty while enabled."
    )

    class Meta:
        model = RegisteredToken
        fields = ("id", "token", "enabled", "disabled_by", "note", "source", "created_at", "changed_at")
        read_only_fields = ("created_at", "changed_at")

    def to_representation(self, instance: RegisteredToken) -> dict[str, Any]:
        """The row; the token is masked for a caller that may not change it."""
        token = shown_identity(secret_access(self.context["request"]), "tokens", instance.token)
        return {**super().to_representation(instance), "token": token}

    def validate_token(self, value: str) -> str:
        """The token as it will be known; a known one cannot become another."""
        try:
            token = wire.check_registrable(value)
        except wire.TokenWireError as error:
            raise ValidationError(str(error)) from None
        if self.instance is not None and token != self.instance.token:
            raise ValidationError("a token cannot be changed; delete it and create another")
        return token

    def create(self, validated_data: dict[str, Any]) -> RegisteredToken:
        """Register."""
        text = validated_data.pop("token")
        check_address(self.context["request"], wire.address_of(text))
        try:
            return service.add(text, Source.API, **validated_data)
        except service.AlreadyRegistered:
            raise ValidationError({"token": ["this token is registered already"]}) from None

    def update(self, instance: RegisteredToken, validated_data: dict[str, Any]) -> RegisteredToken:
        """Enable, disable, note."""
        return service.change(instance, Source.API, validated_data.get("enabled"), validated_data.get("note"))


class TokenFilter(serializers.Serializer[Any]):
    """The filters of a list."""

    enabled = serializers.BooleanField(required=False, allow_null=True, default=None)
    source = serializers.ChoiceField(  # type: ignore[assignment]  # a field; DRF takes it off the class
        required=False, choices=Source.choices
    )


class TokenSearch(SearchFilter):
    """`?search=`; a caller that sees tokens masked cannot find out their characters by it."""

    def get_search_fields(self, view: Any, request: Request) -> tuple[str, ...]:
        """The columns to search in."""
        return ("note",) if hides_identities(secret_access(request), "tokens") else ("token", "note")


@extend_schema_view(
    list=extend_schema(parameters=[TokenFilter], summary="List tokens"),
    create=extend_schema(summary="Register a token"),
    retrieve=extend_schema(summary="One token"),
    update=extend_schema(summary="Enable, disable or annotate a token"),
    partial_update=extend_schema(summary="Enable, disable or annotate a token"),
    destroy=extend_schema(
        summary="Delete a token",
        description="Clients that need a registered token are disconnected. An import may add it again.",
    ),
)
class TokenViewSet(OfBroker, ModelViewSet[RegisteredToken]):
    """Registered tokens. Reading needs the scope read, the rest manage."""

    serializer_class = TokenSerializer
    queryset = RegisteredToken.objects.all()
    lookup_value_regex = "[0-9]+"
    body_example: ClassVar = BODY
    row_example: ClassVar = {
        "id": 1,
        **BODY,
        "disabled_by": "",
        "source": "api",
        "created_at": "2026-11-29T06:00:00Z",
        "changed_at": "2026-11-29T06:00:00Z",
    }
    filter_backends = (TokenSearch,)
    by_address = True

    def get_queryset(self) -> QuerySet[RegisteredToken]:
        """All tokens; a list is narrowed by `?enabled=` and `?source=`."""
        rows = super().get_queryset().filter(service.covered_by(addresses_of(self.request)))
        if self.action != "list":
            return rows
        narrow = TokenFilter(data=self.request.query_params)
        narrow.is_valid(raise_exception=True)
        wanted = {name: value for name, value in narrow.validated_data.items() if value is not None}
        return rows.filter(**wanted)

    def perform_destroy(self, instance: RegisteredToken) -> None:
        """Delete and revoke."""
        service.remove(RegisteredToken.objects.filter(pk=instance.pk))
