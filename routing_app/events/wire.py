"""The Jac Cloud websocket on the wire: events in, frames out (README.md, "The socket").

Pure: text in, values out, and back. Clocks, sockets and rows are elsewhere.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Final, Literal, Union

import orjson
from pydantic import AfterValidator, BaseModel, FailFast, Field, ValidationError, ValidationInfo
from pydantic_core import PydanticKnownError

from routing_app.core.json import NotJSON, children, deeper, depth_exceeds, loads, may_hold_large_integers

PUBLIC_ROOT: Final = "n::000000000000000000000001"
"""The root of everybody who is not authenticated; the system's own is `…000000`. No user gets either."""
RESERVED_ROOTS: Final = frozenset({"0" * 24, "0" * 23 + "1"})
ROOT_PATTERN: Final = "^[nN]:[^:]*:[0-9a-fA-F]{24}$"
"""The pattern of a user's root id, for schemas."""
MAX_DEPTH: Final = 100
"""Levels of nesting in one event; what goes on to other processes and clients must not be bottomless."""
MAX_ITEMS: Final = 20
"""Validation items in one answer."""

_REFERENCE: Final = re.compile(r"(?ai)([newo]):([^:]*):([a-f\d]{24})")
_BEARER: Final = re.compile(r"(?i)\s*bearer\s+")

UNKNOWN_WALKER: Final = "Invalid request! Please use valid walker event!"
NEEDS_USER: Final = "Event {} requires to be authenticated!"
NEEDS_PUBLIC: Final = "Event {} requires to be unauthenticated!"
NO_ACCESS: Final = "You don't have access on target entry {}!"
NO_CHANNEL: Final = "You don't have access on target channel {}!"
TAKEN_BACK: Final = "The token is revoked!"
NO_TARGET: Final = "You don't have access on target {} {}!"
CLOSED_EVENT: Final = "Event {} is not open to clients!"
NO_DECISION: Final = "The backend that decides gave no valid answer, try again!"
TOO_MANY: Final = "Too many events! Try again in {} s."
INTERNAL_ERROR: Final = "Internal error\n"
UNAVAILABLE: Final = "A backing service is down, try again later.\n"


class BadEvent(Exception):
    """A frame that is not an event; `error` is the list that answers it, `id` the client's name for it."""

    def __init__(self, error: list[Any], id: Any = None) -> None:
        super().__init__("no valid event")
        self.error = error
        self.id = id


class BadReference(ValueError):
    """A string is not a reference; the message is the original's."""

    def __init__(self, text: str) -> None:
        super().__init__(f"[{text}] is not a valid reference!")


def _at_most(ids: list[str], info: ValidationInfo) -> list[str]:
    limit = (info.context or {}).get("max_ids", len(ids))
    if len(ids) > limit:
        facts = {"field_type": "List", "max_length": limit, "actual_length": len(ids)}
        raise PydanticKnownError("too_long", facts)
    return ids


Ids = Annotated[list[str], FailFast(), Field(min_length=1), AfterValidator(_at_most)]


class ConnectionEvent(BaseModel):
    """Asks for the connection frame."""

    type: Literal["connection"]


class WalkerEvent(BaseModel):
    """Runs a walker. `id` is ours: it comes back in the answer, so that a client can tell answers apart."""

    type: Literal["walker"]
    walker: str
    node: str | None = None
    response: bool = False
    context: dict[str, Any] = {}
    id: Any = None


class UserEvent(BaseModel):
    """Sends `data` to all sockets of users."""

    type: Literal["user"]
    root_ids: Ids
    data: dict[str, Any]

    @property
    def ids(self) -> list[str]:
        """Its receivers."""
        return self.root_ids


class ChannelEvent(BaseModel):
    """Sends `data` to all sockets on channels."""

    type: Literal["channel"]
    channel_ids: Ids
    data: dict[str, Any]

    @property
    def ids(self) -> list[str]:
        """Its receivers."""
        return self.channel_ids


class ClientEvent(BaseModel):
    """Sends `data` to single sockets."""

    type: Literal["client"]
    client_ids: Ids
    data: dict[str, Any]

    @property
    def ids(self) -> list[str]:
        """Its receivers."""
        return self.client_ids


class ChangeUserEvent(BaseModel):
    """Moves the socket to the user of a token; without one, to the public."""

    type: Literal["change_user"]
    token: str | None = None


TargetedEvent = UserEvent | ChannelEvent | ClientEvent
Event = ConnectionEvent | WalkerEvent | TargetedEvent | ChangeUserEvent


class _Received(BaseModel):
    """Gives validation items their `event` prefix, as the original's model does."""

    event: Annotated[
        Union[  # noqa: UP007 - the order of the names in the error message
            ConnectionEvent, WalkerEvent, UserEvent, ChannelEvent, ClientEvent, ChangeUserEvent
        ],
        Field(discriminator="type"),
    ]


def parse(text: str, max_ids: int) -> Event:
    """Read one text frame; it may name at most `max_ids` receivers. Raises BadEvent."""
    try:
        value = loads(text, surrogates=False)
    except NotJSON as error:
        raise BadEvent([f"json.decoder.JSONDecodeError: {error}\n"]) from None
    raw = text.encode()
    if (may_hold_large_integers(raw) or deeper(raw, value, MAX_DEPTH)) and (wrong := excess(value)):
        raise BadEvent([f"ValueError: {wrong}\n"])
    try:
        return _Received.model_validate({"event": value}, context={"max_ids": max_ids}).event
    except ValidationError as error:
        raise BadEvent(items(error), value.get("id") if isinstance(value, dict) else None) from None


def excess(value: Any) -> str:
    """The reason why a decoded value is too much for other processes and clients; "" when it is not."""
    if depth_exceeds(value, MAX_DEPTH):
        return f"nested deeper than {MAX_DEPTH} levels"
    if _holds_huge_integer(value):
        return "an integer has more than 64 bits"
    return ""


def _holds_huge_integer(value: Any) -> bool:
    """True for a number that orjson and the channel layer have no form for. The depth is bounded already."""
    if isinstance(value, int):
        return not -(2**63) <= value < 2**64
    return any(map(_holds_huge_integer, children(value)))


def items(error: ValidationError) -> list[dict[str, Any]]:
    """The validation items of a refused event or context: `type, loc, msg, input, url`, sometimes `ctx`."""
    found: list[dict[str, Any]] = orjson.loads(error.json())
    return found[:MAX_ITEMS]


# --- ids -------------------------------------------------------------------------------------------------


def reference(text: str) -> tuple[str, str, str]:
    """Kind (`n`, `e`, `w`, `o`), name and hex id of a reference, in lower case but for the name.

    Raises BadReference.
    """
    match = _REFERENCE.fullmatch(text)
    if match is None:
        raise BadReference(text)
    return match[1].lower(), match[2], match[3].lower()


def root_reference(hex_id: str) -> str:
    """A root's id as the socket writes it."""
    return f"n::{hex_id}"


def root_of(text: str) -> str:
    """The root that a reference names, in its one form; "" when it names no node. Raises BadReference.

    References are equal when kind and hex id are; a node's name says nothing.
    """
    kind, _, hex_id = reference(text)
    return root_reference(hex_id) if kind == "n" else ""


def bare_token(text: str) -> str:
    """A token without `Bearer `, which clients may or may not write."""
    return _BEARER.sub("", text, count=1).strip()


# --- frames ----------------------------------------------------------------------------------------------


def dumps(value: Any) -> str:
    """Compact JSON."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # integers beyond 64 bits, and lone surrogates, which JSON may hold
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def no_target(type: str, address: str) -> str:
    """The words for an address that a client may not send to."""
    return NO_TARGET.format(type, address.partition(":")[2])


def connection(client_id: str, root_id: str, channel_id: str) -> str:
    """The frame that says who this socket is: first of all, after `connection`, and after `change_user`."""
    data = {"client_id": client_id, "root_id": root_id, "channel_id": channel_id}
    return dumps({"type": "connection", "data": data})


def envelope(reports: list[Any], id: Any = None) -> str:
    """The answer of a walker: bare, without a type."""
    return dumps(_with_id({"status": 200, "reports": reports}, id))


def refused(type: str, error: str, id: Any = None) -> str:
    """An event that is not allowed; the original has this for walkers only."""
    return dumps(_with_id({"type": type, "error": error}, id))


def failed(error: list[Any], id: Any = None) -> str:
    """An event that could not be understood, or a walker that ended with an exception."""
    return dumps(_with_id({"error": error}, id))


def _with_id(frame: dict[str, Any], id: Any) -> dict[str, Any]:
    return frame if id is None else frame | {"id": id}
