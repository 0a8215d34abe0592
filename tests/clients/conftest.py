"""Servers for the clients: one worker, and two."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.requests.serving import serving
from tests.services.databases import Databases
from tests.services.server import Server

Launch = Callable[..., Server]


@pytest.fixture(scope="package")
def one_worker(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(databases, tmp_path_factory) as server:
        yield server


@pytest.fixture(scope="package")
def two_workers(
    databases: Databases, tmp_path_factory: pytest.TempPathFactory, redis_url: str
) -> Iterator[Server]:
    with serving(databases, tmp_path_factory, WORKERS="2", REDIS_URL=redis_url) as server:
        yield server


@pytest.fixture(params=["one_worker", "two_workers"])
def broker(request: pytest.FixtureRequest) -> Server:
    """A server with one worker, and one with two."""
    server: Server = request.getfixturevalue(request.param)
    return server


@pytest.fixture(scope="package", params=["one worker", "two workers"])
def kept(
    request: pytest.FixtureRequest, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server that keeps history: in its memory or in Redis, and always there with two workers."""
    options = {"HISTORY_SIZE": "10000"}
    if request.param == "two workers":
        options |= {"WORKERS": "2", "REDIS_URL": request.getfixturevalue("redis_url")}
    with serving(databases, tmp_path_factory, **options) as server:
        yield server


@pytest.fixture
def launch(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launch]:
    """Start servers that end with the test."""
    with ExitStack() as servers:
        yield lambda **options: servers.enter_context(serving(databases, tmp_path_factory, **options))
