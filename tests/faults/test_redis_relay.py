"""Redis is restarted, and its pub/sub clients killed, while two processes publish through it.

The promise: every subscriber has the full sequence of each publisher, in order and once, or is told that
something is missing. Never silence.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis_client

from routing_app.core.cluster.redis_layer import RedisLayer as RedisChannelLayer
from routing_app.core.cluster.relay import Relay
from routing_app.core.delivery.connection import Connection, Limits
from routing_app.core.delivery.hub import Hub
from routing_app.core.delivery.outbox import Flusher
from routing_app.core.delivery.publication import Publication
from tests.services.redis import Redis
from tests.services.waiting import until, until_equal

pytestmark = pytest.mark.once

MESSAGES = 1000


class Text:
    """Encodes a message as it is."""

    per_address = False

    def __call__(self, publication: Publication, address: str) -> str:
        return str(publication.message)


class Recorder:
    """A writer that keeps what it is given."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def write(self, frames: list[Any]) -> None:
        self.texts += [frame.text for frame in frames]

    def held_bytes(self) -> int:
        return 0

    def held_frames(self) -> int:
        return 0

    def close(self, close: Any) -> None:
        """Nothing to close."""

    def abort(self, close: Any) -> None:
        """Nothing to abort."""


class Process:
    """The core of one server process, with one subscriber."""

    def __init__(self, number: int, url: str) -> None:
        self.id = f"{number:016x}"
        self.layer = RedisChannelLayer(hosts=[url])
        self.relay = Relay(self.layer, self.id)
        self.hub = Hub(self.relay)
        self.recorder = Recorder()
        flusher = Flusher(asyncio.get_running_loop())
        self.subscriber = Connection(
            f"{self.id}01", "tokens", self.recorder, flusher, Text(), limits=Limits()
        )
        self.told = 0
        self.subscriber.on_gap = self._tell

    def _tell(self) -> None:
        self.told += 1

    async def open(self) -> None:
        self.hub.add(self.subscriber)
        await self.relay.want([f"worker:{self.id}"])
        await self.hub.subscribe(self.subscriber, "token:abc")

    async def publish(self, first: int, last: int) -> None:
        for number in range(first, last):
            await self.hub.publish(Publication(("token:abc",), f"{self.id} {number}"))
            await asyncio.sleep(0.004)

    def items_from(self, other: Process) -> list[int]:
        return [int(text.split()[1]) for text in self.recorder.texts if text.startswith(other.id)]


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[Redis]:
    with Redis(tmp_path) as server:
        yield server


@pytest.fixture
async def processes(redis_server: Redis) -> AsyncIterator[list[Process]]:
    both = [Process(1, redis_server.url), Process(2, redis_server.url)]
    for process in both:
        await process.open()
    yield both
    for process in both:
        await process.relay.stop()
        await process.layer.flush()


async def kill_pubsub_clients(url: str) -> int:
    async with redis_client.from_url(url) as client:
        return int(await client.execute_command("CLIENT", "KILL", "TYPE", "pubsub"))


async def subscribing(url: str) -> int:
    """The number of connections that are subscribed."""
    async with redis_client.from_url(url) as client:
        return len(await client.client_list("pubsub"))


def whole(processes: list[Process]) -> bool:
    return all(len(one.items_from(two)) >= MESSAGES for one in processes for two in processes)


async def publish_everywhere(processes: list[Process]) -> None:
    await asyncio.gather(*(process.publish(0, MESSAGES) for process in processes))


async def test_nothing_is_lost_when_the_subscribing_connections_are_killed(
    processes: list[Process], redis_server: Redis
) -> None:
    publishing = asyncio.create_task(publish_everywhere(processes))
    for _ in range(3):
        await asyncio.sleep(1.2)
        await until_equal(2, partial(subscribing, redis_server.url))
        assert await kill_pubsub_clients(redis_server.url) >= 2
    await publishing
    await until(lambda: whole(processes))
    for one in processes:
        for two in processes:
            assert one.items_from(two) == list(range(MESSAGES))
        assert one.told == 0


async def test_nothing_is_lost_when_redis_restarts(processes: list[Process], redis_server: Redis) -> None:
    publishing = asyncio.create_task(publish_everywhere(processes))
    await asyncio.sleep(1)
    await asyncio.to_thread(redis_server.kill)
    await asyncio.sleep(1)
    await asyncio.to_thread(redis_server.start)
    await publishing
    await until(lambda: whole(processes))
    for one in processes:
        for two in processes:
            assert one.items_from(two) == list(range(MESSAGES))
        assert one.told == 0
    await until(lambda: all(process.relay.healthy for process in processes))


async def test_a_process_that_died_during_the_break_leaves_a_gap_that_is_told(
    processes: list[Process], redis_server: Redis
) -> None:
    one, two = processes
    await two.publish(0, 20)
    await until(lambda: len(one.items_from(two)) == 20)
    for task in [*two.relay._receivers, two.relay._sender]:
        assert task is not None
        task.cancel()
    await kill_pubsub_clients(redis_server.url)
    await until(lambda: one.told == 1)
    assert one.items_from(two) == list(range(20))


async def test_a_layer_that_falls_silent_is_noticed_and_made_to_reconnect(
    processes: list[Process], redis_server: Redis
) -> None:
    one, two = processes
    [shard] = one.layer._get_layer()._shards

    async def deaf(**options: Any) -> None:
        await asyncio.sleep(0.1)

    get_message = shard._pubsub.get_message
    shard._pubsub.get_message = deaf
    await until(lambda: not one.relay.healthy)
    await two.publish(0, 20)
    shard._pubsub.get_message = get_message
    await until(lambda: len(one.items_from(two)) == 20)
    await until(lambda: one.relay.healthy)
    assert one.items_from(two) == list(range(20))
