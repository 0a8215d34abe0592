"""Servers with handlers of an app, and peers that leave with their test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from routing_app.core.worker import Worker, current_worker, drop_worker
from tests.requests.peer import Peer
from tests.requests.serving import serving
from tests.services.databases import Databases
from tests.services.redis import Redis
from tests.services.server import Server

Connect = Callable[..., Peer]


@pytest.fixture(scope="package")
def broker(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server as it comes, with the tests' handlers."""
    with serving(databases, tmp_path_factory) as server:
        yield server


@pytest.fixture(scope="package")
def strict(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with small bounds."""
    with serving(
        databases,
        tmp_path_factory,
        REQUESTS_MAX_RUNNING="4",
        REQUESTS_MAX_PENDING="3",
        REQUESTS_MAX_SUBSCRIPTIONS="3",
        REQUESTS_MAX_MALFORMED="5",
        MAX_FRAME_BYTES="4096",
    ) as server:
        yield server


@pytest.fixture(scope="package")
def two(
    databases: Databases, tmp_path_factory: pytest.TempPathFactory, redis_url: str
) -> Iterator[tuple[Server, Server]]:
    """Two processes that share a database and a Redis."""
    with (
        serving(databases, tmp_path_factory, REDIS_URL=redis_url) as one,
        serving(databases, tmp_path_factory, REDIS_URL=redis_url, DATABASE_URL=one.database_url) as other,
    ):
        yield one, other


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    """This process as a worker."""
    one = current_worker()
    yield one
    await one.stop()
    drop_worker()


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Open peers: `connect(server, query)`; all leave with the test."""
    peers: list[Peer] = []

    def open_peer(server: Server, query: str = "", **options: object) -> Peer:
        peer = Peer(server, query, **options)  # type: ignore[arg-type]
        peers.append(peer)
        return peer

    yield open_peer
    for peer in peers:
        peer.close()


@pytest.fixture
def keyed(connect: Connect) -> Connect:
    """The same, with the server's API key."""
    return lambda server, **options: connect(server, f"?key={server.api_key}", **options)


@pytest.fixture
def mortals(
    databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, Server]]:
    """The same for one test, which may kill them: the death of a worker is told for as long as its lease
    lasts, to all clients of those that share its database.
    """
    with (
        Redis(tmp_path_factory.mktemp("redis")) as redis,
        serving(databases, tmp_path_factory, REDIS_URL=redis.url) as one,
        serving(databases, tmp_path_factory, REDIS_URL=redis.url, DATABASE_URL=one.database_url) as other,
    ):
        yield one, other
