"""Lobby peers of a worker that has died: the others receive LEFT, though nobody is there to say it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from routing_app.core.database import query
from routing_app.core.models import LEASE_SECONDS, WorkerRecord
from routing_app.core.worker import Worker
from routing_app.rooms.dead_peers import DeadPeers
from tests.rooms.lobbies import Peer, rows, settle, workers
from tests.services.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
async def running() -> AsyncIterator[list[Worker]]:
    """A worker that looks, and one that dies or seems to."""
    async with workers(2) as running:
        yield running


async def entered(worker: Worker, lobby: str = "L") -> Peer:
    peer = Peer(worker)
    await peer.enter(lobby)
    return peer


async def renewed(worker: Worker, seconds: float) -> None:
    """A worker has renewed its lease so many seconds ago."""
    await query(
        WorkerRecord.objects.filter(id=worker.id).update, renewed_at=Now() - timedelta(seconds=seconds)
    )


async def news(running: list[Worker], dead_peers: DeadPeers, *subscribers: Peer) -> list[list[Any]]:
    """The events that each receives by the next look."""
    await settle(running)
    before = [len(one.received) for one in subscribers]
    await dead_peers.look()
    await settle(running)
    return [one.received[count:] for one, count in zip(subscribers, before, strict=True)]


async def test_peers_of_a_dead_worker_have_left_for_everybody(running: list[Worker]):
    here, dead = running
    near, far, peer = await entered(here), await entered(here, "elsewhere"), await entered(dead)
    dead_peers = DeadPeers(here)
    await dead.relay.stop()

    assert await news(running, dead_peers, near, far) == [[], []]
    await renewed(dead, LEASE_SECONDS + 1)
    assert await news(running, dead_peers, near, far) == [[], []]
    assert await news(running, dead_peers, near, far) == [[("LEFT", peer.id)], []]
    assert await news(running, dead_peers, near, far) == [[], []]
    assert await rows() == [near.id]


async def test_a_worker_that_was_not_dead_brings_its_members_back(running: list[Worker]):
    here, slow = running
    near, peer = await entered(here), await entered(slow)
    dead_peers = DeadPeers(here)
    await renewed(slow, LEASE_SECONDS + 1)
    await dead_peers.look()
    await dead_peers.look()

    await until(lambda: near.received[-2:] == [("LEFT", peer.id), ("JOINED", peer.id)])

    assert set(await rows()) == {near.id, peer.id}


async def test_a_lease_that_is_renewed_in_the_last_moment_saves_its_members(running: list[Worker]):
    here, slow = running
    near, _ = await entered(here), await entered(slow)
    dead_peers = DeadPeers(here)
    await renewed(slow, LEASE_SECONDS + 1)
    assert await news(running, dead_peers, near) == [[]]
    await renewed(slow, 0)

    assert await news(running, dead_peers, near) == [[]]
    assert await news(running, dead_peers, near) == [[]]


async def test_an_outage_of_the_database_sends_nobody_away(running: list[Worker]):
    """Every lease has lapsed when it is back, this worker's own as well, until each is renewed."""
    here, other = running
    near, _ = await entered(here), await entered(other)
    dead_peers = DeadPeers(here)
    for worker in running:
        await renewed(worker, LEASE_SECONDS + 1)
    assert await news(running, dead_peers, near) == [[]]
    await renewed(other, 0)

    assert await news(running, dead_peers, near) == [[]]
    assert await news(running, dead_peers, near) == [[]]
