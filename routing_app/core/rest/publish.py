"""REST: `POST /api/publish` and `/api/publish/batch`, with and without Django's request cycle."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from routing_app.core.access.grants import Grant, GrantKind
from routing_app.core.access.patterns import EVERYTHING
from routing_app.core.address import AddressError
from routing_app.core.audit.calls import traffic
from routing_app.core.models import Scope
from routing_app.core.publishable import MAX_ID, check_addresses, check_id
from routing_app.core.publishing import Outcome, publish
from routing_app.core.rest.answers import body_of, refuse
from routing_app.core.rest.api import OutcomeSerializer
from routing_app.core.rest.auth import AddressDenied
from routing_app.core.rest.authorization import authorize
from routing_app.core.rest.fast import JsonAnswer, view_of
from routing_app.core.rest.fields import StringField
from routing_app.core.rest.hooked import Screen, screen_of
from routing_app.core.rest.later import AtField, DelayField, schedule_for, when_in
from routing_app.core.rest.middleware import BACKING_SERVICES, unavailable
from routing_app.core.rest.schema import documented_by
from routing_app.core.rest.views import OfBroker
from routing_app.core.scheduled.times import When, when_of
from routing_app.core.worker import current_worker

METHOD: Final = "POST"
MAX_MESSAGES: Final = 1000
"""Messages in one batch."""
AT_ONCE: Final = 100
"""Messages of a batch that are on their way at once: each waits for the store, with a patience of its own."""
EXAMPLE: Final = {"addresses": ["room:bus/one", "token:abc1"], "message": "hello", "id": "order-17"}
ANSWER: Final = {"accepted": True, "positions": {"room:bus/one": {"epoch": "kX2v9bQe1mTz", "offset": 42}}}
LATER: Final = {"scheduled": "9f1c0c6d2c1e4b7aa5d1f0e3b2c4d5e6"}
OUT: Final = "A backing service is down, try again later."


class PublishSerializer(serializers.Serializer[Any]):
    """`{"addresses": ["token:abc1", ...], "message": <any JSON>, "id": "..."}`; the id may be left out."""

    addresses = serializers.ListField(
        child=StringField(max_length=512, trim_whitespace=False), allow_empty=False, min_length=1
    )
    message = serializers.JSONField(allow_null=True)
    id = StringField(
        required=False,
        max_length=MAX_ID,
        trim_whitespace=False,
        help_text="Published once; the same id again has the answer of the first.",
    )
    at = AtField(required=False, help_text="Published at this time, at most 30 days from now.")
    delay = DelayField(required=False, help_text="Published after so many seconds; not with `at`.")

    def validate_addresses(self, value: list[str]) -> tuple[str, ...]:
        """Distinct addresses that may be published to."""
        try:
            return check_addresses(value)
        except AddressError as error:
            raise ValidationError(str(error)) from None

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """The fields, with the time at which it is to be published."""
        return {**attrs, "when": when_in(attrs)}

    def validate_id(self, value: str) -> str:
        """An id that can be told apart."""
        try:
            return check_id(value)
        except ValueError as error:
            raise ValidationError(str(error)) from None


class ScheduledSerializer(serializers.Serializer[Any]):
    """`{"scheduled": id}`, as `/api/scheduled/<id>/` has it."""

    scheduled = serializers.CharField()


class BatchSerializer(serializers.Serializer[Any]):
    """`{"messages": [...]}`, each as `/api/publish` takes it."""

    messages = serializers.ListField(child=PublishSerializer(), max_length=MAX_MESSAGES)


class ResultSerializer(OutcomeSerializer):
    """The outcome of one message of a batch: as `/api/publish` answers, or `error`."""

    scheduled = serializers.CharField(required=False)
    error = serializers.CharField(required=False)


class ResultsSerializer(serializers.Serializer[Any]):
    """`{"results": [...]}`, one for each message, in order."""

    results = ResultSerializer(many=True)


class PublishDocumentation(OfBroker, APIView):
    """The part of `publish_view` in the OpenAPI document; it serves nothing."""

    @extend_schema(
        operation_id="publish",
        request=PublishSerializer,
        responses={
            200: OutcomeSerializer,
            202: OpenApiResponse(ScheduledSerializer, "It is published later."),
        },
        examples=[
            OpenApiExample("A message", EXAMPLE, request_only=True),
            OpenApiExample("A message for later", {**EXAMPLE, "delay": 90}, request_only=True),
            OpenApiExample("Its answer", ANSWER, response_only=True, status_codes=["200"]),
            OpenApiExample("Later", LATER, response_only=True, status_codes=["202"]),
        ],
        parameters=[
            OpenApiParameter(
                "Idempotency-Key",
                {"type": "string", "pattern": "^[!-~]{1,64}$"},
                OpenApiParameter.HEADER,
                description="The same as `id`.",
            )
        ],
    )
    def post(self, request: Request) -> Response:
        """Publish one message to addresses of any protocol, now or at a time.

        Each receiver gets the message once, in the shape of its own protocol.
        """
        raise NotImplementedError


class BatchDocumentation(OfBroker, APIView):
    """The part of `batch_view` in the OpenAPI document; it serves nothing."""

    @extend_schema(
        operation_id="publish_batch",
        request=BatchSerializer,
        responses=ResultsSerializer,
        examples=[
            OpenApiExample("Messages", {"messages": [EXAMPLE]}, request_only=True),
            OpenApiExample(
                "Their answers",
                {"results": [ANSWER, {"error": "id: Not a valid string."}]},
                response_only=True,
            ),
        ],
    )
    def post(self, request: Request) -> Response:
        """Publish up to 1,000 messages, in order; one that cannot be published stops no other."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Message:
    """One message to publish, checked."""

    addresses: tuple[str, ...]
    message: Any
    id: str
    when: When | None = None


async def answer_publish(request: HttpRequest) -> JsonAnswer | HttpResponse:
    """Publish one message; the errors are those of REST Framework, in its words.

    `authorize` checks the CSRF token where a session asks.
    """
    try:
        grant = await authorize(request, Scope.PUBLISH, tokens=True)
        message = _with_key(_checked(body_of(request, METHOD)), request)
        if grant.kind is GrantKind.TOKEN:
            message = await _screened(message, grant, await screen_of(request, grant))
        if message.when is not None:
            return JsonResponse(await _schedule(message, message.when, grant), status=202)
        outcome = await _publish(message, grant)
    except (APIException, RequestDataTooBig) as error:
        return refuse(error, METHOD)
    except BACKING_SERVICES as error:
        return unavailable(request, error)
    return JsonAnswer(outcome.as_bytes())


publish_view = traffic(documented_by(PublishDocumentation)(csrf_exempt(view_of(answer_publish))))


@traffic
@documented_by(BatchDocumentation)
@csrf_exempt
async def batch_view(request: HttpRequest) -> HttpResponse:
    """Publish several messages."""
    try:
        grant = await authorize(request, Scope.PUBLISH, tokens=True)
        data = body_of(request, METHOD)
        given = data.get("messages") if isinstance(data, dict) else None
        if not isinstance(given, list):
            raise ValidationError({"messages": ["expected a list"]})
        if len(given) > MAX_MESSAGES:
            raise ValidationError({"messages": [f"at most {MAX_MESSAGES} messages"]})
        screen = await screen_of(request, grant)
    except (APIException, RequestDataTooBig) as error:
        return refuse(error, METHOD)
    except BACKING_SERVICES as error:
        return unavailable(request, error)
    return JsonResponse({"results": await publish_each(given, grant, screen)})


async def publish_each(
    given: Sequence[Any], grant: Grant, screen: Screen | None = None
) -> list[dict[str, Any]]:
    """Publish messages of any shape, in order: for each the answer, or `{"error": "…"}`."""
    await current_worker().streams.freshen()
    messages: list[Message | str] = []
    for one in given:
        try:
            messages.append(_checked(one))
        except ValidationError as error:
            messages.append(_sentence(error.detail))

    async def result(message: Message | str) -> dict[str, Any]:
        if isinstance(message, str):
            return {"error": message}
        try:
            if message.when is not None:
                return await _schedule(message, message.when, grant)
            outcome = await _publish(message, grant)
        except APIException as error:
            return {"error": _sentence(error.detail)}
        except BACKING_SERVICES:
            return {"error": OUT}
        return outcome.as_json()

    # Some are on their way at once where all go the same way, so that they keep their order.
    with_id = [bool(one.id) for one in messages if isinstance(one, Message) and one.when is None]
    size = AT_ONCE if all(with_id) or not any(with_id) else 1
    results: list[dict[str, Any]] = []
    for start in range(0, len(messages), size):
        some = messages[start : start + size]
        if screen is not None:  # before any of them is on its way: answers come in any order
            some = await asyncio.gather(*(_screened_or_error(one, grant, screen) for one in some))
        results += await asyncio.gather(*map(result, some))
    return results


async def _screened_or_error(message: Message | str, grant: Grant, screen: Screen) -> Message | str:
    if isinstance(message, str):
        return message
    try:
        return await _screened(message, grant, screen)
    except APIException as error:
        return _sentence(error.detail)


async def _screened(message: Message, grant: Grant, screen: Screen | None) -> Message:
    """A message as hooks let it pass, if its addresses are allowed at all. Raises APIException."""
    if screen is None:
        return message
    _check_allowed(message, grant)
    return replace(message, message=await screen(message.addresses, message.message))


async def _publish(message: Message, grant: Grant) -> Outcome:
    """Publish to addresses that are all allowed. Raises AddressDenied."""
    _check_allowed(message, grant)
    return await publish(
        message.addresses, message.message, sender=grant.identity, id=message.id, caller=grant.caller
    )


async def _schedule(message: Message, when: When, grant: Grant) -> dict[str, Any]:
    """Publish later to addresses that are all allowed now. Raises APIException."""
    _check_allowed(message, grant)
    return await schedule_for(grant, message.addresses, message.message, message.id, when)


def _check_allowed(message: Message, grant: Grant) -> None:
    if grant.publish is not EVERYTHING and not all(map(grant.may_publish, message.addresses)):
        raise AddressDenied


def _with_key(message: Message, request: HttpRequest) -> Message:
    """The message with the id of the header. Raises ValidationError."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return message
    try:
        check_id(key)
    except ValueError as error:
        raise ValidationError({"Idempotency-Key": [str(error)]}) from None
    if message.id and message.id != key:
        raise ValidationError({"id": ["`id` and the header Idempotency-Key differ"]})
    return replace(message, id=key)


def _checked(data: Any) -> Message:
    """A message from its JSON. The serializer, which takes longer, finds the words for a wrong one."""
    with suppress(TypeError, KeyError, AttributeError, ValueError):
        if isinstance(data["addresses"], list) and data["addresses"]:
            id = check_id(data["id"]) if "id" in data else ""
            when = when_of(data) if "at" in data or "delay" in data else None
            return Message(check_addresses(data["addresses"]), data["message"], id, when)
    serializer = PublishSerializer(data=data)
    serializer.is_valid(raise_exception=True)
    valid = serializer.validated_data
    return Message(valid["addresses"], valid["message"], valid.get("id", ""), valid["when"])


def _sentence(detail: Any) -> str:
    """The first error of a message as one line."""
    if isinstance(detail, dict):
        name, errors = next(iter(detail.items()))
        rest = _sentence(errors)
        return rest if name == "non_field_errors" else f"{name}: {rest}"
    if isinstance(detail, list):
        return _sentence(detail[0])
    return str(detail)
