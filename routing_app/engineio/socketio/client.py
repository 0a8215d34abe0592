"""One Engine.IO session as a Socket.IO client: it connects to namespaces, and packets go to their sockets."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from django.conf import settings

from routing_app.core import metrics
from routing_app.core.access.limits import TokenBucket
from routing_app.core.codes import MALFORMED, NORMAL, SILENT, TOO_BIG, Close, Refusal
from routing_app.core.worker import Worker
from routing_app.engineio.session import EngineSession
from routing_app.engineio.socketio import wire
from routing_app.engineio.socketio.recovery import Recovery
from routing_app.engineio.socketio.socket import ClientSocket, Namespace, NamespaceSocket
from routing_app.engineio.wire import MESSAGE
from routing_app.engineio.wire import Packet as EnginePacket

logger = logging.getLogger(__name__)

CONNECT_SECONDS: Final = 45.0
"""How long a client of protocol 5 may stay in no namespace (the original's `connectTimeout`)."""
ATTACHMENT_SECONDS: Final = 60.0
"""How long the attachments of a packet may take."""
ATTACHMENTS_LATE: Final = replace(MALFORMED, reason="the attachments of a packet did not come")


class _Incomplete:
    """A packet whose attachments have not all come."""

    def __init__(self, packet: wire.Packet, size: int, overdue: asyncio.TimerHandle) -> None:
        self.packet = packet
        self.overdue = overdue
        self._size = size
        self._attachments: list[bytes] = []

    def add(self, data: bytes, limit: int) -> wire.Packet | None:
        """Take an attachment; the packet once it is complete.

        Raises PacketTooBig above `limit` bytes in all, SocketWireError where placeholders are wrong.
        """
        self._size += len(data)
        if self._size > limit:
            raise PacketTooBig
        self._attachments.append(data)
        if len(self._attachments) < self.packet.attachments:
            return None
        wire.attach(self.packet.data, self._attachments)
        return self.packet


class PacketTooBig(ValueError):
    """A packet that is too large with its attachments."""


class SocketClient:
    """The application of a session (`session.Application`)."""

    def __init__(
        self,
        session: EngineSession,
        worker: Worker,
        protocol: str,
        namespaces: Mapping[str, Namespace],
        connect_seconds: float = CONNECT_SECONDS,
        attachment_seconds: float = ATTACHMENT_SECONDS,
        recovery: Recovery | None = None,
    ) -> None:
        self._session = session
        self._worker = worker
        self._protocol = protocol
        self._namespaces = namespaces
        self._connect_seconds = connect_seconds
        self._attachment_seconds = attachment_seconds
        self._incomplete: _Incomplete | None = None
        self._recovery = recovery if session.version == 4 else None
        self._sockets: dict[str, ClientSocket] = {}
        self._bucket = TokenBucket(settings.MESSAGE_RATE, settings.MESSAGE_BURST)
        self._counted = metrics.RECEIVED.labels(protocol)
        self._timer: asyncio.TimerHandle | None = None

    async def opened(self) -> None:
        """Clients before protocol 5 are put into the main namespace; later ones have to name theirs."""
        if self._session.version == 3:
            await self._connect(wire.Packet(wire.CONNECT))
        else:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._connect_seconds, self._session.close, SILENT)

    async def received(self, message: EnginePacket) -> None:
        """Take one Socket.IO packet; a message that is not one ends the session, as in the original."""
        self._counted.inc()
        if self._incomplete is not None:
            await self._complete(self._incomplete, message)
            return
        if pause := self._bucket.take():
            await asyncio.sleep(pause)
        if isinstance(message, bytes):  # an attachment of no packet
            self._refuse(Refusal.BINARY, MALFORMED)
            return
        try:
            packet = wire.decode(message)
        except wire.SocketWireError:
            self._refuse(Refusal.MALFORMED, MALFORMED)
            return
        if packet.attachments:
            loop = asyncio.get_running_loop()
            overdue = loop.call_later(
                self._attachment_seconds, self._refuse, Refusal.MALFORMED, ATTACHMENTS_LATE
            )
            self._incomplete = _Incomplete(packet, len(message), overdue)
        else:
            await self._take(packet)

    async def _complete(self, incomplete: _Incomplete, message: EnginePacket) -> None:
        """Take an attachment; another packet in between ends the session, as in the original."""
        if isinstance(message, str):
            self._refuse(Refusal.MALFORMED, MALFORMED)
            return
        try:
            packet = incomplete.add(message, self._session.options.max_payload)
        except wire.SocketWireError:
            self._refuse(Refusal.MALFORMED, MALFORMED)
        except PacketTooBig:
            self._refuse(Refusal.TOO_BIG, TOO_BIG)
        else:
            if packet is not None:
                incomplete.overdue.cancel()
                self._incomplete = None
                await self._take(packet)

    def closed(self, close: Close) -> None:
        """The session has ended, and all its sockets with it."""
        self._stop_waiting()
        if self._incomplete is not None:
            self._incomplete.overdue.cancel()
        kept = [socket.lost(close) for socket in list(self._sockets.values())]
        if kept and all(kept):
            self._session.discard()

    async def _take(self, packet: wire.Packet) -> None:
        socket = self._sockets.get(packet.namespace)
        if packet.type == wire.CONNECT:
            await self._connect(packet)
        elif socket is None and packet.namespace == wire.MAIN:
            return
        elif socket is None:
            # The server may have ended the namespace while this was on its way.
            metrics.REFUSED.labels(self._protocol, Refusal.PATH).inc()
        elif packet.type == wire.DISCONNECT:
            socket.close()
        else:
            await socket.received(packet)

    async def _connect(self, packet: wire.Packet) -> None:
        """Open a namespace; a second CONNECT to it changes nothing."""
        name = packet.namespace
        namespace = self._namespaces.get(name)
        if namespace is None and name == wire.MAIN:
            self._enter_main()
            return
        if namespace is None:
            metrics.REFUSED.labels(self._protocol, Refusal.PATH).inc()
            self._send(wire.refuse(name, "Invalid namespace", self._session.version))
            return
        if name in self._sockets or not self._session.open:
            return
        self._stop_waiting()
        if self._recovery is None or not await self._come_back(self._recovery, name, packet.data or {}):
            await self._open(name, namespace, packet)

    async def _come_back(self, recovery: Recovery, name: str, payload: Mapping[str, Any]) -> bool:
        """Go on with the session that a CONNECT names; False when that cannot be."""
        socket = await recovery.resume(name, payload, self._session, self._forget)
        if socket is None:
            return not self._session.open
        if self._session.open and name not in self._sockets:
            self._sockets[name] = socket
        else:  # the client has gone, or connected once more, while another worker was asked
            socket.lost(self._session.closed_with or NORMAL)
        return True

    async def _open(self, name: str, namespace: Namespace, packet: wire.Packet) -> None:
        new = NamespaceSocket if self._recovery is None else self._recovery.new
        socket = self._sockets[name] = new(
            self._session,
            self._worker,
            self._protocol,
            name,
            namespace,
            packet.data or {},
            packet.query,
            self._forget,
        )
        await socket.open()

    def _enter_main(self) -> None:
        """The main namespace exists for every client, also where it offers nothing."""
        self._stop_waiting()
        sid = secrets.token_hex(10) if self._session.version == 4 else None
        self._send(wire.connect(wire.MAIN, sid))

    def _send(self, packet: str) -> None:
        """Send behind what the sockets have sent until now."""
        for socket in self._sockets.values():
            socket.flush()
        self._session.send(MESSAGE + packet)

    def _forget(self, socket: ClientSocket) -> None:
        if self._sockets.get(socket.name) is socket:
            del self._sockets[socket.name]

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, reason: Refusal, close: Close) -> None:
        metrics.REFUSED.labels(self._protocol, reason).inc()
        logger.info("%s: a session ends: %s", self._protocol, close.reason)
        self._session.close(close)
