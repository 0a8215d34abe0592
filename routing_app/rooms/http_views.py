"""The two HTTP paths of the original: `GET /healthcheck` and `POST /bus-message/<room>`."""

from __future__ import annotations

from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from routing_app.core import json
from routing_app.core.delivery.publication import MESSAGE
from routing_app.core.publishing import publish_sync
from routing_app.core.rest.bodies import limited
from routing_app.rooms import wire
from routing_app.rooms.access import may_post
from routing_app.rooms.models import address

MAX_BODY: Final = 100 * 1024
"""The original's body parser takes 100 kB."""
SENDER: Final = "POST"


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
    if not may_post(request):
        return HttpResponse("Unauthorized", status=401, headers={"WWW-Authenticate": "Bearer"})
    if int(request.headers.get("Content-Length") or 0) > MAX_BODY:
        return HttpResponse("Payload Too Large", status=413)
    try:
        to = address(wire.BUS, wire.room_name(room))
        message = _message(request)
    except (BadBody, wire.IgnoredEvent) as error:
        return HttpResponse(f"Bad Request: {error}", status=400, content_type="text/plain; charset=utf-8")
    publish_sync((to,), message, MESSAGE, SENDER)
    return HttpResponse("OK")


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
