"""A poll whose client goes away before its answer, of a session here and of one at another worker."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from routing_app.core.delivery.connection import Peer
from routing_app.core.durations import LONG, Times
from routing_app.engineio.polling import Polled, answer_get
from routing_app.engineio.remote_sessions import RemoteSession
from routing_app.engineio.request import EngineRequest
from routing_app.engineio.session import EngineOptions, EngineSession

pytestmark = pytest.mark.once

REQUEST = EngineRequest(4, "polling", "sid", {})


class Elsewhere:
    """Asks the owner of a session, and notes when a question is given up."""

    worker: Any = type("Worker", (), {"draining": False})

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.given_up = asyncio.Event()

    async def poll(self, sid: str, version: int) -> str:
        self.asked.set()
        try:
            return await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            self.given_up.set()
            raise


async def poll(session: Polled, goes: asyncio.Event) -> list[Any]:
    """What is sent to a client that goes away as told."""
    sent: list[Any] = []

    async def receive() -> dict[str, str]:
        await goes.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await answer_get(session, REQUEST, {}, receive, send, [], Times(LONG))
    return sent


async def test_a_client_that_goes_gives_up_its_poll_at_another_worker():
    elsewhere = Elsewhere()

    assert await poll(RemoteSession(elsewhere, "sid", 4), goes=elsewhere.asked) == []  # type: ignore[arg-type]

    await elsewhere.given_up.wait()


async def test_a_client_that_goes_leaves_its_session_to_the_next_poll():
    session = EngineSession("sid", 4, EngineOptions(), Peer(), {}, lambda session: None)
    goes = asyncio.Event()
    goes.set()

    assert await poll(session, goes) == []

    ready = session.begin_poll()
    session.send("4news")
    assert ready.done()
    assert session.end_poll().body == b"4news"
    session.close()
