"""Frames of the console's socket: JSON objects, one a frame.

A client asks for a topic, `{"id": 1, "topic": "overview", "params": {}, "watch": true}`, and ends what it
watches with `{"id": 1, "stop": true}`. The server answers `{"id": 1, "data": …}`, for a watch again and
again, or `{"id": 1, "error": {"status": 403, "detail": "…"}}`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from routing_app.core.json import NotJSON, dumps, loads

MAX_ID: Final = 2**53


class ConsoleWireError(ValueError):
    """A frame that is not of this protocol."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A topic that is wanted: once, or until it is stopped."""

    id: int
    topic: str
    params: dict[str, Any]
    watch: bool


@dataclass(frozen=True, slots=True)
class Stop:
    """The end of a watch."""

    id: int


def parse(text: str) -> Ask | Stop:
    """A frame of a client. Raises ConsoleWireError."""
    try:
        frame = loads(text)
    except NotJSON as error:
        raise ConsoleWireError(str(error)) from None
    if not isinstance(frame, dict):
        raise ConsoleWireError("expected an object")
    id = frame.get("id")
    if isinstance(id, bool) or not isinstance(id, int) or not 0 <= id <= MAX_ID:
        raise ConsoleWireError("expected a whole number as id")
    if frame.get("stop") is True:
        return Stop(id)
    topic, params, watch = frame.get("topic"), frame.get("params") or {}, frame.get("watch", False)
    if not isinstance(topic, str) or not isinstance(params, dict) or not isinstance(watch, bool):
        raise ConsoleWireError("expected topic, params and watch")
    return Ask(id, topic, params, watch)


def data(id: int, encoded: str) -> str:
    """A frame with data, which is JSON already: of one reading for several watches."""
    return f'{{"id":{id},"data":{encoded}}}'


def error(id: int, status: int, detail: str) -> str:
    """A frame that says why there is no data."""
    return dumps({"id": id, "error": {"status": status, "detail": detail}})
