"""A message as a store keeps it: bytes of JSON, without the positions, which the store adds.

`[message, event, sender, exclude, id]`, and where one of them is needed an object with `as` (the id that the
publisher gave), `to` (all addresses), `in` (those with a stream, in the order of positions) and `binary`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

import orjson

from routing_app.core.delivery.publication import Position, Publication
from routing_app.core.json import may_hold_large_integers
from routing_app.core.streams.store import Entry, Row


class Unencodable(Exception):
    """The message has no form in JSON."""


def encode(publication: Publication, streams: Iterable[str], shown_id: str = "") -> bytes:
    """A record. Raises Unencodable."""
    packed: list[Any] = [
        publication.message,
        publication.event,
        publication.sender,
        publication.exclude,
        publication.id,
    ]
    more: dict[str, Any] = {}
    if shown_id:
        more["as"] = shown_id
    if len(publication.addresses) > 1:
        more["to"] = publication.addresses
        more["in"] = list(streams)
    if publication.binary:
        more["binary"] = publication.binary
    if more:
        packed.append(more)
    try:
        # A value that orjson refuses, or writes as `null`, is for the standard library: that stands for NaN,
        # too. Half of a surrogate pair has a form in ASCII alone.
        data = orjson.dumps(packed, option=_PLAIN_ONLY)
        if b"null" not in data:
            return bytes(memoryview(data))  # its own buffer has 1 kB or more
    except TypeError:
        pass
    try:
        return _ENCODER.encode(packed).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise Unencodable(type(error).__name__) from None


def decode(address: str, epoch: str, row: Row) -> Entry:
    """The entry of a row of the stream of `address`."""
    offset, at, record, all_positions = row
    message, event, sender, exclude, id, *rest = _loads(record)
    more = rest[0] if rest else {}
    positions = {address: Position(epoch, offset)}
    if all_positions is not None:
        pairs = zip(more["in"], all_positions, strict=True)
        # Its own position has the epoch of now: one that began while it was kept has its messages, too.
        positions = {one: Position(*position) for one, position in pairs} | positions
    publication = Publication(
        tuple(more.get("to", (address,))),
        message,
        event,
        sender,
        exclude,
        id,
        tuple(map(tuple, more.get("binary", ()))),
        positions=positions,
    )
    return Entry(offset, at, publication, more.get("as", id))


def _loads(record: bytes) -> Any:
    if not may_hold_large_integers(record):
        with suppress(orjson.JSONDecodeError):
            return orjson.loads(record)
    return json.loads(record)


_PLAIN_ONLY: Final = (
    orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS
)
# Made once; ASCII, since a string of JSON may hold half of a surrogate pair, which UTF-8 cannot.
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"))
