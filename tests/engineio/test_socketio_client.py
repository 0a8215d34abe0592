"""How long a Socket.IO client may stay that is refused at CONNECT."""

from __future__ import annotations

import asyncio

import pytest

from routing_app.core.access import admission
from routing_app.core.access.admission import Refused
from routing_app.core.codes import REVOKED, SILENT, Refusal
from routing_app.core.delivery.connection import Connection, Peer
from routing_app.core.worker import Worker, current_worker
from routing_app.engineio.session import EngineOptions, EngineSession
from routing_app.engineio.socketio.client import SocketClient
from routing_app.rooms.namespaces import NAMESPACES

pytestmark = pytest.mark.once

SECONDS = 60
"""For what hangs."""
REFUSED = b'44/bus,{"message":"credentials revoked"}'


@pytest.fixture
def revoked(monkeypatch: pytest.MonkeyPatch) -> list[Refused]:
    """The answers to clients that CONNECT after their credential was looked at, one each; then all may."""
    answers = [Refused(REVOKED, Refusal.REVOKED)]

    async def check(worker: Worker, connection: Connection) -> None:
        if answers:
            raise answers.pop()

    monkeypatch.setattr(admission, "check_connection", check)
    return answers


class Session(EngineSession):
    """One whose client may stay in no namespace for so long."""

    def __init__(self, connect_seconds: float) -> None:
        self.ended = asyncio.Event()
        options = EngineOptions(ping_interval=3600)
        super().__init__("sid", 4, options, Peer(), {}, lambda session: self.ended.set())
        self.client = SocketClient(self, current_worker(), "rooms", NAMESPACES, connect_seconds)
        self.application = self.client

    async def polled(self) -> bytes:
        """The next packets for the client."""
        await self.begin_poll()
        return self.end_poll().body

    def waits(self) -> bool:
        """True while it ends unless its client enters a namespace."""
        return self.client._timer is not None


async def test_a_client_that_is_refused_its_only_namespace_is_ended(revoked: list[Refused]):
    session = Session(connect_seconds=0.01)
    await session.start()

    await session.receive("40/bus,")

    assert await session.polled() == REFUSED
    await asyncio.wait_for(session.ended.wait(), SECONDS)
    assert session.closed_with is SILENT


async def test_a_client_that_is_refused_one_namespace_may_enter_another(revoked: list[Refused]):
    session = Session(connect_seconds=3600)
    await session.start()

    await session.receive("40/bus,")
    assert await session.polled() == REFUSED
    assert session.waits()
    await session.receive("40/layout,")

    assert (await session.polled()).startswith(b"40/layout,")
    assert not session.waits()
    session.close()


async def test_a_client_that_is_in_a_namespace_may_be_refused_another(revoked: list[Refused]):
    refusal = revoked.pop()
    session = Session(connect_seconds=3600)
    await session.start()
    await session.receive("40/layout,")
    assert (await session.polled()).startswith(b"40/layout,")
    revoked.append(refusal)

    await session.receive("40/bus,")

    assert await session.polled() == REFUSED
    assert session.open
    assert not session.waits()
    session.close()
