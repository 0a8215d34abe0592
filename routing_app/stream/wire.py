"""Server-Sent Events as bytes, and the position that stands in their `id`.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html. A block without data is no event to a
page, but sets its last event id ("dispatch the event", step 1); so a client has a position before its first
message.

A position is one word for each address of the connection, with commas between: a hash of the address, and,
where it has a stream, `:epoch:offset`. It is opaque to clients.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final
from urllib.parse import quote, unquote

from routing_app.core.delivery.publication import MESSAGE, Position, Publication
from routing_app.core.json import dumps

RETRY: Final = b"retry: %d\n"
RETRY_MILLISECONDS: Final = 1000
"""Until a client whose stream has ended comes back."""
COMMENT: Final = b":\n\n"
GAP: Final = b"gap"
"""The name of the event that says: messages are missing."""
MAX_ID: Final = 16_384
"""Characters of the longest id that is read."""
MAX_OFFSET: Final = 2**53
HASH: Final = "[0-9a-f]{12}"
WORD: Final = re.compile(f"({HASH})(?::([A-Za-z0-9_.~%-]{{1,256}}):([0-9]{{1,16}}))?")


class NotAnId(ValueError):
    """The value is not an `id` that this server has written."""


def event(id: bytes, data: bytes, name: bytes = b"") -> bytes:
    """One event; `data` is JSON, and so has no line end. Without a name it is a `message` to the page."""
    if name:
        return b"event: %b\nid: %b\ndata: %b\n\n" % (name, id, data)
    return b"id: %b\ndata: %b\n\n" % (id, data)


def opening(id: bytes, missed: Iterable[str]) -> bytes:
    """The beginning of a stream: its position, in a `gap` where addresses have missed messages."""
    retry = RETRY % RETRY_MILLISECONDS
    addresses = list(missed)
    return retry + (event(id, gap(addresses), GAP) if addresses else b"id: %b\n\n" % id)


def farewell(seconds: int) -> bytes:
    """A whole stream that has nothing to say, but when to come back."""
    return RETRY % (seconds * 1000) + b"\n"


def data(publication: Publication, address: str) -> bytes:
    """The data of a publication; `event` is there where it is not an ordinary message.

    Raises TypeError or ValueError for a message that JSON cannot hold.
    """
    position = (publication.positions or {}).get(address)
    fields: dict[str, Any] = {
        "address": address,
        "message": publication.message,
        "offset": None if position is None else position.offset,
        "epoch": None if position is None else position.epoch,
        "sender": publication.sender,
    }
    if publication.event != MESSAGE:
        fields["event"] = publication.event
    return dumps(fields).encode()


def gap(addresses: Iterable[str]) -> bytes:
    """The data of a `gap`."""
    return dumps({"addresses": list(addresses)}).encode()


@lru_cache(maxsize=4096)
def hash_of(address: str) -> str:
    """The name of an address in an id. Two that share one have different epochs, so nothing is mistaken."""
    return blake2b(address.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


def word(address: str, position: Position | None) -> str:
    """The part of an id that one address has."""
    if position is None:
        return hash_of(address)
    return f"{hash_of(address)}:{_quoted(position.epoch)}:{position.offset}"


def encode(positions: Mapping[str, Position | None]) -> str:
    """The id of some addresses and their positions."""
    return ",".join(word(address, position) for address, position in positions.items())


def decode(id: str) -> dict[str, Position]:
    """The positions of an id, by the hashes of their addresses. Raises NotAnId."""
    if not id or len(id) > MAX_ID:
        raise NotAnId(f"an id has 1 to {MAX_ID} characters")
    found = {}
    for one in id.split(","):
        match = WORD.fullmatch(one)
        if match is None:
            raise NotAnId("not an id of this server")
        if match[2]:
            found[match[1]] = _position(match[2], match[3])
    return found


@lru_cache(maxsize=4096)
def _quoted(epoch: str) -> str:
    return quote(epoch, safe="")


def _position(epoch: str, offset: str) -> Position:
    number = int(offset)
    if number >= MAX_OFFSET:
        raise NotAnId("an offset is below 2^53")
    return Position(unquote(epoch), number)
