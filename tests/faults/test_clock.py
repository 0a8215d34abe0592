"""The clock of a host steps by an hour, either way: leases and timeouts do not care."""

from __future__ import annotations

import asyncio
import http.client
import secrets
import signal
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing
from datetime import datetime, timedelta

import psycopg
import pytest

from tests.faults.cluster import listed, publish, seconds_until, subscribed
from tests.services.databases import PostgresDatabases
from tests.services.ports import LOOPBACK
from tests.services.redis import Redis
from tests.services.server import Server

pytestmark = pytest.mark.once

CLIENTS = 10


class SteppingServer(Server):
    """A server whose wall clock steps by an hour when it gets a signal."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._command = [sys.executable, "-m", "tests.faults.stepping", "serve"]


@pytest.fixture
def servers(
    redis: Redis, fresh: PostgresDatabases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Server]]:
    """Two on one database; a client that is silent for longer than half a minute is dropped."""
    options = {
        "REDIS_URL": redis.url,
        "DATABASE_URL": fresh.create(),
        "PING_INTERVAL": "1",
        "PING_TIMEOUT": "30",
    }
    both: list[Server] = [SteppingServer(tmp_path_factory.mktemp("stepping"), options) for _ in range(2)]
    try:
        for server in both:
            server.launch()
        for server in both:
            server.process.wait_until(server.serves)
        yield both
    finally:
        for server in both:
            server.close()


def times(database_url: str) -> tuple[datetime, datetime]:
    """The time of the database, and when the worker that is worst off has renewed its lease by it."""
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT now(), min(renewed_at) FROM core_workerrecord").fetchone()
    assert row is not None
    return row[0], row[1]


async def all_renew(database_url: str) -> None:
    """Wait until every worker has renewed its lease after this call."""
    begun, _ = await asyncio.to_thread(times, database_url)
    await seconds_until(lambda: times(database_url)[1] > begun)


def http_to(server: Server) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(LOOPBACK, server.port, timeout=60)


def ask(connection: http.client.HTTPConnection) -> int:
    connection.request("GET", "/health/live")
    response = connection.getresponse()
    response.read()
    return response.status


async def hours_apart(one: Server, two: Server) -> int:
    """The difference between the servers' clocks: what each takes for the time at which a new client came."""
    name = secrets.token_hex(4)
    async with subscribed(one.port, f"{name}-one"), subscribed(two.port, f"{name}-two"):
        names = {f"{name}-one", f"{name}-two"}
        await seconds_until(lambda: names <= {client["identity"] for client in listed(one)})
        came = {client["identity"]: datetime.fromisoformat(client["connected_at"]) for client in listed(one)}
    return round((came[f"{name}-one"] - came[f"{name}-two"]) / timedelta(hours=1))


async def test_a_step_of_the_clock_drops_nobody(servers: list[Server]) -> None:
    ahead, behind = servers
    token = secrets.token_hex(4)
    async with (
        AsyncExitStack() as stack,
        subscribed(ahead.port, token, CLIENTS) as there,
        subscribed(behind.port, token, CLIENTS) as here,
    ):
        kept = [stack.enter_context(closing(http_to(server))) for server in servers]
        assert [ask(connection) for connection in kept] == [200, 200]
        await seconds_until(lambda: len(listed(ahead)) == 2 * CLIENTS)

        ahead.process.send(signal.SIGUSR1)
        behind.process.send(signal.SIGUSR2)
        for _ in range(2):  # dead workers are swept up with it, so that is over after the second
            await all_renew(ahead.database_url)

        for server in servers:
            assert len(await asyncio.to_thread(listed, server)) == 2 * CLIENTS
        await publish(there[0], "ahead", token, range(10))
        await publish(here[0], "behind", token, range(10))
        await seconds_until(lambda: all(len(client.received) == 20 for client in [*there, *here]))
        assert all(client.closed is None for client in [*there, *here])
        assert [ask(connection) for connection in kept] == [200, 200]
    assert await hours_apart(ahead, behind) == 2
