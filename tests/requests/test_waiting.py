"""What the server sends to a client that does not read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from routing_app.core.connection import State
from routing_app.requests.connection import Connection
from routing_app.requests.wire import Codec

pytestmark = pytest.mark.once


@pytest.fixture
def inner() -> Any:
    """A connection of the core whose client reads nothing."""
    return SimpleNamespace(
        id="i",
        state=State.OPEN,
        outbox=SimpleNamespace(corked=False, size=0, frames=[]),
        writer=SimpleNamespace(held_bytes=lambda: 10**9, held_frames=lambda: 1),
        close_sent=None,
        send=lambda text: True,
    )


async def test_a_send_without_receipts_ends_with_its_timeout(inner: Any) -> None:
    with pytest.raises(TimeoutError):
        await Connection(inner, Codec(), receipts=False).send({"n": 1}, timeout=0.01)


async def test_a_send_with_receipts_ends_with_its_timeout(inner: Any) -> None:
    with pytest.raises(TimeoutError):
        await Connection(inner, Codec(), receipts=True).send({"n": 1}, timeout=0.01)
