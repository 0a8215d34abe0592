"""Lobby peers of a worker that has died: the others hear LEFT, though nobody is there to say it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from django.utils import timezone

from routing_app.core.connection import Connection, new_id
from routing_app.core.database import query
from routing_app.core.models import LEASE_SECONDS, ConnectionRecord
from routing_app.core.models import Worker as WorkerRow
from routing_app.core.worker import Worker, current_worker, drop_worker
from routing_app.rooms import lobby, service, wire
from routing_app.rooms.absence import Absences
from routing_app.rooms.encoders import PLAIN
from routing_app.rooms.member import Member
from routing_app.rooms.models import Membership, Room
from tests.core.harness import Recorder, received

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    """A worker that lives."""
    one = current_worker()
    one.presence.start()
    yield one
    await one.stop()
    drop_worker()


async def member(worker: Worker, lobby_id: str) -> Connection:
    connection = Connection(new_id(worker.id), "rooms", Recorder(), worker.flusher, PLAIN)
    worker.hub.add(connection)
    one = Member(worker, connection, wire.LOBBY, connection.id, lambda *event: None)
    await service.enter(one)
    await lobby.connected(one, lobby_id)
    return connection


def peer_of_another_worker(lobby_id: str, id: str) -> None:
    other = WorkerRow.objects.create(id="other", host="host", pid=1)
    now = timezone.now()
    record = ConnectionRecord.objects.create(id=id, worker=other, line="rooms", connected_at=now)
    room = Room.objects.get(namespace=wire.LOBBY, name=lobby_id)
    Membership.objects.create(room=room, connection=record, nickname=id, joined_at=now)


async def renewed(id: str, seconds: float) -> None:
    """A worker has renewed its lease so many seconds ago."""
    await query(WorkerRow.objects.filter(id=id).update, renewed_at=Now() - timedelta(seconds=seconds))


async def news(absences: Absences, *listeners: Connection) -> list[list[Any]]:
    """What each hears by the next look."""
    before = [len(received(one)) for one in listeners]
    await absences.look()
    await asyncio.sleep(0)
    return [received(one)[count:] for one, count in zip(listeners, before, strict=True)]


async def test_peers_of_a_dead_worker_have_left_and_are_joined_again_if_it_was_not_dead(worker: Worker):
    near, far = await member(worker, "L"), await member(worker, "elsewhere")
    await query(peer_of_another_worker, "L", "peer")
    absences = Absences(worker)

    assert await news(absences, near, far) == [[], []]
    await renewed("other", LEASE_SECONDS + 1)
    assert await news(absences, near, far) == [[], []]
    assert await news(absences, near, far) == [[["LEFT", "peer"]], []]
    assert await news(absences, near, far) == [[], []]
    await renewed("other", 0)
    assert await news(absences, near, far) == [[["JOINED", "peer"]], []]

    await renewed("other", LEASE_SECONDS + 1)
    await absences.look()
    assert await news(absences, near) == [[["LEFT", "peer"]]]
    await query(WorkerRow.objects.filter(id="other").delete)
    assert await news(absences, near) == [[]]


async def test_an_outage_of_the_database_sends_nobody_away(worker: Worker):
    """Every lease has lapsed when it is back, this worker's own as well, until each is renewed."""
    near = await member(worker, "L")
    await query(peer_of_another_worker, "L", "peer")
    absences = Absences(worker)

    for id in ("other", worker.id):
        await renewed(id, LEASE_SECONDS + 1)
    assert await news(absences, near) == [[]]
    await renewed("other", 0)

    assert await news(absences, near) == [[]]
    assert await news(absences, near) == [[]]
