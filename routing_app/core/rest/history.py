"""REST: `/api/history`, the messages that are kept of an address."""

from __future__ import annotations

import re
from typing import Any, Final

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import APIException, MethodNotAllowed, NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from routing_app.core.access.masking import SecretAccess, shown_address
from routing_app.core.address import AddressError, parse
from routing_app.core.audit.calls import about
from routing_app.core.models import Scope
from routing_app.core.rest.answers import refuse
from routing_app.core.rest.auth import AddressDenied
from routing_app.core.rest.authorization import authorize
from routing_app.core.rest.hooked import check_read
from routing_app.core.rest.middleware import BACKING_SERVICES, unavailable
from routing_app.core.rest.schema import documented_by, problem
from routing_app.core.rest.views import OfBroker
from routing_app.core.streams import history
from routing_app.core.streams.history import MAX_LIMIT, USUAL_LIMIT, NoHistory, NotAPosition, position_of

METHODS: Final = "DELETE, GET"
NUMBER: Final = re.compile("[0-9]{1,9}", re.ASCII)
FORGET: Final = "core.change_addressrule"
"""The permission of staff to delete a history."""
FLAGS: Final = {"1": True, "true": True, "0": False, "false": False}

EXAMPLE: Final = {
    "address": "room:bus/one",
    "epoch": "kX2v9bQe1mTz",
    "offset": 42,
    "messages": [
        {
            "offset": 42,
            "id": "order-17",
            "message": "hello",
            "sender": "shop",
            "at": "2026-11-29T00:12:31.402Z",
        }
    ],
    "recovered": True,
}
NO_HISTORY: Final = problem("No history is kept of it.", "No history is kept of this address.")
ADDRESS: Final = OpenApiParameter("address", str, required=True, description="An address with history.")


class HistoryEntrySerializer(serializers.Serializer[Any]):
    """One message; `event` is there when it is not an ordinary one."""

    offset = serializers.IntegerField()
    id = serializers.CharField()
    message = serializers.JSONField()
    event = serializers.CharField(required=False)
    sender = serializers.CharField()
    at = serializers.DateTimeField()


class HistorySerializer(serializers.Serializer[Any]):
    """Messages of a stream, and its end; `recovered` with `since`, `more` where `limit` cuts."""

    address = serializers.CharField()
    epoch = serializers.CharField()
    offset = serializers.IntegerField()
    messages = HistoryEntrySerializer(many=True)
    recovered = serializers.BooleanField(required=False)
    more = serializers.BooleanField(required=False)


class HistoryDocumentation(OfBroker, APIView):
    """The part of `history_view` in the OpenAPI document; it serves nothing."""

    @extend_schema(
        operation_id="history",
        responses={200: HistorySerializer, 404: NO_HISTORY},
        examples=[OpenApiExample("Since a position", EXAMPLE, response_only=True, status_codes=["200"])],
        parameters=[
            ADDRESS,
            OpenApiParameter(
                "since", str, description="EPOCH:OFFSET, a position: only what follows it, the oldest first."
            ),
            OpenApiParameter(
                "limit",
                {"type": "integer", "minimum": 0, "maximum": MAX_LIMIT},
                description="100 if left out.",
            ),
            OpenApiParameter(
                "reverse",
                {"type": "string", "enum": list(FLAGS)},
                description="1: the newest first; not with `since`.",
            ),
        ],
    )
    def get(self, request: Request) -> Response:
        """Messages that were published to an address: the newest, or those that follow a position."""
        raise NotImplementedError

    @extend_schema(
        operation_id="history_delete",
        responses={204: None, 404: NO_HISTORY},
        parameters=[ADDRESS],
    )
    def delete(self, request: Request) -> Response:
        """Forget the messages of an address; its epoch is a new one."""
        raise NotImplementedError


@documented_by(HistoryDocumentation)
@csrf_exempt
async def history_view(request: HttpRequest) -> HttpResponse:
    """Read or delete the history of an address."""
    try:
        if request.method not in ("GET", "DELETE"):
            raise MethodNotAllowed(request.method or "")
        deletes = request.method == "DELETE"
        if deletes:
            allowed = (await authorize(request, Scope.MANAGE, permission=FORGET)).addresses
        else:
            grant = await authorize(request, Scope.READ, tokens=True)
            allowed = grant.subscribe
        address = _address(request)
        if not allowed.cover(address):
            raise AddressDenied
        if deletes:
            about(request, shown_address(SecretAccess(), address))
            await history.delete(address)
            return HttpResponse(status=204)
        await check_read(request, grant, address)
        return JsonResponse(await _read(request, address))
    except NoHistory:
        return refuse(NotFound("No history is kept of this address."), METHODS)
    except APIException as error:
        return refuse(error, METHODS)
    except BACKING_SERVICES as error:
        return unavailable(request, error)


async def _read(request: HttpRequest, address: str) -> dict[str, Any]:
    try:
        text = request.GET.get("since")
        since = None if text is None else position_of(text)
    except NotAPosition as error:
        raise ValidationError({"since": [str(error)]}) from None
    reverse = FLAGS.get(request.GET.get("reverse", "0"))
    if reverse is None:
        raise ValidationError({"reverse": [f"expected one of {', '.join(FLAGS)}"]})
    if reverse and since is not None:
        raise ValidationError({"reverse": ["not together with `since`"]})
    number = request.GET.get("limit", str(USUAL_LIMIT))
    if not NUMBER.fullmatch(number) or int(number) > MAX_LIMIT:
        raise ValidationError({"limit": [f"from 0 to {MAX_LIMIT}"]})
    return await history.read(address, since, int(number), reverse)


def _address(request: HttpRequest) -> str:
    text = request.GET.get("address")
    if text is None:
        raise ValidationError({"address": ["This parameter is required."]})
    try:
        return parse(text)
    except AddressError as error:
        raise ValidationError({"address": [str(error)]}) from None
