"""Workers of one process on layers of their own, with lobby members that keep what they receive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final

import pytest
from django.db.models.functions import Now

from routing_app.core.database import query
from routing_app.core.delivery.connection import Connection, ConnectionState, new_id
from routing_app.core.leases import presence
from routing_app.core.models import WorkerRecord
from routing_app.core.worker import Worker
from routing_app.rooms import dead_peers, lobby, service, wire
from routing_app.rooms.dead_peers import DeadPeers
from routing_app.rooms.encoders import PLAIN
from routing_app.rooms.lobbies import lobbies_of
from routing_app.rooms.members import Member
from routing_app.rooms.models import Membership
from tests.core.harness import Recorder
from tests.core.layers import Bus, LaggingLayer

LOBBY: Final = "L"
HOUR: Final = timedelta(hours=1)
"""Longer than any test."""


class Peer:
    """A member of a lobby; `received` is what its client was told of who is there."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.connection = Connection(new_id(worker.id), "rooms", Recorder(), worker.flusher, PLAIN)
        self.id = self.connection.id
        self.received: list[tuple[str, Any]] = []
        self._member = Member(worker, self.connection, wire.LOBBY, self.id, self._emit)

    def _emit(self, event: str, argument: Any) -> None:
        if self.connection.state is ConnectionState.OPEN:
            self.received.append((event, argument))

    async def enter(self, name: str = LOBBY) -> None:
        """Connect, as a client that names its lobby does."""
        self.worker.hub.add(self.connection)
        await service.enter(self._member)
        await lobby.connected(self._member, name)
        if self.connection.state is not ConnectionState.OPEN:
            self.go()

    async def send(self, event: str, argument: Any) -> bool:
        """An event; whether it was acked."""
        acks: list[None] = []
        await service.take(self._member, event, [argument], lambda: acks.append(None))
        return bool(acks)

    def go(self) -> None:
        """The client is gone."""
        self.connection.mark_closed()
        self.worker.hub.drop(self.connection)
        self.worker.presence.leave(self.connection)
        service.leave(self._member)

    @property
    def inside(self) -> bool:
        """True when it is in the lobby, as its client knows."""
        return self.connection.state is ConnectionState.OPEN and lobby.current(self._member) is not None

    def replayed(self) -> set[str]:
        """The members: PEERS, then JOINED and LEFT in the order in which they came."""
        there: set[str] = set()
        for event, argument in self.received:
            if event == "PEERS":
                assert there <= {self.id}, "somebody was named before PEERS"
                there |= set(argument)
            elif event == "JOINED":
                there.add(argument)
            elif event == "LEFT":
                assert argument in there, "somebody left who was not there"
                there.remove(argument)
        return there


@asynccontextmanager
async def workers(count: int) -> AsyncIterator[list[Worker]]:
    """Workers that serve, each on a layer of its own; they stop in the end.

    Their leases hold for an hour, and none of them looks or renews by itself: tests do.
    """
    bus, loop = Bus(), asyncio.get_running_loop()
    layers = [LaggingLayer(bus) for _ in range(count)]
    running = [Worker(layer, loop) for layer in layers]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presence, "RENEW_SECONDS", HOUR.total_seconds())
        patch.setattr(dead_peers, "LOOK_SECONDS", HOUR.total_seconds())
        for worker in running:
            worker.presence.start()
            await worker.relay.want([f"worker:{worker.id}"])
            await worker.protocols["rooms"].start()
            await worker.writes.settled()
            record = WorkerRecord.objects.filter(id=worker.id)
            assert await query(record.update, renewed_at=Now() + HOUR) == 1
        try:
            yield running
        finally:
            for worker, layer in zip(running, layers, strict=True):
                await worker.stop()
                await layer.flush()


async def rows(name: str = LOBBY) -> list[Any]:
    """The ids that the rows have in a lobby."""
    members = Membership.objects.filter(room__namespace=wire.LOBBY, room__name=name)
    return await query(lambda: list(members.order_by("pk").values_list("nickname", flat=True)))


async def settle(running: list[Worker]) -> None:
    """Wait until everything that was asked for is written, published and taken."""
    for _ in range(3):
        for worker in running:
            await lobbies_of(worker).writes.settled()
            await worker.writes.settled()
            await worker.relay.settled()
        for _ in range(20):
            await asyncio.sleep(0)


async def look(running: list[Worker]) -> None:
    """One look of each worker, as every five seconds."""
    for worker in running:
        await DeadPeers(worker).look()
    await settle(running)
