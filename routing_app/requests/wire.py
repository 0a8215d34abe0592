"""Frames of the requests protocol: JSON objects, three control fields beside the application's own.

Facts: this folder's README.md, "Frames". Only `RequestWireError` and `ValueError` are raised here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from routing_app.core.json import dumps, loads

RECEIPTS: Final = "wyre.receipt"
"""The subprotocol under which a MESSAGE may ask for a receipt."""
RECEIPT: Final = "receipt"
"""The field that asks for one, and marks it."""
MAX_REASON_BYTES: Final = 123
"""Room for the reason in a close frame (RFC 6455, section 5.5)."""


class Direction(StrEnum):
    """The meaning of a frame to its receiver."""

    MESSAGE = "MESSAGE"
    REQUEST = "REQUEST"
    REPLY = "REPLY"
    PARTIAL = "PARTIAL"
    ERROR = "ERROR"


_BY_NAME: Final = {direction.value: direction for direction in Direction}


class Absent:
    """The key of a frame that has none; null is a key like any other."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()


class RequestWireError(ValueError):
    """A frame breaks a rule; the message is a sentence about the rule and never holds the frame."""


class Answer(dict[str, Any]):
    """The object that the other end answered with; `message` is the object itself, as in the original."""

    @property
    def message(self) -> dict[str, Any]:
        """The whole object."""
        return self


@dataclass(slots=True)  # never changed; `frozen` would take most of a microsecond for each
class Inbound:
    """One frame: `message` is the whole object, control fields included, as in the original."""

    direction: Direction
    message: dict[str, Any]
    key: Any
    type: str
    """Chooses the handler; "" for none. A number is its decimal form, as a property in JavaScript is."""


@dataclass(frozen=True, slots=True)
class Codec:
    """Names of the control fields, and JSON; a subclass may write another format. Both ends must agree."""

    key: str = "key"
    direction: str = "direction"
    type: str = "type"

    def loads(self, text: str) -> Any:
        """The value of a frame. Raises ValueError or RecursionError."""
        return loads(text)

    def dumps(self, message: Mapping[str, Any]) -> str:
        """A frame that holds an object. Raises TypeError or ValueError for a value that JSON cannot hold."""
        return dumps(message)

    def decode(self, text: str) -> Inbound:
        """Read one frame. Raises RequestWireError for a malformed one (README, "Behaviours")."""
        try:
            message = self.loads(text)
        except (ValueError, RecursionError):
            raise RequestWireError("not JSON") from None
        if not isinstance(message, dict):
            raise RequestWireError("not an object")
        direction = _direction(message.get(self.direction))
        return Inbound(direction, message, message.get(self.key, ABSENT), name(message.get(self.type)))

    def encode(self, message: Mapping[str, Any], direction: Direction, key: Any = ABSENT) -> str:
        """A frame: `message` with key and direction of its own, whatever it held there.

        Raises TypeError or ValueError.
        """
        controlled = dict(message)
        controlled.pop(self.key, None)
        if key is not ABSENT:
            controlled[self.key] = key
        controlled[self.direction] = direction.value
        return self.dumps(controlled)

    def message(self, message: Mapping[str, Any]) -> str:
        """A plain MESSAGE, which carries no control fields. Raises TypeError or ValueError."""
        if message.get(self.direction):
            raise ValueError(f"`{self.direction}` is the protocol's own field")
        return self.dumps(message)

    def receipt(self, key: Any) -> str:
        """The frame that tells the sender of a MESSAGE that it has arrived."""
        return self.encode({RECEIPT: True}, Direction.REPLY, key)


def name(value: Any) -> str:
    """A key or a type as a property's name; "" for another JSON type, or what is false in JavaScript."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not value:
        return ""
    return str(int(value)) if value == int(value) else repr(value)


def asks_for_receipt(inbound: Inbound) -> bool:
    """May, and should, this frame be answered by a receipt? Only where the subprotocol was negotiated."""
    plain = inbound.direction is Direction.MESSAGE
    return plain and inbound.key is not ABSENT and inbound.message.get(RECEIPT) is True


def check_close(code: int, reason: str) -> None:
    """Check the code and reason of a close (RFC 6455, sections 5.5 and 7.4). Raises ValueError."""
    if code != 1000 and not 3000 <= code <= 4999:
        raise ValueError("a close code is 1000 or from 3000 to 4999")
    if len(reason.encode()) > MAX_REASON_BYTES:
        raise ValueError(f"a close reason has at most {MAX_REASON_BYTES} bytes")


def _direction(value: Any) -> Direction:
    if value is None or value in ("", 0, False):  # what is false in JavaScript
        return Direction.MESSAGE
    if not isinstance(value, str):
        raise RequestWireError("the direction is not a string")
    direction = _BY_NAME.get(value.upper())
    if direction is None:
        raise RequestWireError("no such direction")
    return direction
