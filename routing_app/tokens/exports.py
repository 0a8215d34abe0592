"""Registered tokens in the file of `manage.py export`."""

from __future__ import annotations

from typing import Any

from rest_framework.exceptions import ValidationError

from routing_app.core.access.masking import mask
from routing_app.core.exports.section import Fields, Section
from routing_app.tokens import service
from routing_app.tokens.api import TokenSerializer
from routing_app.tokens.models import RegisteredToken, Source


class Tokens(Section[RegisteredToken]):
    """Tokens, whole: they are names that clients go by and, where only registered ones may connect,
    credentials."""

    name = "tokens"
    model = RegisteredToken
    serializer_class = TokenSerializer
    identity = ("token",)

    def shown(self, row: RegisteredToken) -> Fields:
        """Without what REST would mask."""
        return {"token": row.token, "enabled": row.enabled, "note": row.note}

    def field_names(self) -> set[str]:
        """What an operator says of one."""
        return {"token", "enabled", "note"}

    def label(self, fields: Any) -> str:
        """Enough to recognise it by."""
        return mask(str(fields.get("token", "")))

    def make(self, fields: Fields) -> RegisteredToken:
        """Register."""
        given = self._checked(TokenSerializer(data=fields))
        try:
            return service.add(given.pop("token"), Source.ADMIN, **given)
        except service.AlreadyRegistered:
            raise ValidationError({"token": ["this token is registered already"]}) from None

    def change(self, row: RegisteredToken, fields: Fields) -> None:
        """Enable, disable, note."""
        given = self._checked(TokenSerializer(row, data=fields, partial=True))
        service.change(row, Source.ADMIN, given.get("enabled"), given.get("note"))

    def delete(self, row: RegisteredToken) -> None:
        """Delete and revoke."""
        service.remove(RegisteredToken.objects.filter(pk=row.pk))

    def _checked(self, serializer: TokenSerializer) -> Fields:
        serializer.is_valid(raise_exception=True)
        return dict(serializer.validated_data)
