"""Several Redis servers: one is killed and started again under two processes, and under a real server."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from routing_app.core.address import group_name
from routing_app.core.cluster.redis_layer import RedisLayer
from routing_app.core.cluster.spread import Spread, server_of
from tests.core.harness import Node, received, until_received
from tests.faults.cluster import Member, listing_count, publish, subscribed
from tests.faults.proxy import Proxy
from tests.services.databases import PostgresDatabases
from tests.services.ports import LOOPBACK
from tests.services.redis import Redis
from tests.services.server import Server
from tests.services.waiting import until, until_equal
from tests.tokens.client import call

pytestmark = pytest.mark.once

SERVERS = 3
MESSAGES = 400


@pytest.fixture
def several(tmp_path: Path) -> Iterator[list[Redis]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Redis(tmp_path)) for _ in range(SERVERS)]


class Process(Node):
    """One process on several Redis servers."""

    spread: Spread

    def _relay(self, clock: object) -> Spread:
        self.spread = Spread(self.layer.servers, self.id)
        return self.spread


@pytest.fixture
async def processes(several: list[Redis]) -> AsyncIterator[list[Process]]:
    prefix = secrets.token_hex(4)
    both = [Process(RedisLayer([one.url for one in several], prefix=prefix)) for _ in range(2)]
    for process in both:
        await process.spread.want([f"worker:{process.id}"])
    yield both
    for process in both:
        await process.spread.stop()
        for layer in process.layer.servers:
            await layer.flush()


def token_on(server: int, servers: int = SERVERS, kind: str = "token:") -> str:
    """A name whose address is on one of the servers."""
    names = (f"t{number}" for number in range(1000))
    return next(name for name in names if server_of(group_name(kind + name), servers) == server)


async def test_a_redis_that_restarts_holds_up_its_own_addresses_and_loses_nothing(
    processes: list[Process], several: list[Redis]
) -> None:
    here, there = processes
    addresses = [f"token:{token_on(server)}" for server in range(SERVERS)]
    subscribers = [await there.subscriber(address) for address in addresses]
    gaps: list[int] = []
    for subscriber in subscribers:
        subscriber.on_gap = lambda: gaps.append(1)

    await asyncio.to_thread(several[1].kill)
    for number in range(MESSAGES):
        for address in addresses:
            await here.publish(number, address)
    for server in (0, 2):
        assert await until_received(subscribers[server], MESSAGES) == list(range(MESSAGES))
    assert received(subscribers[1]) == []

    await asyncio.to_thread(several[1].start)
    assert await until_received(subscribers[1], MESSAGES) == list(range(MESSAGES))
    await until(lambda: all(process.spread.healthy for process in processes))
    assert gaps == []


async def test_lost_messages_of_one_redis_are_told_to_its_subscribers_alone(
    processes: list[Process], several: list[Redis]
) -> None:
    """The sender dies in the outage of one server, so nobody can send again what it published there."""
    here, there = processes
    mine = server_of(group_name(f"worker:{there.id}"), SERVERS)
    lost = (mine + 1) % SERVERS
    subscribers = [await there.subscriber(f"token:{token_on(server)}") for server in range(SERVERS)]
    told: list[int] = []
    for server, subscriber in enumerate(subscribers):
        subscriber.on_gap = lambda server=server: told.append(server)
    await here.publish("before", f"token:{token_on(lost)}")
    assert await until_received(subscribers[lost]) == ["before"]

    await asyncio.to_thread(several[lost].kill)
    await here.publish("lost", f"token:{token_on(lost)}")
    dying = here.spread.relays[lost]
    for task in [*dying._receivers, dying._sender]:
        assert task is not None
        task.cancel()
    await asyncio.to_thread(several[lost].start)

    await until(lambda: told)
    assert told == [lost]


@pytest.fixture
def member(several: list[Redis], fresh: PostgresDatabases, tmp_path: Path) -> Iterator[Member]:
    """A `serve` process on the servers, of which it sees the first as down when it starts."""
    several[0].stop()
    options = {
        "METRICS_OPEN": "yes",
        "REDIS_URL": ",".join(one.url for one in several),
        "DATABASE_URL": fresh.create(),
    }
    with ExitStack() as stack:
        server = Server(tmp_path, options)
        stack.callback(server.close)
        server.launch()
        proxy = stack.enter_context(Proxy(server.port))
        server.process.wait_until(server.serves)
        yield Member(server, proxy, proxy, proxy)


async def test_a_server_starts_and_serves_while_a_redis_is_out_and_says_which(
    member: Member, several: list[Redis]
) -> None:
    name = f"redis 1 redis://{LOOPBACK}:{several[0].port}/0"

    async def said() -> tuple[int, str, str, list[str], str]:
        reply = await asyncio.to_thread(member.call, "GET", "/health/ready")
        found = reply.json()
        others = [value for key, value in found.items() if key.startswith("redis ") and key != name]
        return reply.status, found["status"], found["database"], others, found[name]

    await until_equal((200, "ready", "ok", ["ok", "ok"], "ConnectionError"), said)

    token = token_on(1)
    async with (
        subscribed(member.clients.port, token) as [subscriber],
        subscribed(member.clients.port, token_on(2)) as [sender],
    ):
        await publish(sender, "one", token, range(5))
        await until(lambda: len(subscriber.numbers("one")) == 5)
        await until_equal(2, partial(asyncio.to_thread, listing_count, member.server))

        await asyncio.to_thread(several[0].start)
        await until(lambda: asyncio.to_thread(is_whole, member.server))
    async with (
        subscribed(member.clients.port, token_on(0)) as [late],
        subscribed(member.clients.port, token) as [sender],
    ):
        await publish(sender, "one", token_on(0), range(5))
        await until(lambda: len(late.numbers("one")) == 5)

    for redis in several:
        await asyncio.to_thread(redis.stop)
    await until(lambda: asyncio.to_thread(lambda: not member.is_ready()))


def is_whole(server: Server) -> bool:
    """True when each Redis answers."""
    found = call(server, "GET", "/health/ready").json()
    return all(value == "ok" for key, value in found.items() if key.startswith("redis "))
