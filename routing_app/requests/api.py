"""REST endpoints of the requests protocol: ask a connected client, or send it a message."""

from __future__ import annotations

from math import isfinite
from typing import Any, ClassVar, Final

from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from routing_app.core.access.handshake import RETRY_AFTER_SECONDS
from routing_app.core.access.staff import PUBLISH
from routing_app.core.address import make
from routing_app.core.codes import Advice
from routing_app.core.models import Scope
from routing_app.core.rest.auth import check_address
from routing_app.core.rest.schema import problem
from routing_app.core.rest.views import OfBroker
from routing_app.requests.errors import ConnectionClosed, RequestError, TooManyPending
from routing_app.requests.remote import connection


class AskSerializer(serializers.Serializer[Any]):
    """`{"message": {...}, "timeout": seconds}`."""

    message = serializers.DictField()
    timeout = serializers.FloatField(default=10, min_value=0.01, max_value=60)

    def validate_timeout(self, value: float) -> float:
        """Neither bound holds for the string "nan", which is a float for the field."""
        if not isfinite(value):
            raise serializers.ValidationError("must be a finite number of seconds")
        return value


class SendSerializer(AskSerializer):
    """`{"message": {...}, "timeout": seconds, "volatile": false}`."""

    volatile = serializers.BooleanField(
        default=False, help_text="Drop the message while something else waits for the client."
    )


class AnswerSerializer(serializers.Serializer[Any]):
    """The whole answer of a client."""

    reply = serializers.DictField()
    partials = serializers.ListField(child=serializers.DictField())


class FailureSerializer(serializers.Serializer[Any]):
    """The reason why there is no reply; `error` is the client's answer, where there is one."""

    detail = serializers.CharField()
    error = serializers.DictField(required=False)


FAILURES: Final = {
    404: problem("No such connection.", "the connection is closed", FailureSerializer),
    409: OpenApiResponse(
        FailureSerializer,
        "The client answered with an error.",
        [OpenApiExample("Error", {"detail": "the client answered with an error", "error": {"code": 7}})],
    ),
    503: problem("Too much waits for the client already.", "too many requests wait", FailureSerializer),
    504: problem("No answer in time.", "the client did not answer in time", FailureSerializer),
}
ANSWERS: Final = {200: AnswerSerializer, **FAILURES}
MESSAGE: Final = {"message": {"type": "state"}, "timeout": 10}


class RequestView(OfBroker, APIView):
    """Ask one client, on whatever worker it is: of the requests protocol, or a Socket.IO client of rooms."""

    by_address = True
    scopes: ClassVar = {"POST": Scope.PUBLISH}
    permissions: ClassVar = {"POST": PUBLISH}

    @extend_schema(
        operation_id="request",
        summary="Ask a client",
        request=AskSerializer,
        responses=ANSWERS,
        examples=[
            OpenApiExample("A request", MESSAGE, request_only=True),
            OpenApiExample(
                "A reply",
                {"reply": {"state": "ready"}, "partials": []},
                response_only=True,
                status_codes=["200"],
            ),
        ],
    )
    def post(self, request: Request, id: str) -> Response:
        """Send a REQUEST and wait for the reply; of a Socket.IO client it is `{"arguments": [...]}`."""
        check_address(request, make("connection", id))
        data = _validated(AskSerializer, request)
        try:
            reply, partials = connection(id).request_sync(data["message"], timeout=data["timeout"])
        except (RequestError, ConnectionClosed, TimeoutError, ValueError, TooManyPending) as error:
            return _failure(error)
        return Response({"reply": reply, "partials": partials})


class SendView(OfBroker, APIView):
    """Send one client a message, on whatever worker it is: of the requests protocol, or of rooms."""

    by_address = True
    scopes: ClassVar = {"POST": Scope.PUBLISH}
    permissions: ClassVar = {"POST": PUBLISH}

    @extend_schema(
        operation_id="send",
        summary="Send a client a message",
        request=SendSerializer,
        responses={204: None, **FAILURES},
        examples=[OpenApiExample("A message", {**MESSAGE, "volatile": False}, request_only=True)],
    )
    def post(self, request: Request, id: str) -> Response:
        """Answers when the client has it, if it speaks receipts, else when its server has."""
        check_address(request, make("connection", id))
        data = _validated(SendSerializer, request)
        try:
            connection(id).send_sync(data["message"], timeout=data["timeout"], volatile=data["volatile"])
        except (RequestError, ConnectionClosed, TimeoutError, ValueError, TooManyPending) as error:
            return _failure(error)
        return Response(status=status.HTTP_204_NO_CONTENT)


def _validated(kind: type[AskSerializer], request: Request) -> dict[str, Any]:
    serializer = kind(data=request.data)
    serializer.is_valid(raise_exception=True)
    data: dict[str, Any] = serializer.validated_data
    return data


def _failure(error: Exception) -> Response:
    match error:
        case RequestError():
            return Response({"detail": "the client answered with an error", "error": error.message}, 409)
        case ConnectionClosed():
            return Response({"detail": str(error)}, 404)
        case TimeoutError():
            return Response({"detail": "the client did not answer in time"}, 504)
        case TooManyPending():
            later = {"Retry-After": str(RETRY_AFTER_SECONDS[Advice.LATER])}
            return Response({"detail": str(error)}, 503, headers=later)
        case _:
            return Response({"detail": str(error)}, 400)
