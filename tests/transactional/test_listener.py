"""A connection for notifications that ends leaves nothing behind in the event loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress

import psycopg
import pytest

from routing_app.core.transactional import listener
from routing_app.core.transactional.listener import Listener
from tests.conftest import SCALED_OUT
from tests.services.waiting import until

pytestmark = [
    pytest.mark.skipif(not SCALED_OUT, reason="only PostgreSQL has notifications"),
    pytest.mark.django_db(transaction=True),
]

PAIRS = 40
"""More sockets than numbers of descriptors that are free below those in use."""


@pytest.fixture
async def listening() -> AsyncIterator[Listener]:
    listening = Listener(lambda: None)
    running = asyncio.ensure_future(listening.run())
    await until(lambda: listening.listens)
    yield listening
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


def end_connections() -> None:
    """Have PostgreSQL end every connection that listens."""
    statement = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        f" WHERE datname = current_database() AND query = 'LISTEN {listener.CHANNEL}'"
    )
    with psycopg.connect(listener._conninfo(), autocommit=True) as connection:
        rows = connection.execute(statement).fetchall()
    assert rows == [(True,)]


async def test_the_next_socket_of_its_number_is_read(listening: Listener, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(listener, "RETRY_SECONDS", 3600)  # a new connection would take the number itself
    await asyncio.to_thread(end_connections)
    await until(lambda: not listening.listens)

    # libpq has closed its socket, so one of these has its number.
    with ExitStack() as stack:
        loop = asyncio.get_running_loop()
        heard: set[int] = set()
        for number in range(PAIRS):
            near, far = map(stack.enter_context, socket.socketpair())
            loop.add_reader(near.fileno(), heard.add, number)
            stack.callback(loop.remove_reader, near.fileno())
            far.send(b"x")
        await until(lambda: heard == set(range(PAIRS)))
