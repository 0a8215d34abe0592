"""The event stream in the OpenAPI document; it is no view of Django."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Final

from routing_app.core.rest.schema import DETAIL, INVALID
from routing_app.core.streams.history import MAX_LIMIT
from routing_app.stream.request import MAX_ADDRESSES

TAG: Final = "stream"
EVENTS: Final = """retry: 1000
id: 5c1f0a9be2d4:kX2v9bQe1mTz:41

id: 5c1f0a9be2d4:kX2v9bQe1mTz:42
data: {"address":"room:bus/one","message":"hello","offset":42,"epoch":"kX2v9bQe1mTz","sender":"shop"}

:

"""
GAP: Final = """retry: 1000
event: gap
id: 5c1f0a9be2d4:kX2v9bQe1mTz:42
data: {"addresses":["room:bus/one"]}

"""
DESCRIPTION: Final = f"""Every message to the addresses as a Server-Sent Event, as long as the client reads.

`data` is the JSON object `{{"address", "message", "offset", "epoch", "sender"}}`, with `event` where it is
not an ordinary message; `offset` and `epoch` are null without history. `id` is an opaque position at all
addresses of the stream. A client that comes back names the last one, in the header `Last-Event-ID` or by
`last_event_id`, and gets what it missed, in order, each message once; where that cannot be had, an event
`gap` comes first, whose data `{{"addresses": […]}}` names the addresses that it is about, and nothing old of
them follows. `gap` comes later, too, where messages of other workers may be missing.

At most {MAX_ADDRESSES} addresses. EventSource in a browser comes back by itself."""
PARAMETERS: Final = (
    {
        "name": "address",
        "in": "query",
        "required": True,
        "description": "An address; given once for each.",
        "explode": True,
        "schema": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": MAX_ADDRESSES},
        "example": ["room:bus/one", "token:abc1"],
    },
    {
        "name": "last",
        "in": "query",
        "description": "So many messages of each address come first; none of those that a position recovers.",
        "schema": {"type": "integer", "minimum": 0, "maximum": MAX_LIMIT, "default": 0},
    },
    {
        "name": "last_event_id",
        "in": "query",
        "description": "The same, for clients that cannot set the header; that goes before.",
        "schema": {"type": "string"},
    },
    {
        "name": "Last-Event-ID",
        "in": "header",
        "description": "The `id` of the last event.",
        "schema": {"type": "string"},
    },
    {
        "name": "access_token",
        "in": "query",
        "description": "An access token, for clients that cannot set a header.",
        "schema": {"type": "string"},
    },
    {
        "name": "key",
        "in": "query",
        "description": "The API key, for clients that cannot set a header.",
        "schema": {"type": "string"},
    },
)
PROBLEMS: Final = {
    "400": "An address, their number, or `last` makes no sense.",
    "401": "No API key or access token, or one that is wrong or has expired.",
    "403": "The credential does not allow an address, or `STREAM_ORIGINS` lacks the page's origin.",
    "405": "Only GET.",
    "503": "No room, a backing service is out, or the worker stops; Retry-After says when to come back.",
}


def _operation() -> dict[str, Any]:
    stream = {
        "description": "Events, until either end closes.",
        "content": {
            "text/event-stream": {
                "schema": {"type": "string"},
                "examples": {
                    "messages": {"summary": "A message", "value": EVENTS},
                    "gap": {"summary": "What was missed cannot be had", "value": GAP},
                },
            }
        },
    }
    problems = {
        status: {
            "description": text,
            "content": {"application/json": {"schema": DETAIL, "example": {"detail": text}}},
        }
        for status, text in PROBLEMS.items()
    }
    wrong = {"address": ["This parameter is required."]}
    problems["400"]["content"] = {"application/json": {"schema": INVALID, "example": wrong}}
    return {
        "operationId": "stream",
        "summary": "Receive messages as Server-Sent Events",
        "description": DESCRIPTION,
        "tags": [TAG],
        "security": [{"apiKey": []}, {"bearer": []}],
        "parameters": list(PARAMETERS),
        "responses": {"200": stream, **problems},
    }


def document(result: dict[str, Any]) -> None:
    """Add the path to an OpenAPI document."""
    result["paths"]["/api/stream"] = {"get": deepcopy(_operation())}
