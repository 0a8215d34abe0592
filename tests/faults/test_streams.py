"""Two servers on one Redis under faults: recovered means complete, and nobody misses a message in silence."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Iterator, Mapping
from urllib.parse import urlencode

import pytest
import redis.asyncio as redis_client

from routing_app.core.delivery.publication import Position
from tests.faults.cluster import Cluster, Member, Pair, seconds_until
from tests.faults.streams import (
    Delivered,
    Entry,
    Gap,
    Publisher,
    Recovered,
    Started,
    Subscriber,
    Told,
    contradictions,
    faults_of,
    repeated,
)
from tests.services.databases import PostgresDatabases
from tests.services.redis import Redis
from tests.services.waiting import until_equal

pytestmark = pytest.mark.once
logger = logging.getLogger("measured")

ADDRESSES = 20
PUBLISHERS = 50
MESSAGES = 40
"""Of each publisher."""
PAUSE_SECONDS = 0.2
SUBSCRIBERS = 16


@pytest.fixture
def kept_pair(cluster: Cluster, fresh: PostgresDatabases, redis: Redis) -> Iterator[Pair]:
    """Two servers whose every address has history."""
    yield cluster.pair(fresh.create(), HISTORY_SIZE="10000", HISTORY_SECONDS="3600")
    if redis.process.exit_code is not None:
        redis.start()


def socket_url(member: Member) -> str:
    query = urlencode({"key": member.server.api_key})
    return f"{member.server.ws_url}/connection?{query}"


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


HARMLESS = [kill_pubsub, kill_a_worker, kill_calls, kill_pubsub]
LOSING = [restart_with_data, kill_pubsub, restart_without_data]


class Scene:
    """Publishers and subscribers that go to either server, and are cut at random."""

    def __init__(self, pair: Pair, seed: int) -> None:
        self.chance = random.Random(seed)
        self.pair = pair
        self.run = secrets.token_hex(3)
        self.addresses = [f"token:{self.run}-{number}" for number in range(ADDRESSES)]
        self.subscribers = [
            Subscriber(self.chance.sample(self.addresses, self.chance.randint(1, 6)), self._somewhere)
            for _ in range(SUBSCRIBERS)
        ]
        self.publishers = [
            Publisher(f"{self.run}p{number}", self._somewhere, self.chance) for number in range(PUBLISHERS)
        ]

    def _somewhere(self) -> str:
        return socket_url(self.chance.choice(list(self.pair)))

    async def play(self, faults: list[object], redis: Redis) -> None:
        """Publish while the faults happen, then wait until every subscriber is at the end of its streams."""
        try:
            await self._play(faults, redis)
        finally:
            for publisher in self.publishers:
                await publisher.leave()
            for subscriber in self.subscribers:
                await subscriber.end()

    async def _play(self, faults: list[object], redis: Redis) -> None:
        await seconds_until(lambda: all(len(one.positions) == len(one.addresses) for one in self.subscribers))
        publishing = [
            asyncio.ensure_future(one.publish(self.addresses, MESSAGES, PAUSE_SECONDS))
            for one in self.publishers
        ]
        cutting = asyncio.ensure_future(self._cut())
        try:
            for fault in faults:
                await asyncio.sleep(1)
                await fault(self.pair, redis)  # type: ignore[operator]
            await asyncio.gather(*publishing)
        finally:
            for task in (cutting, *publishing):
                task.cancel()
        # Behind it comes nothing: who has it, or was told that it is missing, is at the end.
        last = self.publishers[0]
        for address in self.addresses:
            await last.publish_one(f"last of {address}", [address])
        ends = {one: last.accepted[f"last of {one}"][one] for one in self.addresses}
        await until_equal([], lambda: self._missing(ends), 60)

    def check(self) -> None:
        """Raise AssertionError with all that is wrong."""
        logs = [one.log for one in self.subscribers]
        wrong = contradictions(logs)
        for one in self.subscribers:
            for address in one.addresses:
                wrong += faults_of(one.log, address, one.positions[address]) + repeated(one.log, address)
        assert wrong == []

    def count(self, kind: type[Entry]) -> int:
        return sum(isinstance(entry, kind) for one in self.subscribers for entry in one.log)

    async def _missing(self, ends: Mapping[str, Position]) -> list[str]:
        """Where subscribers are not at the end of a stream."""
        return [
            f"subscriber {number} is at {one.positions[address]} of {address}, whose end is {ends[address]}"
            for number, one in enumerate(self.subscribers)
            for address in one.addresses
            if one.positions[address] != ends[address]
        ]

    async def _cut(self) -> None:
        while True:
            await asyncio.sleep(0.2)
            await self.chance.choice(self.subscribers).cut()


@pytest.mark.timeout(180)
async def test_recovered_means_complete_while_nothing_is_lost_in_the_store(kept_pair: Pair, redis: Redis):
    """A killed worker and broken connections: every subscriber gets every message, and is told of nothing."""
    scene = Scene(kept_pair, 1)
    await scene.play([*HARMLESS], redis)
    scene.check()
    assert scene.count(Recovered) > SUBSCRIBERS
    assert (scene.count(Told), scene.count(Gap)) == (0, 0)
    logger.info("%d recoveries, %d deliveries", scene.count(Recovered), scene.count(Delivered))


@pytest.mark.timeout(180)
async def test_what_redis_has_lost_is_told(kept_pair: Pair, redis: Redis):
    scene = Scene(kept_pair, 2)
    await scene.play([*LOSING], redis)
    scene.check()
    assert scene.count(Told) + scene.count(Gap) > 0
    logger.info(
        "%d recoveries, %d told, %d gaps", scene.count(Recovered), scene.count(Told), scene.count(Gap)
    )


# --- the checks find what is wrong ------------------------------------------------------------------------

A = "token:a"


def delivered(*offsets: int, epoch: str = "e") -> list[Entry]:
    return [Delivered(f"{epoch}{offset}", {A: Position(epoch, offset)}) for offset in offsets]


START = Started(A, Position("e", 0))
RIGHT: dict[str, list[Entry]] = {
    "all in order": [START, *delivered(1, 2, 3)],
    "recovered": [START, *delivered(1), Recovered(A), *delivered(2, 3)],
    "told of a gap before": [START, *delivered(1), Gap(), *delivered(3)],
    "of an epoch that is over, told once": [
        START,
        *delivered(1),
        Gap(),
        *delivered(3, 5),
        *delivered(3, epoch="f"),
    ],
    "told at the subscription": [START, *delivered(1), Told(A, Position("e", 2)), *delivered(3)],
    "another epoch, told": [START, *delivered(1), Gap(), *delivered(3, epoch="f")],
}
RIGHT["of an epoch that is over, told once, and told again"] = [
    START,
    *delivered(1),
    Gap(),
    *delivered(3, 5),
    Told(A, Position("f", 2)),
    *delivered(3, epoch="f"),
]
WRONG: dict[str, list[Entry]] = {
    "left out": [START, *delivered(1, 3)],
    "left out at the beginning": [START, *delivered(2, 3)],
    "left out at the end": [START, *delivered(1, 2)],
    "twice": [START, *delivered(1, 2, 2, 3)],
    "out of order": [START, *delivered(2, 1, 3), Gap()],
    "left out after a recovery": [START, *delivered(1), Recovered(A), *delivered(3)],
    "another epoch, not told": [START, *delivered(1), *delivered(3, epoch="f")],
    "told of a gap behind": [START, *delivered(1, 3), Gap()],
    "told before what was whole": [START, Gap(), *delivered(1, 3)],
    "told before a recovery": [START, *delivered(1), Gap(), Recovered(A), *delivered(3)],
}


@pytest.mark.parametrize("log", RIGHT.values(), ids=RIGHT)
def test_a_log_that_is_right_has_no_faults(log: list[Entry]):
    epoch = "f" if any(isinstance(one, Delivered) and one.message == "f3" for one in log) else "e"
    assert faults_of(log, A, Position(epoch, 3)) == []


@pytest.mark.parametrize("log", WRONG.values(), ids=WRONG)
def test_a_log_that_is_wrong_has_faults(log: list[Entry]):
    epoch = "f" if any(isinstance(one, Delivered) and one.message == "f3" for one in log) else "e"
    assert faults_of(log, A, Position(epoch, 3)) != []


def test_a_message_that_comes_again_at_another_place_is_found():
    twice: list[Entry] = [Delivered("x", {A: Position("e", 1)}), Delivered("x", {A: Position("e", 2)})]
    assert repeated(twice, A) == ["x comes 2 times"]


def test_two_messages_at_one_place_are_found():
    one: list[Entry] = [Delivered("x", {A: Position("e", 1)})]
    other: list[Entry] = [Delivered("y", {A: Position("e", 1)})]
    assert len(contradictions([one, other])) == 1
