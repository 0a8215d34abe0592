"""Redis restarts, loses its clients or falls silent under two real servers: nothing is lost in silence."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest
import redis.asyncio as redis_client
from websockets.exceptions import InvalidStatus

from tests.faults.cluster import (
    GAP,
    Member,
    Pair,
    Subscriber,
    publish_by_request,
    publisher,
    seconds_until,
    subscribe,
    subscribed,
)
from tests.faults.proxy import Way
from tests.services.redis import Redis
from tests.services.waiting import until

pytestmark = pytest.mark.once
logger = logging.getLogger("measured")

MESSAGES = 1000
FEWER = 600
RATE = 100
SUBSCRIBERS = 6


async def kill_pubsub_clients(redis: Redis) -> None:
    """Once both servers subscribe, which they do again after each time."""
    async with redis_client.from_url(redis.url) as client:

        async def both_subscribe() -> bool:
            return len(await client.client_list("pubsub")) >= 2

        await until(both_subscribe)
        assert await client.execute_command("CLIENT", "KILL", "TYPE", "pubsub") >= 2


async def trouble(redis: Redis) -> None:
    """The faults of Redis during the ten seconds of publishing."""
    for _ in range(2):
        await asyncio.sleep(1)
        await kill_pubsub_clients(redis)
    await asyncio.sleep(1)
    await asyncio.to_thread(redis.kill)
    await asyncio.sleep(1)
    await asyncio.to_thread(redis.start)
    await asyncio.sleep(2.5)
    await asyncio.to_thread(redis.stop)
    await asyncio.to_thread(redis.start)
    await asyncio.sleep(2)
    await kill_pubsub_clients(redis)


def has_all(subscriber: Subscriber, count: int) -> bool:
    """True when it has everything, or was told that it has not."""
    whole = all(len(subscriber.numbers(name)) >= count for name in ("one", "two"))
    return whole or subscriber.closed is not None


def check(subscriber: Subscriber, count: int) -> None:
    """The full sequence once and in order; one that was told has no repeats and no disorder either."""
    assert subscriber.closed in (None, GAP)
    for name in ("one", "two"):
        numbers = subscriber.numbers(name)
        if subscriber.closed is None:
            assert numbers == list(range(count))
        assert numbers == sorted(set(numbers))


@pytest.fixture
def token() -> str:
    return secrets.token_hex(4)


async def test_every_subscriber_has_the_full_sequence_or_was_told(
    pair: Pair, redis: Redis, token: str
) -> None:
    """Publish on both servers while Redis has its troubles, and check what every subscriber has."""
    async with (
        subscribed(pair.one.clients.port, token, SUBSCRIBERS) as near,
        subscribed(pair.two.clients.port, token, SUBSCRIBERS) as far,
        publisher(pair.one) as one,
        publisher(pair.two) as two,
    ):
        publishing = [
            asyncio.ensure_future(publish_by_request(sender, name, token, range(MESSAGES), RATE))
            for name, sender in (("one", one), ("two", two))
        ]
        await trouble(redis)
        await asyncio.gather(*publishing)
        await seconds_until(lambda: all(has_all(subscriber, MESSAGES) for subscriber in near + far))
        await asyncio.sleep(0.5)  # nothing may come twice, either
        told = sum(subscriber.closed is not None for subscriber in near + far)
        logger.info("told: %d of %d", told, 2 * SUBSCRIBERS)
        for subscriber in near + far:
            check(subscriber, MESSAGES)


async def test_a_socket_opened_after_redis_is_back_is_reached(pair: Pair, redis: Redis, token: str) -> None:
    await asyncio.to_thread(redis.kill)
    await asyncio.sleep(3.5)  # longer than an envelope is tried again
    await asyncio.to_thread(redis.start)

    seconds = await reached(pair.one, pair.two, token)

    logger.info("reached after Redis was back: %.2f s", seconds)


async def test_a_client_of_an_outage_receives_nothing_from_before_and_all_from_after(
    pair: Pair, redis: Redis, token: str
) -> None:
    """A worker that stands still for seconds tells its clients of a gap: then the scene is played again."""
    for attempt in range(4):
        with suppress(ClientTold):
            await play_outage(pair, redis, f"{token}-{attempt}")
            return
    raise AssertionError("a client that the scene needs was told of a gap each time")


class ClientTold(Exception):
    """A client that the scene needs was closed with 4200."""


async def play_outage(pair: Pair, redis: Redis, token: str) -> None:
    """Publish before, during and after an outage, in which a client comes."""
    await seconds_until(pair.is_ready)
    async with (
        subscribed(pair.one.clients.port, token) as [old],
        publisher(pair.two) as sender,
        AsyncExitStack() as stack,
    ):
        await publish_by_request(sender, "two", token, range(5))
        await seconds_until(lambda: has_all_of(old, 4))
        async with outage(redis):
            await publish_by_request(sender, "two", token, range(5, 105))
            await seconds_until(lambda: not pair.two.is_ready())
            # The server has taken all of these: what it takes later, the young one receives.
            [young] = await stack.enter_async_context(subscribed(pair.one.clients.port, token))
            await publish_by_request(sender, "two", token, range(105, 205))
        await seconds_until(lambda: all(has_all_of(one, 204) for one in (old, young)))
        if GAP in (old.closed, young.closed):
            raise ClientTold
        assert (old.numbers("two"), old.closed) == (list(range(205)), None)
        assert (young.numbers("two"), young.closed) == (list(range(105, 205)), None)


@asynccontextmanager
async def outage(redis: Redis) -> AsyncIterator[None]:
    """Redis is gone, and comes back."""
    await asyncio.to_thread(redis.kill)
    try:
        yield
    finally:
        await asyncio.to_thread(redis.start)


def has_all_of(subscriber: Subscriber, last: int) -> bool:
    """True when it has the last message, or was told that it has not."""
    return subscriber.closed is not None or subscriber.numbers("two")[-1:] == [last]


async def reached(publisher: Member, receiver: Member, token: str) -> float:
    """Seconds until a new client of one server receives a message of a new client of the other."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    subscriber, sender = [await persistently(member, token) for member in (receiver, publisher)]

    async def has_received() -> bool:
        await sender.socket.send(f"{token}|hello")
        return bool(subscriber.received)

    await until(has_received)
    seconds = loop.time() - began
    await subscriber.leave()
    await sender.leave()
    return seconds


async def persistently(member: Member, token: str) -> Subscriber:
    """Open a client as soon as the server lets one in."""

    async def let_in() -> Subscriber | None:
        try:
            return await subscribe(member.clients.port, token)
        except InvalidStatus:
            return None

    subscriber: Subscriber = await until(let_in)
    return subscriber


async def test_a_half_open_redis_is_noticed_and_recovered_from(pair: Pair, token: str) -> None:
    """One server's Redis falls silent altogether, the other's answers are lost: no close, no error."""
    async with (
        subscribed(pair.one.clients.port, token, SUBSCRIBERS) as near,
        subscribed(pair.two.clients.port, token, SUBSCRIBERS) as far,
        publisher(pair.one) as one,
        publisher(pair.two) as two,
    ):
        publishing = [
            asyncio.ensure_future(publish_by_request(sender, name, token, range(FEWER), RATE))
            for name, sender in (("one", one), ("two", two))
        ]
        errors = [member.metric("switchboard_layer_errors_total") for member in pair]
        await asyncio.sleep(0.5)
        pair.one.redis.swallow()
        pair.two.redis.swallow(frozenset({Way.DOWN}))
        noticed = await seconds_until(
            lambda: all(
                member.metric("switchboard_layer_errors_total") > before
                for member, before in zip(pair, errors, strict=True)
            )
        )
        pair.heal()
        await asyncio.gather(*publishing)
        recovered = await seconds_until(lambda: all(has_all(subscriber, FEWER) for subscriber in near + far))
        logger.info("noticed after: %.2f s", noticed)
        logger.info("recovered after the last publish: %.2f s", recovered)
        for subscriber in near + far:
            check(subscriber, FEWER)
    await seconds_until(pair.is_ready)
    await reached(pair.one, pair.two, f"{token}-later")
