"""A server as it comes, which the tests share; each uses rooms of its own."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import BinaryIO

import pytest

from tests.services.databases import Databases
from tests.services.running import running
from tests.services.server import Server


@pytest.fixture(scope="package")
def broker(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(databases, tmp_path_factory.mktemp("reported")) as server:
        yield server


@pytest.fixture
def room() -> str:
    """A room that no other test uses."""
    return f"room-{secrets.token_hex(6)}"


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """Closes what a test opens."""
    async with AsyncExitStack() as exits:
        yield exits


def read_until(stream: BinaryIO, last: bytes) -> bytes:
    """Read until some bytes have come; all that came."""
    received = b""
    while last not in received:
        one = stream.read(1)
        assert one, ("the connection has ended", received)
        received += one
    return received
