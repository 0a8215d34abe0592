"""The arguments of handlers for what the server publishes: deliveries, and notices of presence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self, TypedDict


class Position(TypedDict):
    """A place in the stream of an address with history."""

    epoch: str
    offset: int


def position(value: object) -> Position | None:
    """The position in a field of the server; None where there is no history."""
    if not isinstance(value, Mapping):
        return None
    epoch, offset = value.get("epoch"), value.get("offset")
    if not isinstance(epoch, str) or not epoch or not isinstance(offset, int) or isinstance(offset, bool):
        return None
    return {"epoch": epoch, "offset": offset}


def positions(message: Mapping[str, Any]) -> dict[str, Position]:
    """The positions of a delivery, by address."""
    several = message.get("positions")
    given = {**several} if isinstance(several, Mapping) else {}
    if isinstance(address := message.get("address"), str):
        given.setdefault(address, message)
    return {address: place for address, value in given.items() if (place := position(value)) is not None}


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that was published to an address which this connection subscribes to.

    `epoch` and `offset` are where it stands in the stream of the address, None without history; `positions`
    where it stands in the streams of all its addresses that this connection subscribes to.
    """

    address: str
    message: Any
    event: str = "message"
    epoch: str | None = None
    offset: int | None = None
    positions: dict[str, Position] = field(default_factory=dict)

    @classmethod
    def of(cls, message: Mapping[str, Any]) -> Self:
        """The delivery in a MESSAGE of the server."""
        return cls(
            str(message.get("address")),
            message.get("message"),
            str(message.get("event") or "message"),
            message.get("epoch"),
            message.get("offset"),
            positions(message),
        )


@dataclass(frozen=True, slots=True)
class Presence:
    """A notice of who has come to an address and who has left it: `{"id", "protocol", "identity"}` each.

    `count` are all that are there now. `truncated`: there were too many to be listed.
    """

    address: str
    count: int
    joined: list[dict[str, Any]]
    left: list[dict[str, Any]]
    truncated: bool = False

    @classmethod
    def of(cls, message: Mapping[str, Any]) -> Self:
        """The notice in a MESSAGE of the server."""
        joined, left = message.get("joined") or [], message.get("left") or []
        return cls(str(message.get("address")), message.get("count", 0), joined, left, "truncated" in message)
