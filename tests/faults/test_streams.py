"""Two servers on one Redis under faults: recovered means complete, and nobody misses a message in silence."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import pytest
import redis.asyncio as redis_client

from faults.checkers import streams
from faults.history import History
from faults.workloads.streams import Size, Streams
from faults.world import World
from routing_app.core.codes import Loss
from tests.faults.cluster import Pair
from tests.services.postgres import Postgres
from tests.services.redis import Redis

pytestmark = pytest.mark.once
logger = logging.getLogger("measured")

Fault = Callable[[Pair, Redis], Awaitable[None]]
SIZE = Size(addresses=20, readers=16, publishers=40, cut_seconds=0.2)


async def kill_a_worker(pair: Pair, redis: Redis) -> None:
    member = pair.two
    await asyncio.to_thread(member.server.kill)
    await asyncio.sleep(1)
    await asyncio.to_thread(member.server.start)


async def kill_pubsub(pair: Pair, redis: Redis) -> None:
    async with redis_client.from_url(redis.url) as client:
        await client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")


async def kill_calls(pair: Pair, redis: Redis) -> None:
    async with redis_client.from_url(redis.url) as client:
        await client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


async def restart_with_data(pair: Pair, redis: Redis) -> None:
    """From a snapshot of a moment before: the last messages are gone."""
    async with redis_client.from_url(redis.url) as client:
        await client.save()
    await asyncio.sleep(0.3)
    await asyncio.to_thread(redis.kill)
    await asyncio.to_thread(redis.start)


async def restart_without_data(pair: Pair, redis: Redis) -> None:
    async with redis_client.from_url(redis.url) as client:
        await client.flushall()
        await client.save()
    await asyncio.to_thread(redis.kill)
    await asyncio.to_thread(redis.start)


def losses(pair: Pair) -> float:
    """How often the servers have counted that something may be missing."""
    names = [f'switchboard_lost_total{{reason="{reason}"}}' for reason in (Loss.LAYER_GAP, Loss.WORKER_DIED)]
    return pair.one.metric(*names) + pair.two.metric(*names)


HARMLESS = [kill_pubsub, kill_a_worker, kill_calls, kill_pubsub]
LOSING = [restart_with_data, kill_pubsub, restart_without_data]


async def play(
    pair: Pair, redis: Redis, postgres: Postgres, seed: int, faults: Sequence[Fault]
) -> Counter[str]:
    """Publish while the faults happen, wait until every reader is at the end of its streams, and check what
    they saw; how often each thing happened.
    """
    world = World(History(), random.Random(seed), list(pair), redis, postgres)
    workload = Streams(world, SIZE)
    await workload.begin()
    playing = asyncio.ensure_future(workload.play())
    try:
        for fault in faults:
            await asyncio.sleep(1)
            await fault(pair, redis)
        world.stop.set()
        await playing
        await workload.settle()
    finally:
        world.stop.set()
        world.over.set()
        await asyncio.gather(playing, return_exceptions=True)
        await workload.leave()
    assert list(map(str, streams.check(world.history))) == []
    counts = Counter(one.what for one in world.history)
    logger.info("%s", ", ".join(f"{count} {what}" for what, count in sorted(counts.items())))
    return counts


async def test_recovered_means_complete_while_nothing_is_lost_in_the_store(
    pair: Pair, redis: Redis, postgres: Postgres
):
    """A killed worker and broken connections: every reader gets every message, and is told of nothing."""
    counts = await play(pair, redis, postgres, 1, HARMLESS)
    assert counts["stream.recovered"] > SIZE.readers
    assert counts["stream.told"] == 0
    # When all that has lasted longer than a lease, the death has shown: newcomers may be told of it. So may
    # they where another worker was too busy to answer.
    assert counts["stream.gap"] == 0 or await asyncio.to_thread(losses, pair) > 0


async def test_what_redis_has_lost_is_told(pair: Pair, redis: Redis, postgres: Postgres):
    counts = await play(pair, redis, postgres, 2, LOSING)
    assert counts["stream.told"] + counts["stream.gap"] > 0
