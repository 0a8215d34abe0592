"""Events of the four namespaces, from the arguments that clients send, and back to what they receive.

The same events travel in Socket.IO packets and, on plain sockets, as JSON arrays `[name, argument, ...]`.
Facts: 2-IMMERSE/websocket-service `README.md` and `src/{server,lobby,trigger}.js`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from math import isfinite
from typing import Any, Final

from routing_app.core.json import NotJSON, loads

LAYOUT: Final = "layout"
BUS: Final = "bus"
LOBBY: Final = "lobby"
TRIGGER: Final = "trigger"
NAMESPACES: Final = (LAYOUT, BUS, LOBBY, TRIGGER)

MAX_ROOM: Final = 255
"""Characters in the name of a room."""
MAX_NAME: Final = 255
"""Characters of a nickname, written as JSON."""
MAX_LAST: Final = 1000
"""EVENTs of before that one JOIN brings."""

TRIGGER_EVENTS: Final = {
    "BROADCAST_EVENTS": "EVENTS",
    "BROADCAST_UPDATES": "UPDATES",
    "BROADCAST_STATUS": "STATUS",
}
"""An event on `/trigger`, as a client sends it and the others receive it."""


class IgnoredEvent(ValueError):
    """An event without effect and without answer, as in the original; its message says why, for the log."""


class JoinRefused(IgnoredEvent):
    """An event that the original would carry out and this server does not; the reason is for clients."""


@dataclass(frozen=True, slots=True)
class Join:
    """Enter a room; `name` is the nickname, None where the namespace has none."""

    room: str
    name: Any = None
    last: int = 0
    """EVENTs of before that the client asks for."""


@dataclass(frozen=True, slots=True)
class Leave:
    """Leave a room."""

    room: str


@dataclass(frozen=True, slots=True)
class Clients:
    """Ask for the nicknames in a room."""

    room: str


@dataclass(frozen=True, slots=True)
class Notify:
    """Send `message` as `event` to the others in a room."""

    room: str
    event: str
    message: Any
    fields: dict[str, Any] | None = None
    """`room` and `message` as they came, where one is missing or is not a string; None for a usual EVENT."""


@dataclass(frozen=True, slots=True)
class NotifyEvent:
    """Send to the whole lobby that the sender is in."""

    message: Any


@dataclass(frozen=True, slots=True)
class Signal:
    """Pass `data` unchanged to a member of the lobby, or to all others."""

    to: str
    data: Any


Event = Join | Leave | Clients | Notify | NotifyEvent | Signal


def parse(namespace: str, name: Any, arguments: list[Any]) -> Event:
    """Understand one event. Raises IgnoredEvent."""
    if namespace in (LAYOUT, BUS):
        return _parse_layout(name, arguments)
    if namespace == TRIGGER:
        return _parse_trigger(name, arguments)
    return _parse_lobby(name, arguments)


def _parse_layout(name: Any, arguments: list[Any]) -> Event:
    if name not in ("JOIN", "LEAVE", "NOTIFY", "CLIENTS"):
        raise IgnoredEvent("unknown event")
    payload = _object(_first(arguments))
    room = room_name(payload.get("room"))
    if name == "JOIN":
        return Join(room, _nickname(payload.get("name")), _last(payload.get("last", 0)))
    if name == "LEAVE":
        return Leave(room)
    if name == "CLIENTS":
        return Clients(room)
    fields: dict[str, Any] = {key: payload[key] for key in ("room", "message") if key in payload}
    usual = "message" in payload and isinstance(payload["room"], str)
    return Notify(room, "EVENT", payload.get("message"), None if usual else fields)


def _parse_trigger(name: Any, arguments: list[Any]) -> Event:
    if name == "JOIN":
        return Join(room_name(_first(arguments)))
    if name == "LEAVE":
        return Leave(room_name(_first(arguments)))
    if isinstance(name, str) and (event := TRIGGER_EVENTS.get(name)):
        return Notify(room_name(_first(arguments)), event, arguments[1] if len(arguments) > 1 else None)
    raise IgnoredEvent("unknown event")


def _parse_lobby(name: Any, arguments: list[Any]) -> Event:
    if name == "JOIN":
        return Join(room_name(_first(arguments)))
    if name == "LEAVE":
        return Leave(room_name(_first(arguments)))
    if name == "BROADCAST":
        payload = _object(_first(arguments))
        if "message" not in payload:
            raise IgnoredEvent("no message")
        return NotifyEvent(payload["message"])
    if name == "RTCSIGNAL":
        payload = _object(_first(arguments))
        to = payload.get("to")
        if not isinstance(to, str) or not to:
            raise IgnoredEvent("no receiver")
        return Signal(to, _first(arguments))
    raise IgnoredEvent("unknown event")


def _first(arguments: list[Any]) -> Any:
    if not arguments:
        raise IgnoredEvent("no argument")
    return arguments[0]


def _object(argument: Any) -> dict[str, Any]:
    """An object, or a string of JSON that holds one, as clients send it."""
    if isinstance(argument, str):
        argument = _json(argument, "the argument is not JSON")
    if not isinstance(argument, dict):
        raise IgnoredEvent("the argument is not an object")
    return argument


def room_name(value: Any) -> str:
    """A room as clients name it: a string, or a number that stands for its decimal string. Raises
    JoinRefused.

    Half a character (`"\\ud83d"`, what is left of an emoji that was cut) becomes U+FFFD, as in all UTF-8.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = _number(value)
    if not isinstance(value, str) or not value:
        raise JoinRefused("a room is a string, or a number")
    name = _whole(value)
    if len(name) > MAX_ROOM:
        raise JoinRefused(f"the name of a room has at most {MAX_ROOM} characters")
    if not storable(name):
        raise JoinRefused("the name of a room holds no control characters")
    return name


def _number(value: int | float) -> str:
    """A number as JavaScript writes it: 1.0 is `1`, and small and large ones have an exponent."""
    if isinstance(value, int):
        return str(value)
    if not isfinite(value):
        raise JoinRefused("JSON has no such number")
    if value == 0:
        return "0"
    if 1e-6 <= abs(value) < 1e21:
        text = f"{Decimal(repr(value)):f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    digits, _, exponent = repr(value).partition("e")
    return f"{digits}e{int(exponent):+d}"


def _last(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_LAST:
        raise JoinRefused(f"`last` is a whole number from 0 to {MAX_LAST}")
    return value


def _nickname(value: Any) -> Any:
    """Any JSON value that JavaScript holds for true; half a character in it becomes U+FFFD."""
    if value in (None, False, 0, ""):
        raise IgnoredEvent("no name")
    try:
        text = _whole(json.dumps(value, ensure_ascii=False, allow_nan=False))
    except ValueError:  # a number beyond all bounds (1e999) can be read, but not written
        raise JoinRefused("a name holds only what JSON can") from None
    if len(text) > MAX_NAME:
        raise JoinRefused(f"a name, written as JSON, has at most {MAX_NAME} characters")
    if "\\u0000" in text:
        raise JoinRefused("a name does not hold the character U+0000")
    return json.loads(text)


def _json(text: str, wrong: str) -> Any:
    """Decode strict JSON. Raises IgnoredEvent."""
    try:
        return loads(text)
    except NotJSON:
        raise IgnoredEvent(wrong) from None


def _whole(text: str) -> str:
    """A string without halves of characters: only whole ones have a UTF-8."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def storable(text: str) -> bool:
    """True for a string without control characters and halves of pairs, which some databases do not take."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return not any(character < " " or character == "\x7f" for character in text)


def parse_frame(text: str) -> tuple[Any, list[Any]]:
    """The name and the arguments of a frame of a plain socket. Raises IgnoredEvent."""
    array = _json(text, "the frame is not JSON")
    if not isinstance(array, list) or not array:
        raise IgnoredEvent("the frame is not an array")
    return array[0], array[1:]


def dump_frame(arguments: list[Any]) -> str:
    """A frame of a plain socket. Raises ValueError for Infinity and NaN."""
    return json.dumps(arguments, separators=(",", ":"), allow_nan=False)
