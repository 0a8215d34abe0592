"""The WebSocket transport: a session from its start, or one that comes from polling."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

from routing_app.core import metrics
from routing_app.core.access.handshake import first_offered
from routing_app.core.codes import MALFORMED, NORMAL, TOO_BIG, Advice, Close, Loss
from routing_app.core.delivery.frame import Frame
from routing_app.core.delivery.writer import EXTENSION, MAX_MESSAGE, AsgiWriter, DirectWriter, Writer
from routing_app.engineio import wire
from routing_app.engineio.request import EngineRequest
from routing_app.engineio.session import EngineSession
from routing_app.engineio.wire import Packet

CLOSE_WAIT_SECONDS: Final = 10.0
"""Time that the client has to answer our close before the task of its WebSocket ends."""


class SocketGone(Exception):
    """The WebSocket has ended."""


class PacketSocket:
    """The WebSocket of one client: packets in, frames out through `writer`."""

    def __init__(self, scope: Any, receive: Any, send: Any, request: EngineRequest, max_packet: int) -> None:
        self.writer = _writer(scope, send, request.version)
        self._receive = receive
        self._send = send
        self._version = request.version
        self._twice = request.encodes_twice
        self.text_only = "b64" in request.query
        """True for a client without binary frames."""
        self._subprotocol = first_offered(scope)
        self._max_packet = max_packet

    async def accept(self) -> None:
        """Answer the handshake, with the first subprotocol that is offered: a browser fails without one."""
        await self._send(
            {
                "type": "websocket.accept",
                "subprotocol": self._subprotocol,
                MAX_MESSAGE: self._max_packet,
            }
        )

    async def packet(self) -> Packet:
        """The next packet. Raises SocketGone, WireError, and PacketTooBig."""
        message = await self._receive()
        if message["type"] != "websocket.receive":
            raise SocketGone
        data: Packet = message["text"] if message.get("text") is not None else message["bytes"]
        if len(data) > self._max_packet or (isinstance(data, str) and len(data.encode()) > self._max_packet):
            raise PacketTooBig
        return wire.decode_frame(self._version, data, self._twice)

    def close(self, close: Close = NORMAL) -> None:
        """End it from this side."""
        self.writer.close(close)

    async def drain(self) -> None:
        """Read on until the other end has answered the close, for a while."""
        with suppress(SocketGone, TimeoutError):
            async with asyncio.timeout(CLOSE_WAIT_SECONDS):
                while True:
                    with suppress(wire.EngineWireError, PacketTooBig):
                        await self.packet()


class OldClientWriter(DirectWriter):
    """For clients 1.x and 2.x: one that shall come back sees its connection drop, as when an original ends.

    A close frame with 1012 ends a Node process that runs client 1.4 or 1.7 (its `ws` takes the code for an
    error, and fails to report it), and any close frame ends the reading thread of socketIO-client-2.
    """

    __slots__ = ()

    def close(self, close: Close) -> None:
        """With a close frame where the client stays away, else without."""
        if close.advice is Advice.STAY_AWAY:
            super().close(close)
        else:
            metrics.LOST.labels(Loss.CLOSED).inc(self._server.abort())

    def abort(self, close: Close) -> None:
        """Drop the connection."""
        self._drop()


def _writer(scope: Any, send: Any, version: int) -> Writer:
    extension = (scope.get("extensions") or {}).get(EXTENSION)
    if extension is None:
        return AsgiWriter(send)
    return OldClientWriter(extension) if version == 3 else DirectWriter(extension)


class PacketTooBig(Exception):
    """A frame over the limit."""


async def begin(session: EngineSession, channel: PacketSocket) -> None:
    """Serve a session that starts on this WebSocket."""
    await session.begin(channel.writer)
    await _serve(session, channel)


async def upgrade(session: EngineSession, channel: PacketSocket) -> None:
    """Probe, then serve a session that came from polling; it stays there when the probe fails.

    A session that has a WebSocket already keeps that one, and this is closed.
    """
    if session.begin_upgrade():
        if await _probe(session, channel):
            session.upgraded(channel.writer, channel.text_only)
            await _serve(session, channel)
            return
        session.upgrade_failed()
    channel.close()
    await channel.drain()


async def probe(channel: PacketSocket, probed: Callable[[], Awaitable[object]]) -> bool:
    """`2probe` in, `3probe` out, `5` in ("Upgrade" of both READMEs); True once all three have passed.

    A client may leave out the probe, as Arduino libraries do, and repeat it. Raises as PacketSocket.packet.
    """
    while (packet := await channel.packet()) == wire.PROBE:
        channel.writer.write([Frame(wire.PROBED)])
        await probed()
    return packet[:1] == wire.UPGRADE


async def _probe(session: EngineSession, channel: PacketSocket) -> bool:
    """Have the client say that it moves; False when it does not, or not in time."""

    async def probed() -> None:
        session.probed()

    try:
        async with asyncio.timeout(session.options.upgrade_timeout):
            return await probe(channel, probed) and session.open
    except (SocketGone, TimeoutError, wire.EngineWireError, PacketTooBig):
        return False


async def _serve(session: EngineSession, channel: PacketSocket) -> None:
    """Read until either end closes."""
    try:
        while session.open:
            await session.receive(await channel.packet())
    except SocketGone:
        session.left()
        return
    except wire.EngineWireError:
        session.close(MALFORMED)
    except PacketTooBig:
        session.close(TOO_BIG)
    except BaseException:
        session.close(NORMAL)
        raise
    await channel.drain()
