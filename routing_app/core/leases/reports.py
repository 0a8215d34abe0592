"""Events of connections and of members. A member is a connection that subscribes to an address."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final, NamedTuple

from routing_app.core.access.masking import shown_identity
from routing_app.core.models import ConnectionRecord
from routing_app.core.webhooks.events import EventType
from routing_app.core.webhooks.known import webhooks
from routing_app.core.webhooks.report import NO_SECRETS, Event, write

TYPES: Final = (
    EventType.CONNECTION_OPENED,
    EventType.CONNECTION_CLOSED,
    EventType.MEMBER_JOINED,
    EventType.MEMBER_LEFT,
)

Pair = tuple[str, str]
"""The id of a connection, and an address."""


class Listed(NamedTuple):
    """A connection as listings have it."""

    id: str
    protocol: str
    identity: str
    peer: str

    @classmethod
    def of(cls, row: ConnectionRecord) -> Listed:
        """By its row."""
        return cls(row.id, row.protocol, row.identity, row.peer)

    @property
    def name(self) -> str:
        """Its identity, masked where that lets somebody in."""
        return shown_identity(NO_SECRETS, self.protocol, self.identity)

    @property
    def data(self) -> dict[str, object]:
        """The fields of `connection.*`."""
        return {
            "connection": self.id,
            "protocol": self.protocol,
            "identity": self.name,
            "peer": self.peer,
        }


class Closed(NamedTuple):
    """The end of a connection that lived from `since` to `until`, reported `at`."""

    connection: Listed
    code: int
    since: datetime
    until: datetime
    at: datetime


def are_wanted() -> bool:
    """True when a webhook wants any of these events."""
    return bool(webhooks) and any(map(webhooks.any_wants, TYPES))


def opened(connections: Iterable[Listed]) -> None:
    """Connections have rows now."""
    write(Event(EventType.CONNECTION_OPENED, one.data) for one in connections)


def closed(ends: Iterable[Closed]) -> None:
    """Connections are about to have no rows."""
    write(
        Event(
            EventType.CONNECTION_CLOSED,
            {**end.connection.data, "code": end.code, "seconds": _seconds(end)},
            at=end.at,
        )
        for end in ends
    )


def joined(pairs: Iterable[Pair], listed: Mapping[str, Listed]) -> None:
    """Connections subscribe to addresses."""
    write(_member(EventType.MEMBER_JOINED, pair, listed) for pair in pairs)


def left(pairs: Iterable[Pair], listed: Mapping[str, Listed]) -> None:
    """Connections do not subscribe to addresses any more."""
    write(_member(EventType.MEMBER_LEFT, pair, listed) for pair in pairs)


def _member(type: EventType, pair: Pair, listed: Mapping[str, Listed]) -> Event:
    id, address = pair
    return Event(type, {"address": address, "connection": id, "name": listed[id].name}, address)


def _seconds(end: Closed) -> float:
    return round(max(0.0, (end.until - end.since).total_seconds()), 3)
