"""A message on its way to its receivers, in no protocol's shape yet."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any, Final

MESSAGE: Final = "message"
"""The event of an ordinary message; a protocol may publish others of its own (`JOINED`, `LEFT`, ...)."""

Path = tuple[str | int, ...]


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

    def pack(self) -> list[Any]:
        """The form in which it crosses the channel layer: a list of plain values."""
        packed = [list(self.addresses), self.message, self.event, self.sender, self.exclude, self.id]
        if self.binary:
            packed.append([list(path) for path in self.binary])
        return packed

    @classmethod
    def unpack(cls, packed: list[Any], published_at: float = inf, server: int | None = None) -> Publication:
        """The inverse of `pack`."""
        addresses, message, event, sender, exclude, id, *rest = packed
        binary = tuple(map(tuple, rest[0])) if rest else ()
        return cls(tuple(addresses), message, event, sender, exclude, id, binary, published_at, server)
