"""The two HTTP paths of the original: `GET /healthcheck` and `POST /bus-message/<room>`."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from routing_app.core import json, metrics
from routing_app.core.access.handshake import RETRY_AFTER_SECONDS
from routing_app.core.codes import Advice, Refusal
from routing_app.core.delivery.publication import MESSAGE
from routing_app.core.hooks.over_http import asked_over_http
from routing_app.core.hooks.question import Question
from routing_app.core.hooks.refusing import refusal_of
from routing_app.core.publishing import publish
from routing_app.core.rest.bodies import limited
from routing_app.core.synchronous import from_sync
from routing_app.core.worker import current_worker
from routing_app.rooms import wire
from routing_app.rooms.access import PostDenied, check_post
from routing_app.rooms.models import address

MAX_BODY: Final = 100 * 1024
"""The original's body parser takes 100 kB."""
SENDER: Final = "POST"
TEXT: Final = "text/plain; charset=utf-8"


class BadBody(ValueError):
    """The body is not what the original's parser takes."""


@require_safe
def healthcheck(request: HttpRequest) -> HttpResponse:
    """200 `OK`, as a load balancer of the original asks for it."""
    return HttpResponse("OK")


@limited(MAX_BODY)
@csrf_exempt
@require_POST
def bus_message(request: HttpRequest, room: str) -> HttpResponse:
    """Every socket in a room of `/bus` receives EVENT with sender `POST`: 200 `OK`, also if there is none."""
    if int(request.headers.get("Content-Length") or 0) > MAX_BODY:
        return HttpResponse("Payload Too Large", status=413)
    try:
        to = address(wire.BUS, wire.room_name(room))
        identity = check_post(request, to)
        _publish_sync(asked_over_http(request, "rooms", identity, to, _message(request)), to)
    except PostDenied as denied:
        return _refuse(denied)
    except (BadBody, wire.IgnoredEvent) as error:
        return HttpResponse(f"Bad Request: {error}", status=400, content_type=TEXT)
    return HttpResponse("OK")


async def _publish(question: Question, to: str) -> None:
    """Publish the message that a question is about, unless a hook refuses it. Raises PostDenied."""
    hooks, message = current_worker().hooks, question.message
    await hooks.freshen()
    if (several := hooks.of("rooms").publish) is not None:
        verdict = await hooks.ask(several, question)
        if not verdict.allow:
            raise PostDenied(503 if verdict.unavailable else 403, verdict.reason, refusal_of(verdict))
        message = verdict.or_else(message)
    await publish((to,), message, MESSAGE, SENDER)


_publish_sync = from_sync(_publish)


def _refuse(denied: PostDenied) -> HttpResponse:
    refusal = denied.refusal or (Refusal.UNAVAILABLE if denied.status == 503 else Refusal.FORBIDDEN)
    metrics.REFUSED.labels("rooms", refusal).inc()
    phrase = HTTPStatus(denied.status).phrase
    response = HttpResponse(phrase, status=denied.status)
    if denied.reason:
        response = HttpResponse(f"{phrase}: {denied.reason}", status=denied.status, content_type=TEXT)
    if denied.status == 401:
        response["WWW-Authenticate"] = "Bearer"
    if denied.status == 503:
        response["Retry-After"] = str(RETRY_AFTER_SECONDS[Advice.LATER])
    return response


def _message(request: HttpRequest) -> Any:
    """The JSON body: an object or an array; `{}` where there is no body, or one of another type."""
    if request.content_type != "application/json" or not request.body:
        return {}
    try:
        message = json.loads(request.body)
    except json.NotJSON:
        raise BadBody("the body is not JSON") from None
    if not isinstance(message, (dict, list)):
        raise BadBody("the body is neither an object nor an array")
    return message
