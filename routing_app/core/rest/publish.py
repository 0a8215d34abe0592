"""REST: `POST /api/publish`, for keys and staff sessions, with and without Django's request cycle."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import (
    APIException,
    MethodNotAllowed,
    ParseError,
    UnsupportedMediaType,
    ValidationError,
)
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from routing_app.core import json
from routing_app.core.address import AddressError
from routing_app.core.models import Scope
from routing_app.core.publishing import check_addresses, publish
from routing_app.core.rest.api import OutcomeSerializer
from routing_app.core.rest.authorization import authorize
from routing_app.core.rest.exceptions import answer
from routing_app.core.rest.fast import JsonAnswer, view_of
from routing_app.core.rest.fields import StringField
from routing_app.core.rest.middleware import BACKING_SERVICES, unavailable
from routing_app.core.rest.schema import documented_by

METHOD: Final = "POST"
JSON: Final = "application/json"


class PublishSerializer(serializers.Serializer[Any]):
    """`{"addresses": ["token:abc1", ...], "message": <any JSON>}`."""

    addresses = serializers.ListField(
        child=StringField(max_length=512, trim_whitespace=False), allow_empty=False, min_length=1
    )
    message = serializers.JSONField(allow_null=True)

    def validate_addresses(self, value: list[str]) -> tuple[str, ...]:
        """Distinct addresses that may be published to."""
        try:
            return check_addresses(value)
        except AddressError as error:
            raise ValidationError(str(error)) from None


class PublishDocumentation(APIView):
    """The part of `publish_view` in the OpenAPI document; it serves nothing."""

    @extend_schema(operation_id="publish", request=PublishSerializer, responses=OutcomeSerializer)
    def post(self, request: Request) -> Response:
        """Publish one message to addresses of any protocol.

        Each receiver gets the message once, in the shape of its own protocol.
        """
        raise NotImplementedError


async def answer_publish(request: HttpRequest) -> JsonAnswer | HttpResponse:
    """Publish one message; the errors are those of REST Framework, in its words.

    `authorize` checks the CSRF token where a session asks.
    """
    try:
        caller = await authorize(request, Scope.PUBLISH)
        addresses, message = _read(request)
        outcome = await publish(addresses, message, sender=caller.name)
    except (APIException, RequestDataTooBig) as error:
        return _refuse(error)
    except BACKING_SERVICES as error:
        return unavailable(request, error)
    return JsonAnswer(outcome.as_bytes())


publish_view = documented_by(PublishDocumentation)(csrf_exempt(view_of(answer_publish)))


def _read(request: HttpRequest) -> tuple[tuple[str, ...], Any]:
    """Checked addresses and the message. Raises APIException, RequestDataTooBig."""
    if request.method != METHOD:
        raise MethodNotAllowed(request.method or "")
    if not request.body:
        return _checked({})
    if request.headers.get("Content-Type") != JSON and request.content_type != JSON:
        raise UnsupportedMediaType(request.headers.get("Content-Type", ""))
    try:
        data = json.loads(request.body)
    except json.NotJSON as error:
        raise ParseError(f"JSON parse error - {error}") from None
    return _checked(data)


def _checked(data: Any) -> tuple[tuple[str, ...], Any]:
    """The same of a value. The serializer, which takes longer, finds the words for a wrong one."""
    with suppress(TypeError, KeyError, AttributeError, AddressError):
        if isinstance(data["addresses"], list) and data["addresses"]:
            return check_addresses(data["addresses"]), data["message"]
    serializer = PublishSerializer(data=data)
    serializer.is_valid(raise_exception=True)
    return serializer.validated_data["addresses"], serializer.validated_data["message"]


def _refuse(error: Exception) -> HttpResponse:
    response = answer(error, {})
    assert response is not None  # it knows every APIException
    headers = {name: response[name] for name in ("WWW-Authenticate",) if name in response}
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = METHOD
    return JsonResponse(response.data, status=response.status_code, headers=headers, safe=False)
