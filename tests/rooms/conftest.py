"""A server that the tests of rooms share; each test uses rooms of its own."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Final

import pytest

from tests.rooms.client import Api
from tests.rooms.patient import PATIENT
from tests.services.databases import Databases
from tests.services.running import running
from tests.services.server import Server

Pair = tuple[Server, Server]
LARGEST: Final = 200_000
"""Bytes of the largest packet that a pair takes."""


@pytest.fixture(scope="package")
def broker(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server as it comes."""
    with running(databases, tmp_path_factory.mktemp("rooms")) as server:
        yield server


@contextmanager
def two_servers(
    databases: Databases, redis_url: str, paths: pytest.TempPathFactory, **more: str
) -> Iterator[Pair]:
    """Two processes that share a database and a Redis; a client that does not read is slow soon.

    They wait for each other (`patient.py`): tests whose worker dies have others.
    """
    bounds = {"MAX_OUTBOX_BYTES": "65536", "ROOMS_MAX_PAYLOAD": str(LARGEST)}
    more.setdefault("EXTRA_APPS", PATIENT)
    options = {"DATABASE_URL": databases.create(), "REDIS_URL": redis_url, **bounds, **more}
    owner, other = (Server(paths.mktemp("pair"), options) for _ in range(2))
    try:
        owner.start()
        other.start()
        yield owner, other
    finally:
        owner.close()
        other.close()
        databases.drop(options["DATABASE_URL"])


@pytest.fixture(scope="package")
def pair(databases: Databases, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two processes with the usual settings."""
    with two_servers(databases, redis_url, tmp_path_factory) as servers:
        yield servers


@pytest.fixture
def api(broker: Server) -> Api:
    """Its REST side."""
    return Api(broker)


@pytest.fixture
def room() -> str:
    """A room that no other test uses."""
    return f"room-{secrets.token_hex(6)}"


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """Closes what a test opens."""
    async with AsyncExitStack() as exits:
        yield exits
