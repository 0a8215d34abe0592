"""One client in one namespace, whether it came over Socket.IO or over a plain socket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from routing_app.core.access.credentials import needs_credential
from routing_app.core.delivery.connection import Connection
from routing_app.core.worker import Worker

KNOWN_ROOMS: Final = 10_000

RoomKey = tuple[str, str]
"""Namespace and name of a room."""
Ack = Callable[..., None]
Emit = Callable[..., None]


@dataclass(frozen=True, slots=True, eq=False)
class MembershipEntry:
    """One connection in one room. `host` is its network address, for the allow-list."""

    room: RoomKey
    connection: str
    nickname: Any
    joined_at: datetime
    host: str
    addresses: tuple[str, ...]
    """Addresses that the connection has because it is in the room."""


class Member:
    """A client as the rules see it; others call it by `id`, and `emit(event, *arguments)` sends to it."""

    def __init__(self, worker: Worker, connection: Connection, namespace: str, id: str, emit: Emit) -> None:
        self.worker = worker
        self.connection = connection
        self.limited = worker.rate_limits.of(connection.protocol)
        self.hooked = worker.hooks.of(connection.protocol)
        self.namespace = namespace
        self.id = id
        self.emit = emit
        self.ask: Callable[..., Awaitable[list[Any]]] | None = None
        """`ask(event, *arguments, timeout=)` where the client has acks: their arguments."""
        self.bounded = needs_credential(connection.protocol)
        """True where the credential of the client has to cover the rooms that it uses."""
        self.nickname: Any = connection.given.name or None
        """The name that a hook has given, then that of the last JOIN; it stays after LEAVE."""
        self.recorded: asyncio.Future[None] | None = None
        """The row of the connection: done when it is committed, or cannot be."""
        self.rooms: dict[RoomKey, MembershipEntry] = {}
        """Rooms it is in, and those it is about to be in."""


class MemberRegistry:
    """The members of this worker, and the rooms they have used lately."""

    def __init__(self) -> None:
        self._members: dict[str, Member] = {}
        self.used: set[RoomKey] = set()
        self.open: set[RoomKey] = set()
        """Rooms that took everybody when they were last asked; what is written asks again."""

    def add(self, member: Member) -> None:
        """A client has come."""
        self._members[member.connection.id] = member

    def drop(self, member: Member) -> None:
        """It has gone; safe to call twice."""
        self._members.pop(member.connection.id, None)

    def find(self, connection: Connection) -> Member | None:
        """The member on a connection."""
        return self.by_id(connection.id)

    def by_id(self, connection_id: str) -> Member | None:
        """The member on the connection of that id."""
        return self._members.get(connection_id)

    def know(self, room: RoomKey, restricted: bool) -> None:
        """Remember what a room allowed when it was asked."""
        if len(self.open) >= KNOWN_ROOMS:  # to forget is harmless: the rooms are asked again
            self.open.clear()
        if restricted:
            self.open.discard(room)
        else:
            self.open.add(room)

    def rooms(self) -> set[RoomKey]:
        """The rooms that have a member here."""
        return {room for member in self._members.values() for room in member.rooms}

    def entries(self) -> Iterator[MembershipEntry]:
        """All memberships of this worker."""
        for member in self._members.values():
            yield from member.rooms.values()


def members_of(worker: Worker) -> MemberRegistry:
    """The members of a worker."""
    mine: MemberRegistry = worker.protocols["rooms"].members
    return mine
