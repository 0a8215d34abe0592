"""Frames: one JSON object each, the fields `key`, `direction` and `type` beside the application's own."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import isfinite
from typing import Any, Final, TypeVar

PLAIN: Final = "wyre"
"""Offered first, for servers that answer the first subprotocol whatever it means, as the original does."""
RECEIPTS: Final = "wyre.receipt"
"""The subprotocol under which `send` is answered by the other end."""
DIRECTIONS: Final = frozenset({"MESSAGE", "REQUEST", "REPLY", "PARTIAL", "ERROR"})
MAX_REASON_BYTES: Final = 123
BATCH: Final = 500
BATCH_BYTES: Final = 2**15
"""Addresses or messages in one request at most: a server takes 1,000, and frames of 64 KiB."""
_FALSE: Final = (None, "", 0, False)

T = TypeVar("T")


class Answer(dict[str, Any]):
    """The object that the other end answered with; `message` is the object itself, as in the original."""

    @property
    def message(self) -> dict[str, Any]:
        """The whole object."""
        return self


def _number(digits: str) -> float:
    if not isfinite(number := float(digits)):
        raise ValueError("a number is too large")
    return number


def _integer(digits: str) -> int:
    _number(digits)
    return int(digits)


def _constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


_DECODER: Final = json.JSONDecoder(parse_float=_number, parse_int=_integer, parse_constant=_constant)


def decode(data: str | bytes) -> tuple[str, dict[str, Any]]:
    """Direction in upper case, and the whole object. Raises ValueError for a string that is not a frame."""
    try:
        message = _DECODER.decode(data if isinstance(data, str) else data.decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(message, dict):
        raise ValueError("a frame is an object")  # noqa: TRY004 - the other end sent it
    direction = message.get("direction")
    if any(direction is one or direction == one for one in _FALSE):
        return "MESSAGE", message
    if not isinstance(direction, str) or direction.upper() not in DIRECTIONS:
        raise ValueError("no such direction")
    return direction.upper(), message


def encode(message: Mapping[str, Any], **control: Any) -> str:
    """A frame with these control fields. Raises TypeError or ValueError."""
    frame = {**message, **control}
    text = json.dumps(frame, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate, which JSON may hold
        return json.dumps(frame, separators=(",", ":"))
    return text


def encode_message(message: Mapping[str, Any], **control: Any) -> str:
    """The frame of a plain message. Raises TypeError or ValueError."""
    if message.get("direction"):
        raise ValueError("`direction` is the protocol's own field")
    return encode(message, **control)


def encode_answer(message: Mapping[str, Any], direction: str, request: Mapping[str, Any]) -> str:
    """The frame of an answer to a request: its key if it has one. Raises TypeError or ValueError."""
    own = {name: value for name, value in message.items() if name != "key"}
    if "key" in request:
        return encode(own, key=request["key"], direction=direction)
    return encode(own, direction=direction)


def batches(items: Iterable[T], measure: Callable[[T], int]) -> Iterator[list[T]]:
    """Items for several requests, each within a server's bounds for a frame and for a list.

    `measure` tells the bytes of one; a larger one than the bound goes alone.
    """
    batch: list[T] = []
    total = 0
    for item in items:
        bytes = measure(item)
        if batch and (total + bytes > BATCH_BYTES or len(batch) == BATCH):
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += bytes
    if batch:
        yield batch


def size(value: object) -> int:
    """The bytes of a value in a frame, at most."""
    return len(json.dumps(value))


def new_key() -> str:
    """A key that no other request has."""
    return str(uuid.uuid4())


def with_id(publish: Mapping[str, Any]) -> dict[str, Any]:
    """A message to be published, with an id of its own where it has none."""
    return {**publish, "id": new_key() if publish.get("id") is None else publish["id"]}


def name(key: object) -> str:
    """A key as the name by which an answer is found; "" for a value that cannot be one."""
    if isinstance(key, str):
        return key
    if isinstance(key, bool) or not isinstance(key, int | float):
        return ""
    return str(int(key)) if key == int(key) else repr(key)


def check_close(code: int, reason: str) -> None:
    """Check a close of an application (RFC 6455, sections 5.5 and 7.4). Raises ValueError."""
    if code != 1000 and not 3000 <= code <= 4999:
        raise ValueError("a close code is 1000 or from 3000 to 4999")
    if len(reason.encode()) > MAX_REASON_BYTES:
        raise ValueError(f"a close reason has at most {MAX_REASON_BYTES} bytes")
