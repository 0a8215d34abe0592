"""The original's HTTP paths in the OpenAPI document; their views are plain Django."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Final

TAG: Final = "rooms"
PROBLEMS: Final = {
    "400": ("The body is not JSON, or neither an object nor an array.", "Bad Request: the body is not JSON"),
    "401": ("`ROOMS_BUS_TOKEN` or `ROOMS_ACCESS` asks for a credential.", "Unauthorized"),
    "403": ("The credential is not for the room, or a hook refuses the message.", "Forbidden"),
    "413": ("The body has more than 100 kB.", "Payload Too Large"),
    "503": ("A backing service is out; Retry-After says when to come back.", "Service Unavailable"),
}


def _text(description: str, example: str, *types: str) -> dict[str, Any]:
    content = {type: {"schema": {"type": "string"}, "example": example} for type in types}
    return {"description": description, "content": content}


BUS_MESSAGE: Final = {
    "operationId": "busMessage",
    "summary": "Publish to a room of /bus",
    "description": "Every client in the room receives EVENT with sender `POST`. Without a body, or with"
    " one of another type, the message is `{}`.",
    "tags": [TAG],
    "parameters": [
        {
            "name": "room",
            "in": "path",
            "required": True,
            "description": "The name of the room, as clients JOIN it.",
            "schema": {"type": "string"},
            "example": "remote-control-clock-1",
        }
    ],
    "requestBody": {
        "content": {
            "application/json": {"schema": {"type": ["object", "array"]}, "example": {"playing": True}}
        }
    },
    "responses": {
        "200": _text("It is published, also where nobody is in the room.", "OK", "text/html"),
        **{status: _text(*said, "text/plain", "text/html") for status, said in PROBLEMS.items()},
    },
}
HEALTH: Final = {
    "operationId": "healthcheck",
    "summary": "Whether the server answers",
    "tags": [TAG],
    "responses": {"200": _text("It does.", "OK", "text/html")},
}
PATHS: Final = {"/healthcheck": {"get": HEALTH}, "/bus-message/{room}": {"post": BUS_MESSAGE}}


def document(result: dict[str, Any]) -> None:
    """Add the paths to an OpenAPI document."""
    result["paths"] |= deepcopy(PATHS)
