"""The heartbeat of a session whose application takes its time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from routing_app.core.codes import SILENT, Close
from routing_app.core.delivery.connection import Peer
from routing_app.core.delivery.frame import Frame
from routing_app.engineio import wire
from routing_app.engineio.session import EngineOptions, EngineSession
from routing_app.engineio.wire import Packet
from tests.services.waiting import until

pytestmark = pytest.mark.once

OPTIONS = EngineOptions(ping_interval=0.02, ping_timeout={3: 0.02, 4: 0.02})


class Wire:
    """Counts the pings."""

    def __init__(self) -> None:
        self.pings = 0

    def write(self, frames: Sequence[Frame]) -> None:
        self.pings += sum(frame.text == wire.PING for frame in frames)

    def close(self, close: Close) -> None:
        """It is seen at the session."""


class Slow:
    """An application that handles a message until it is told to end."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()

    async def opened(self) -> None:
        """Nothing to say."""

    async def received(self, message: Packet) -> None:
        await self.may_end.wait()

    def closed(self, close: Close) -> None:
        """It is seen at the session."""


async def test_a_client_whose_pong_waits_behind_a_message_is_not_silent():
    session = EngineSession("sid", 4, OPTIONS, Peer(), {}, lambda session: None)
    session.application, channel = Slow(), Wire()
    await session.begin(channel)  # type: ignore[arg-type]
    handling = asyncio.ensure_future(session.receive(wire.MESSAGE + "hello"))
    await until(lambda: channel.pings >= 4)  # each one ends a time without a PONG
    assert session.open
    session.application.may_end.set()
    await handling
    await until(lambda: not session.open)
    assert session.closed_with is SILENT
