"""REST: `POST /api/disconnect`, an end to every connection of some addresses."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from django.conf import settings
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from routing_app.core.access.masking import SecretAccess, shown_address
from routing_app.core.access.staff import DISCONNECT
from routing_app.core.address import MAX_LENGTH, AddressError, checked
from routing_app.core.audit.calls import about
from routing_app.core.codes import KICKED, kicked
from routing_app.core.publishing import disconnect_together_sync
from routing_app.core.rest.auth import check_address
from routing_app.core.rest.fields import StringField
from routing_app.core.rest.views import OfBroker
from routing_app.core.strings import is_clean

FIRST_CODE: Final = 4000
LAST_CODE: Final = 4999
MAX_REASON: Final = 123
"""Bytes of the reason of a close (RFC 6455, 5.5)."""
EXAMPLE: Final = {"addresses": ["room:bus/one", "user:n::64f1f1f1f1f1f1f1f1f1f1f1"], "reason": "maintenance"}


class CodeField(serializers.IntegerField):
    """A close code, as a number."""

    def to_internal_value(self, data: Any) -> int:
        """The number. Raises ValidationError for a string, too."""
        if isinstance(data, bool) or not isinstance(data, int):
            self.fail("invalid")
        return super().to_internal_value(data)


class DisconnectSerializer(serializers.Serializer[Any]):
    """`{"addresses": ["room:bus/one", ...], "code": 4003, "reason": "..."}`; addresses are enough."""

    addresses = serializers.ListField(
        child=StringField(max_length=MAX_LENGTH, trim_whitespace=False), allow_empty=False, min_length=1
    )
    code = CodeField(default=KICKED.code, min_value=FIRST_CODE, max_value=LAST_CODE)
    reason = StringField(
        default=KICKED.reason,
        allow_blank=True,
        max_length=MAX_REASON,
        trim_whitespace=False,
        help_text="At most 123 bytes of UTF-8.",
    )

    def validate_addresses(self, value: list[str]) -> tuple[str, ...]:
        """Distinct addresses of known kinds; those that carry no messages, too."""
        if len(value) > settings.MAX_RECEIVERS:
            raise ValidationError(f"at most {settings.MAX_RECEIVERS} addresses")
        try:
            return tuple(dict.fromkeys(map(_checked, value)))
        except AddressError as error:
            raise ValidationError(str(error)) from None

    def validate_reason(self, value: str) -> str:
        """A string that fits into a close frame."""
        if not is_clean(value) or len(value.encode()) > MAX_REASON:
            raise ValidationError(f"at most {MAX_REASON} bytes of UTF-8, without control characters")
        return value


class DisconnectedSerializer(serializers.Serializer[Any]):
    """`disconnected` where this process knows all connections, else `accepted`."""

    disconnected = serializers.IntegerField(required=False)
    accepted = serializers.BooleanField(required=False)


class DisconnectView(OfBroker, APIView):
    """End connections by what they are subscribed to."""

    by_address = True
    permissions: ClassVar = {"POST": DISCONNECT}

    @extend_schema(
        operation_id="disconnect",
        request=DisconnectSerializer,
        responses=DisconnectedSerializer,
        examples=[
            OpenApiExample("Everybody in a room, and a user", EXAMPLE, request_only=True),
            OpenApiExample("The answer", {"disconnected": 3}, response_only=True),
        ],
    )
    def post(self, request: Request) -> Response:
        """End every connection that is subscribed to one of some addresses, of every protocol and worker.

        Clients stay away after codes from 4000 to 4099 and from 4300 on, come back later after 4100 to 4199,
        and at once after 4200 to 4299.
        """
        serializer = DisconnectSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        wanted = serializer.validated_data
        about(request._request, ", ".join(shown_address(SecretAccess(), one) for one in wanted["addresses"]))
        for address in wanted["addresses"]:
            check_address(request, address)
        outcome = disconnect_together_sync(wanted["addresses"], kicked(wanted["code"], wanted["reason"]))
        if outcome.delivered_to is None:
            return Response({"accepted": True})
        return Response({"disconnected": outcome.delivered_to})


def _checked(text: str) -> str:
    """An address as a connection may be subscribed to it. Raises AddressError."""
    kind, colon, name = text.partition(":")
    if not colon or not name:
        raise AddressError("an address is written kind:name")
    if not text.isprintable():
        raise AddressError("an address holds no control characters")
    return checked(kind, name)
