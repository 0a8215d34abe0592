"""A store of streams, as the rest of the code sees it: `memory` is one in this process, `redis` on a server.

A stream has an epoch, and offsets 1, 2, 3, … in it. The same epoch never comes with other contents: wherever
a store may have lost something, the next epoch is a new one.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, NamedTuple, Protocol

from routing_app.core.delivery.publication import Position, Publication

MAX_OFFSET: Final = 2**53
"""Offsets of clients are below: JavaScript counts no further."""
IDLE_SECONDS: Final = 86_400
"""A stream that nobody uses is forgotten so long after its last message has expired."""


class StoreUnavailable(Exception):
    """The store does not answer. A message that was to be appended may be in it all the same."""


class Bounds(NamedTuple):
    """The messages that a stream keeps: so many, and none older than so many seconds."""

    size: int
    seconds: int


@dataclass(frozen=True, slots=True)
class Append:
    """One message for the streams of some addresses, all in one step.

    `record` is what `record.encode` made of it. `once` names the message for those who may send it again: for
    `once_seconds` the same name appends nothing, and has the positions of the first; "" for none.

    A name without streams may be `pending`: its message is published under that id, and whoever names it
    again is told the id, and that it may not have reached all, until an append with `settles`.
    """

    record: bytes
    streams: Mapping[str, Bounds]
    once: str = ""
    once_seconds: float = 0.0
    pending: str = ""
    settles: bool = False


class Appended(NamedTuple):
    """Where a message stands; `repeated`: it had been appended before, by its `once`.

    `pending`: the id under which it is published while that may not have reached all.
    """

    positions: dict[str, Position]
    repeated: bool = False
    pending: str = ""


Done = Callable[[Appended | StoreUnavailable], None]
"""Takes the outcome of an append. Calls for one stream come in the order of offsets."""


class Entry(NamedTuple):
    """One kept message; `at` is when it was appended, in seconds since 1970."""

    offset: int
    at: float
    publication: Publication
    shown_id: str
    """The id that its publisher gave it, or one of ours."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some messages of a stream, and where the stream is."""

    epoch: str
    offset: int
    """The last one of the stream."""
    entries: list[Entry] = field(default_factory=list)
    """Ascending."""
    recovered: bool = True
    """False when what follows the position that was asked for is not all there; `entries` is empty then."""
    more: bool = False
    """True when others follow `entries`."""
    first: int = 0
    """The oldest offset that is kept, where `recovered` is false; one above `offset` if there is none."""
    base: int = 0
    """The offset at which the epoch began."""
    former: Position | None = None
    """The end of the epoch before, where that is known for certain."""

    @property
    def position(self) -> Position:
        """The end of the stream."""
        return Position(self.epoch, self.offset)


class StreamStore(Protocol):
    """All streams of one server, or of this process. Every method may raise StoreUnavailable."""

    def append(self, append: Append, done: Done) -> None:
        """Append, and call `done` with the outcome: at once, or when it is known. Raises nothing."""

    async def read(
        self, address: str, bounds: Bounds, since: Position | None = None, limit: int = 100
    ) -> Page:
        """What follows `since`, from the oldest on; without it the newest. At most `limit` messages."""

    async def positions(self, streams: Mapping[str, Bounds]) -> dict[str, Page]:
        """The end of each stream, as pages without entries; a stream that was not there begins."""

    async def delete(self, address: str, bounds: Bounds) -> Position:
        """Forget all messages of a stream; where it is then, in a new epoch."""

    async def end(self, is_kept: Callable[[str], bool]) -> None:
        """Forget the streams of all addresses that are not kept: their next use begins a new epoch."""

    async def settle(self) -> None:
        """Wait until nothing is on its way, for a second or so at most."""

    async def stop(self) -> None:
        """Take nothing more."""


_PROCESS: Final = secrets.token_urlsafe(9)
_NUMBERS: Final = count()


def new_epoch() -> str:
    """A name that no other epoch has. Each append takes one along, so it is cheap to make."""
    return f"{_PROCESS}{next(_NUMBERS):x}"


Row = tuple[int, float, bytes, list[Any] | None]
"""Offset, time, record, and the positions `[epoch, offset]` in all its streams where there are several."""
