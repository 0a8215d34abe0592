"""Servers that the tests of the tokens protocol share, and clients that leave with their test.

Tests on a shared server use tokens of their own (`name`), so that none receives another's messages.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

import pytest

from tests.services.databases import Databases
from tests.services.running import running
from tests.services.server import Server
from tests.tokens.client import Client

Connect = Callable[..., Client]


@pytest.fixture(scope="package")
def broker(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server as it comes: every token may connect."""
    with running(databases, tmp_path_factory.mktemp("tokens")) as server:
        yield server


@pytest.fixture(scope="package")
def registered_only(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server to which only registered tokens may connect."""
    with running(databases, tmp_path_factory.mktemp("tokens"), TOKENS_ALLOW_UNREGISTERED="no") as server:
        yield server


@pytest.fixture(scope="package")
def compatible(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that speaks as the original."""
    with running(databases, tmp_path_factory.mktemp("tokens"), TOKENS_WIRE_COMPAT="yes") as server:
        yield server


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Open clients: `connect(server, token)`; all leave with the test."""
    clients: list[Client] = []

    def open_client(server: Server, token: str | None = None, **options: object) -> Client:
        client = Client(server, token, **options)
        clients.append(client)
        return client

    yield open_client
    for client in clients:
        client.close()


@pytest.fixture
def name() -> str:
    """The beginning of tokens that no other test uses."""
    return secrets.token_hex(4)
