"""PostgreSQL is out for longer than lease and grace: for one of two servers, then for both. As the clock
goes; the same is in `tests/core/test_lease.py` and `tests/sessions/test_leases.py` without waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from websockets.asyncio.client import connect

from tests.faults.cluster import Cluster, Member, seconds_until
from tests.services.databases import PostgresDatabases
from tests.services.postgres import Postgres
from tests.sessions.conftest import OK, TERMINATE, Broker, Customer, Player
from tests.sessions.http import Http

pytestmark = [pytest.mark.once, pytest.mark.soak]

GRACE_SECONDS = 20
LIFE_SECONDS = 15 + GRACE_SECONDS


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def play(stack: AsyncExitStack, customer: Customer) -> Player:
    """A session, and a player that is bound to it."""
    reply = await customer.create()
    assert reply.status == 200, reply
    player = Player(await connect(reply.json["endpoint"], max_queue=None, ping_interval=None))
    stack.push_async_callback(player.leave)
    assert await player.requested() == OK
    return player


def ready(*members: Member) -> bool:
    return all(member.is_ready() for member in members)


async def test_a_worker_that_is_cut_off_stops_and_an_outage_for_all_stops_nobody(
    cluster: Cluster, fresh: PostgresDatabases, postgres: Postgres, stack: AsyncExitStack
) -> None:
    pair = cluster.pair(fresh.create(), SESSIONS_GRACE_SECONDS=str(GRACE_SECONDS))
    broker = Broker(pair.two.server)
    web = [Http(member.server.url) for member in pair]
    for http in web:
        stack.push_async_callback(http.close)
    there, here = Customer(broker, web[0]), Customer(broker, web[1])
    there.id, there.token = here.id, here.token
    here.limit("offer", 2)
    doomed, kept = await play(stack, there), await play(stack, here)

    pair.one.postgres.down()
    while (await here.create()).status == 409:
        assert here.most_at_once() == 2
        await asyncio.sleep(0.5)
    assert doomed.received.get_nowait() == TERMINATE, "it was stopped before its slot was given away"
    assert await doomed.receives() == ("closed", 4103)
    assert await kept.requested() == OK
    assert here.events("expired") == ["expired"]
    pair.heal()
    await seconds_until(lambda: ready(pair.one))

    [[left]] = [[row for row in await here.listed() if row["sessionId"]][-1:]]
    await web[1].request("DELETE", f"/sessions/{left['sessionId']}", token=here.token)
    back = await play(stack, there)
    await asyncio.to_thread(postgres.kill)
    await asyncio.sleep(LIFE_SECONDS + 5)
    await asyncio.to_thread(postgres.serve)
    await seconds_until(lambda: ready(*pair), 60)
    statuses = {(await customer.create()).status for customer in (here, there) for _ in range(5)}
    assert statuses == {409}
    assert [await player.requested() for player in (kept, back)] == [OK, OK]
    assert here.events("expired") == ["expired"]
    assert here.most_at_once() == 2
