"""A PostgreSQL and a Redis that these tests may stop, and two servers on them with proxies everywhere."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.cluster import Cluster, Pair
from tests.services.databases import PostgresDatabases
from tests.services.postgres import Postgres, find_postgres
from tests.services.redis import Redis, find_redis
from tests.services.server import Server
from tests.services.waiting import wait_until

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A client of `websockets` that gives up a handshake leaves its socket to the garbage collector."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"))


@pytest.fixture(scope="package", autouse=True)
def collected() -> Iterator[None]:
    """Such sockets are collected before tests of others, which would fail by their warnings."""
    yield
    gc.collect()


@pytest.fixture(scope="package")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    if find_redis() is None:
        pytest.skip("redis-server is not installed (make test installs it)")
    with Redis(tmp_path_factory.mktemp("redis")) as redis:
        yield redis


@pytest.fixture(scope="package")
def postgres() -> Iterator[Postgres]:
    if find_postgres() is None:
        pytest.skip("PostgreSQL is not installed (make test installs it)")
    with Postgres() as postgres:
        yield postgres


@pytest.fixture(scope="package")
def fresh(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> PostgresDatabases:
    """Migrated databases in the cluster of these tests."""
    return PostgresDatabases(postgres.url(), tmp_path_factory.mktemp("databases"))


@pytest.fixture(scope="package")
def cluster(redis: Redis, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    def server(options: dict[str, str]) -> Server:
        return Server(tmp_path_factory.mktemp("faults"), options)

    with Cluster(server, redis.port, postgres.port) as cluster:
        yield cluster


@pytest.fixture(scope="package")
def shared_pair(cluster: Cluster, fresh: PostgresDatabases) -> Pair:
    return cluster.pair(fresh.create())


@pytest.fixture
def pair(shared_pair: Pair, redis: Redis, postgres: Postgres) -> Iterator[Pair]:
    """Two servers that are ready, whatever the test before has done to them."""
    wait_until(shared_pair.is_ready)
    yield shared_pair
    shared_pair.heal()
    if redis.process.exit_code is not None:
        redis.start()
    if postgres.process.exit_code is not None:
        postgres.serve()
