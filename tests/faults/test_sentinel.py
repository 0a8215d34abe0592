"""The master that Sentinel watches is killed: its replica takes over, and nothing is lost in silence."""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client

from broker_project.serving import preflight
from routing_app.broker.cache import SpreadCache
from routing_app.core.cluster import receiver, relay
from routing_app.core.cluster.redis_layer import RedisLayer
from routing_app.core.cluster.redis_urls import sentinel_of
from routing_app.core.leases.witness import Blind, witness_of
from tests.core.harness import Node, received, replaced, until_received
from tests.services.ports import LOOPBACK
from tests.services.redis import find_redis
from tests.services.sentinel import SentinelSet
from tests.services.waiting import until

pytestmark = pytest.mark.once


@pytest.fixture
async def sentinels(tmp_path: Path) -> AsyncIterator[SentinelSet]:
    if find_redis() is None:
        pytest.skip("redis-server is not installed (make test installs it)")
    with SentinelSet(tmp_path) as sentinels:
        await until(lambda: asyncio.to_thread(sentinels.has_all))
        yield sentinels


@pytest.fixture
async def nodes(sentinels: SentinelSet) -> AsyncIterator[list[Node]]:
    prefix = secrets.token_hex(4)
    layers = [RedisLayer([sentinel_of(sentinels.url)], prefix=prefix) for _ in range(2)]
    nodes = [Node(layer) for layer in layers]
    for node in nodes:
        await node.relay.want([f"worker:{node.id}"])
    yield nodes
    for node in nodes:
        await node.relay.stop()
        await node.layer.flush()


async def publish_until(node: Node, stop: asyncio.Event) -> int:
    """Publish 0, 1, 2, … to one address until told to stop; how many."""
    for number in itertools.count():
        if stop.is_set():
            return number
        await node.publish(number, f"token:{node.id}")
        await asyncio.sleep(0.01)
    raise AssertionError


async def test_messages_flow_again_after_a_failover_and_none_is_lost(
    sentinels: SentinelSet, nodes: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine sentinels take longer than a message is tried again."""
    monkeypatch.setattr(relay, "RETRY_SECONDS", 120)
    monkeypatch.setattr(receiver, "RECOVERY_SECONDS", 120)
    here, there = nodes
    far = await there.subscriber(f"token:{here.id}")
    near = await here.subscriber(f"token:{there.id}")
    gaps: list[int] = []
    for one in (far, near):
        one.on_gap = lambda: gaps.append(1)
    stop = asyncio.Event()
    publishing = [asyncio.create_task(publish_until(node, stop)) for node in nodes]
    await until_received(far, 10)
    await until_received(near, 10)

    await asyncio.to_thread(sentinels.master.kill)
    await until(lambda: asyncio.to_thread(lambda: sentinels.named_master() == sentinels.replica.port), 120)
    seen = len(received(far)), len(received(near))
    await until_received(far, seen[0] + 10)
    await until_received(near, seen[1] + 10)
    stop.set()
    for subscriber, count in zip((far, near), await asyncio.gather(*publishing), strict=True):
        assert await until_received(subscriber, count) == list(range(count))
    assert gaps == []
    await until(lambda: here.relay.healthy and there.relay.healthy)


@contextmanager
def two_masters(sentinels: SentinelSet) -> Iterator[None]:
    """The replica is a master, too, and the other one does not learn that it is demoted.

    No sentinel does anything meanwhile: one would make the second master a replica again.
    """
    pids = []
    for port in sentinels.ports:
        with redis_client.Redis(LOOPBACK, port) as client:
            pids.append(client.info("server")["process_id"])
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        with redis_client.Redis(LOOPBACK, sentinels.replica.port) as client:
            client.replicaof("NO", "ONE")
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


async def test_messages_that_only_an_abandoned_master_took_are_sent_again(
    sentinels: SentinelSet, nodes: list[Node]
) -> None:
    """The old master lives on, with one process connected to it alone: Redis takes what it publishes, and
    nobody receives it."""
    here, there = nodes
    far = await there.subscriber("token:a")
    await here.publish("before", "token:a")
    await until_received(far)

    async def replica() -> tuple[str, int]:
        return LOOPBACK, sentinels.replica.port

    with two_masters(sentinels):
        # All but the connections of `here` find the new master.
        [shard] = there.layer._get_layer()._shards
        shard._redis.connection_pool.get_master_address = replica
        await shard._redis.connection_pool.disconnect()
        await until(lambda: asyncio.to_thread(lambda: subscribed_at(sentinels.replica.port)))
        for number in range(20):
            await here.publish(number, "token:a")
        await here.relay.settled()
        assert received(far) == ["before"]

        [own] = here.layer._get_layer()._shards
        own._redis.connection_pool.get_master_address = replica
        await own._redis.connection_pool.disconnect()
        await here.publish("after", "token:a")
        assert await until_received(far, 22) == ["before", *range(20), "after"]


def subscribed_at(port: int) -> bool:
    """True when the Redis on a port has subscribers."""
    with redis_client.Redis(LOOPBACK, port) as client:
        return len(client.pubsub_channels("*")) > 0


@pytest.fixture
def sentinel_cache(sentinels: SentinelSet) -> Iterator[SpreadCache]:
    cache = SpreadCache([sentinels.url], {"KEY_PREFIX": "switchboard"})
    yield cache
    client: Any = cache._cache.get_client("one")
    for sentinel in client.connection_pool.sentinel_manager.sentinels:
        sentinel.close()
    client.close()


async def test_the_cache_the_check_at_start_and_leases_know_sentinels(
    sentinels: SentinelSet, sentinel_cache: SpreadCache, settings: object
) -> None:
    with replaced(settings, "REDIS_URL", sentinels.url):
        await asyncio.to_thread(preflight.check_redis)

    def count() -> int:
        sentinel_cache.add("one", 1, timeout=60)
        return int(sentinel_cache.incr("one"))

    assert await asyncio.to_thread(count) == 2
    witness = witness_of(sentinels.url)
    assert isinstance(witness, Blind)
    assert await witness.tell("m")
    assert await witness.look("m") is None
