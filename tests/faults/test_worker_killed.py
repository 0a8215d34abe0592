"""A worker is killed with 200 clients: they are gone from every listing in time, and nobody else notices."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
from collections.abc import Iterator

import psycopg
import pytest

from tests.faults.cluster import Subscriber, listed, publish, seconds_until, subscribe
from tests.services.databases import PostgresDatabases
from tests.services.process import children
from tests.services.redis import Redis
from tests.services.server import Server
from tests.services.waiting import until

pytestmark = pytest.mark.once
logger = logging.getLogger("measured")

CLIENTS = 200


@pytest.fixture
def supervised(
    redis: Redis, fresh: PostgresDatabases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """`serve` with two workers."""
    options = {"WORKERS": "2", "REDIS_URL": redis.url, "DATABASE_URL": fresh.create(), "METRICS_OPEN": "yes"}
    server = Server(tmp_path_factory.mktemp("supervised"), options)
    try:
        server.start()
        yield server
    finally:
        server.close()


async def open_clients(server: Server, token: str, count: int) -> list[Subscriber]:
    """Clients of one token, 50 at a time."""
    clients: list[Subscriber] = []
    while missing := count - len(clients):
        clients += await asyncio.gather(*(subscribe(server.port, token) for _ in range(min(missing, 50))))
    return clients


async def open_on_both(server: Server, token: str) -> list[Subscriber]:
    """CLIENTS or more clients of a token, some on each worker: one may take a whole burst."""
    clients: list[Subscriber] = []

    async def are_on_both() -> bool:
        clients.extend(await open_clients(server, token, CLIENTS if not clients else 1))
        await seconds_until(lambda: len(workers_of(server, token)) == len(clients))
        return len(set(workers_of(server, token).values())) == 2

    await until(are_on_both)
    return clients


def workers_of(server: Server, token: str) -> dict[int, str]:
    """Worker by our port, of every client of a token that is listed."""
    return {
        int(client["peer"].rpartition(":")[2]): client["worker"]
        for client in listed(server)
        if client["identity"] == token
    }


def pid_of(database_url: str, worker: str) -> int:
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT pid FROM core_workerrecord WHERE id = %s", [worker]).fetchone()
    assert row is not None
    return int(row[0])


async def test_a_worker_is_killed_with_200_clients(supervised: Server) -> None:
    token = secrets.token_hex(4)
    clients = await open_on_both(supervised, token)
    ports = {client.socket.local_address[1]: client for client in clients}
    by_worker = workers_of(supervised, token)
    first, _ = set(by_worker.values())
    doomed = [client for port, client in ports.items() if by_worker[port] == first]
    others = [client for port, client in ports.items() if by_worker[port] != first]
    victim = pid_of(supervised.database_url, first)
    before = children(supervised.pid)
    publishing = asyncio.ensure_future(publish(others[0], "one", token, range(300), 20))
    os.kill(victim, signal.SIGKILL)
    told = await seconds_until(lambda: all(client.closed is not None for client in doomed))
    back = await open_clients(supervised, f"{token}-back", 50)
    gone = await seconds_until(lambda: first not in set(workers_of(supervised, token).values()))
    recorded = {client.socket.local_address[1] for client in back}
    await seconds_until(lambda: set(workers_of(supervised, f"{token}-back")) == recorded)
    await publishing
    await seconds_until(lambda: all(client.numbers("one") == list(range(300)) for client in others))
    assert {client.closed for client in doomed} == {1006}
    assert len(workers_of(supervised, token)) == len(others)
    assert victim in before
    await seconds_until(lambda: len(children(supervised.pid) - {victim}) == 2)
    assert victim not in children(supervised.pid)
    logger.info("%d clients: told after %.2f s, unlisted after %.2f s", len(doomed), told, told + gone)
    for client in [*others, *back]:
        await client.leave()
