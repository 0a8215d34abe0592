"""Two real server processes on one Redis and one database."""

from __future__ import annotations

import asyncio
import json
import secrets
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import psycopg
import pytest
import redis
from django.conf import settings
from websockets.asyncio.client import ClientConnection, connect

from routing_app.core.address import WORKER_ID_LENGTH, group_name
from routing_app.core.models import LEASE_SECONDS
from tests.services.databases import Databases
from tests.services.server import Server
from tests.services.waiting import until, until_equal

Enter = Callable[..., Awaitable[ClientConnection]]
Pair = tuple[Server, Server]


@pytest.fixture(scope="module")
def pair(redis_url: str, databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    url = databases.create()
    options = {"DATABASE_URL": url, "REDIS_URL": redis_url}
    # Plain Daphne: one process each, so that a kill is a kill of the worker.
    servers = [Server(tmp_path_factory.mktemp("pair"), options, "daphne") for _ in range(2)]
    try:
        for server in servers:
            server.start()
        servers[0].manage(
            "shell", "-c", f"from routing_app.core.access import keys; keys.issue('t', plain='{KEY}')"
        )
        yield servers[0], servers[1]
    finally:
        for server in servers:
            server.close()
        databases.drop(url)


KEY = secrets.token_hex(16)


@pytest.fixture
async def enter():
    """Opens token clients: `await enter(server, token)`; all leave with the test."""
    sockets: list[ClientConnection] = []

    async def enter(server: Server, token: str) -> ClientConnection:
        url = f"{server.ws_url}/ws?RegisterToken={token}"
        socket = await connect(url, proxy=None, ping_interval=None, max_queue=None, open_timeout=60)
        sockets.append(socket)
        return socket

    yield enter
    for socket in sockets:
        socket.transport.abort()


def listing(server: Server, address: str = "") -> list[dict[str, Any]]:
    """Connected clients as the server tells them."""
    request = urllib.request.Request(
        f"{server.url}/api/clients/?page_size=1000&address={address}", headers={"X-API-Key": KEY}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        results: list[dict[str, Any]] = json.load(response)["results"]
    return results


async def until_listed(server: Server, address: str, count: int) -> None:
    async def rows() -> int:
        return len(await asyncio.to_thread(listing, server, address))

    await until_equal(count, rows)


async def receive(socket: ClientConnection, count: int) -> list[str]:
    return [str(await asyncio.wait_for(socket.recv(), 60)) for _ in range(count)]


async def test_every_message_once_and_in_order_across_processes(pair: Pair, enter: Enter):
    """Each message names a token and a prefix, and every second subscriber matches both."""
    group = secrets.token_hex(4)
    tokens = [f"{group}/a", f"{group}/b"] * 3
    subscribers = [await enter(pair[number % 2], token) for number, token in enumerate(tokens)]
    publishers = [await enter(pair[number % 2], f"publisher{number}") for number in range(3)]

    async def publish(name: int) -> None:
        for number in range(200):
            await publishers[name].send(f"{group}/a,{group}/|{name} {number}")

    await asyncio.gather(*[publish(name) for name in range(3)])
    for subscriber in subscribers:
        messages = [text.split() for text in await receive(subscriber, 600)]
        for name in range(3):
            assert [int(number) for who, number in messages if int(who) == name] == list(range(200))
    await publishers[0].send(f"{group}/|end")
    for subscriber in subscribers:
        assert await receive(subscriber, 1) == ["end"]  # nothing came twice


async def test_a_connected_client_misses_nothing_that_another_process_publishes(pair: Pair, enter: Enter):
    publisher = await enter(pair[0], "publisher")
    run = secrets.token_hex(4)

    async def rounds(lane: int) -> None:
        for number in range(20):
            token = f"{run}-{lane}-{number}"
            subscriber = await enter(pair[1], token)
            await publisher.send(f"{token}|hello")
            assert await receive(subscriber, 1) == ["hello"]

    await asyncio.gather(*[rounds(lane) for lane in range(5)])


async def test_300_clients_that_vanish_leave_neither_rows_nor_subscriptions(
    pair: Pair, enter: Enter, redis_url: str
):
    run = secrets.token_hex(4)
    crowd: list[ClientConnection] = []
    for first in range(0, 300, 30):  # a busy machine needs seconds for 300 handshakes at once
        numbers = range(first, first + 30)
        crowd += await asyncio.gather(*[enter(pair[1], f"{run}/{number}") for number in numbers])
    await until_listed(pair[0], f"token:{run}/", 300)
    group = group_name(f"token:{run}/7")
    with redis.Redis.from_url(redis_url) as client:
        assert len(client.pubsub_channels(f"*{group}")) == 1
        before = len(client.pubsub_channels())
        for socket in crowd:
            socket.transport.abort()
        await until_listed(pair[0], f"token:{run}/", 0)
        await until(lambda: len(client.pubsub_channels()) <= before - 300)
        await until(lambda: client.pubsub_channels(f"*{group}") == [])  # others may have ended before it


def lease_age(database_url: str, worker: str) -> float:
    """Seconds since a worker has renewed its lease, by the clock of PostgreSQL."""
    age = "SELECT extract(epoch FROM clock_timestamp() - renewed_at) FROM core_workerrecord WHERE id = %s"
    with psycopg.connect(database_url) as connection:
        row = connection.execute(age, [worker]).fetchone()
    assert row is not None
    return float(row[0])


@pytest.mark.skipif(not settings.REDIS_URL, reason="waits 15 s for real; once, with PostgreSQL and Redis")
async def test_a_killed_workers_clients_are_in_no_listing_after_its_lease(
    redis_url: str, databases: Databases, tmp_path_factory: pytest.TempPathFactory, enter: Enter, pair: Pair
):
    options = {"DATABASE_URL": pair[0].database_url, "REDIS_URL": redis_url}
    victim = Server(tmp_path_factory.mktemp("victim"), options, "daphne")
    victim.start()
    try:
        token = secrets.token_hex(4)
        await asyncio.gather(*[enter(victim, token) for _ in range(20)])
        kept = await enter(pair[0], token)
        await until_listed(pair[1], f"token:{token}", 21)
        workers = Counter(row["id"][:WORKER_ID_LENGTH] for row in listing(pair[1], f"token:{token}"))
        [(worker, _)] = workers.most_common(1)
        victim.kill()

        async def are_gone() -> bool:
            # A renewal that was under way may have come after the kill: the row says when the lease ends.
            age = await asyncio.to_thread(lease_age, pair[0].database_url, worker)
            rows = await asyncio.to_thread(listing, pair[1], f"token:{token}")
            listed = any(row["id"].startswith(worker) for row in rows)
            assert not listed or age < LEASE_SECONDS
            return not listed

        await until(are_gone, 60)
        await until_listed(pair[1], f"token:{token}", 1)
    finally:
        victim.close()
    await kept.send(f"{token}|still here")
    assert await receive(kept, 1) == ["still here"]
