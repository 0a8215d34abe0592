"""Frames of the server to a client that does not read."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from routing_app.core.delivery.connection import ConnectionState
from routing_app.requests.connection import Connection
from routing_app.requests.wire import Codec

pytestmark = pytest.mark.once


@pytest.fixture
def inner() -> Any:
    """A connection of the core whose client reads nothing."""
    return SimpleNamespace(
        id="i",
        state=ConnectionState.OPEN,
        outbox=SimpleNamespace(corked=False, size=0, frames=[]),
        writer=SimpleNamespace(held_bytes=lambda: 10**9, held_frames=lambda: 1),
        close_sent=None,
        send=lambda text: True,
    )


async def test_a_hundred_handlers_of_a_client_that_does_not_read_look_at_its_outbox_as_one(
    inner: Any,
) -> None:
    looks = 0

    def held_bytes() -> int:
        nonlocal looks
        looks += 1
        return 0 if released else 10**9

    released = False
    inner.writer.held_bytes = held_bytes
    connection = Connection(inner, Codec(), receipts=False)
    sends = [asyncio.ensure_future(connection.send({"n": n})) for n in range(100)]
    await asyncio.sleep(0.1)
    assert looks < 200, "one look for each at first, then one for all"
    released = True
    await asyncio.gather(*sends)


async def test_a_send_without_receipts_ends_with_its_timeout(inner: Any) -> None:
    with pytest.raises(TimeoutError):
        await Connection(inner, Codec(), receipts=False).send({"n": 1}, timeout=0.01)


async def test_a_send_with_receipts_ends_with_its_timeout(inner: Any) -> None:
    with pytest.raises(TimeoutError):
        await Connection(inner, Codec(), receipts=True).send({"n": 1}, timeout=0.01)
