"""A message on its way to its receivers, in no protocol's shape yet."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from math import inf
from typing import Any, Final, NamedTuple

MESSAGE: Final = "message"
"""The event of an ordinary message; a protocol may publish others of its own (`JOINED`, `LEFT`, ...)."""

INTERNAL: Final = "$"
"""Events that begin so are between workers: no client reads them, and no stream keeps them."""

Path = tuple[str | int, ...]


class Position(NamedTuple):
    """A place in the stream of an address: offsets are 1, 2, 3, … within an epoch; 0 is before the first."""

    epoch: str
    offset: int


@dataclass(slots=True, eq=False)  # never changed; `frozen` would take a microsecond for each
class Publication:
    """One message to one or more addresses.

    `message` is any JSON value; `event` is its kind, by the protocol that publishes it;
    `sender` is a name for the receivers to see ("" for none); `exclude` is the id of a connection that is
    left out although it matches ("" for none); `id` is unique where several addresses are named, so that a
    process which gets the message once per address delivers it once.
    """

    addresses: tuple[str, ...]
    message: Any
    event: str = MESSAGE
    sender: str = ""
    exclude: str = ""
    id: str = ""
    binary: tuple[Path, ...] = ()
    """Where objects `{"_base64": "..."}` stand in `message` that were binary data when they came: the keys
    and indexes that lead to each."""
    published_at: float = inf
    """When, by the clock of this process; `inf` for just now. Later subscribers do not get it."""
    server: int | None = None
    """The Redis server it came by, or has to go by, where there are several; None: the one of its address."""
    is_part: bool = False
    """True when `addresses` are those of one server only, and the others come by theirs."""
    positions: dict[str, Position] | None = None
    """Its place in the stream of each of its addresses that has one."""
    trace: str = ""
    """The span of its publish, as a `traceparent`, where spans are made."""

    def named(self, id: str) -> Publication:
        """A copy with an id. It and `placed` are written out: `dataclasses.replace` takes 5 µs."""
        return Publication(
            self.addresses,
            self.message,
            self.event,
            self.sender,
            self.exclude,
            id,
            self.binary,
            self.published_at,
            self.server,
            self.is_part,
            self.positions,
            self.trace,
        )

    def placed(self, addresses: tuple[str, ...], positions: dict[str, Position] | None) -> Publication:
        """A copy with positions in the streams of its addresses."""
        return Publication(
            addresses,
            self.message,
            self.event,
            self.sender,
            self.exclude,
            self.id,
            self.binary,
            self.published_at,
            self.server,
            self.is_part,
            positions,
            self.trace,
        )

    def without(self, addresses: Container[str]) -> Publication:
        """A copy without some of its addresses."""
        positions = {a: p for a, p in (self.positions or {}).items() if a not in addresses}
        return self.placed(tuple(one for one in self.addresses if one not in addresses), positions or None)

    def pack(self) -> list[Any]:
        """The form in which it crosses the channel layer: a list of plain values."""
        packed = [list(self.addresses), self.message, self.event, self.sender, self.exclude, self.id]
        if self.binary or self.positions or self.trace:
            packed.append([list(path) for path in self.binary])
        if self.positions or self.trace:
            positions = self.positions or {}
            packed.append({address: list(position) for address, position in positions.items()})
        if self.trace:
            packed.append(self.trace)
        return packed

    @classmethod
    def unpack(cls, packed: list[Any], published_at: float = inf, server: int | None = None) -> Publication:
        """The inverse of `pack`."""
        addresses, message, event, sender, exclude, id, *rest = packed
        binary = tuple(map(tuple, rest[0])) if rest else ()
        positions = {one: Position(*position) for one, position in rest[1].items()} if rest[1:] else {}
        return cls(
            tuple(addresses),
            message,
            event,
            sender,
            exclude,
            id,
            binary,
            published_at,
            server,
            positions=positions or None,
            trace=rest[2] if rest[2:] else "",
        )
