"""One Engine.IO session as a Socket.IO client: it connects to namespaces, and packets go to their sockets."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping
from dataclasses import replace
from time import monotonic
from typing import Any, Final

from routing_app.core import metrics
from routing_app.core.access import admission, credentials
from routing_app.core.access.admission import Refused
from routing_app.core.access.grants import NOBODY, Grant
from routing_app.core.codes import (
    LIMITED,
    MALFORMED,
    NORMAL,
    REVOKED,
    SILENT,
    TOO_BIG,
    Advice,
    Close,
    Refusal,
)
from routing_app.core.delivery.connection import NOTHING_GIVEN, Given, new_id
from routing_app.core.hooks import arriving
from routing_app.core.hooks.question import Question
from routing_app.core.hooks.table import HookSet
from routing_app.core.models.rate_limits import Then
from routing_app.core.protocol import kinds_of
from routing_app.core.rate_limits.limit import Excess, Passing
from routing_app.core.rate_limits.limits import settled
from routing_app.core.rate_limits.table import LimitSet
from routing_app.core.rest.middleware import BACKING_SERVICES
from routing_app.core.worker import Worker
from routing_app.engineio.session import EngineSession
from routing_app.engineio.socketio import wire
from routing_app.engineio.socketio.credential import presented_by, without_credentials
from routing_app.engineio.socketio.recovery import Recovery
from routing_app.engineio.socketio.socket import ClientSocket, Namespace, NamespaceSocket
from routing_app.engineio.wire import MESSAGE
from routing_app.engineio.wire import Packet as EnginePacket

logger = logging.getLogger(__name__)

CONNECT_SECONDS: Final = 45.0
"""How long a client may stay in no namespace (the original's `connectTimeout`)."""
ATTACHMENT_SECONDS: Final = 60.0
"""How long the attachments of a packet may take."""
ATTACHMENTS_LATE: Final = replace(MALFORMED, reason="the attachments of a packet did not come")


class _Incomplete:
    """A packet whose attachments have not all come; one that is refused waits for its own, too."""

    def __init__(
        self, packet: wire.Packet, size: int, overdue: asyncio.TimerHandle, refused: bool = False
    ) -> None:
        self.packet = packet
        self.refused = refused
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
        return replace(self.packet, size=self._size)


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
        self._limited = worker.rate_limits.of(protocol)
        self._hooked = worker.hooks.of(protocol)
        self._counted_as = Passing(session.peer, NOBODY)
        """The client in limits of everything, with the credential of the namespace that it entered last."""
        self._counted = metrics.RECEIVED.labels(protocol)
        self._handled = metrics.HANDLE.labels(protocol)
        self._number = 0
        self._noted: str | None = None
        """While frames are traced: the namespace of the last packet."""
        self._timer: asyncio.TimerHandle | None = None

    async def opened(self) -> None:
        """Clients before protocol 5 are put into the main namespace; later ones have to name theirs."""
        if self._session.version == 3:
            await self._connect(wire.Packet(wire.CONNECT))
        else:
            self._wait_for_connect()

    async def received(self, message: EnginePacket) -> None:
        """Take one Socket.IO packet; a message that is not one ends the session, as in the original."""
        if self._worker.hub.traces is not None:
            self._note(message)
        self._counted.inc()
        self._number += 1
        if (self._number - 1) % metrics.TIMED:
            await self._read(message)
            return
        begun = monotonic()
        await self._read(message)
        self._handled.observe(monotonic() - begun)

    def _note(self, message: EnginePacket) -> None:
        """Show a packet to the traces of its socket; to those of all sockets where that is not known."""
        name = None if isinstance(message, bytes) else wire.namespace_of(message)
        if name is not None:
            self._noted = name
        elif isinstance(message, bytes):  # the attachment of the packet before
            name = self._noted
        for socket in list(self._sockets.values()):
            if name in (socket.name, None):
                socket.note(message)

    async def _read(self, message: EnginePacket) -> None:
        if self._incomplete is not None:
            await self._complete(self._incomplete, message)
            return
        if isinstance(message, bytes):  # an attachment of no packet
            self._refuse(Refusal.BINARY, MALFORMED)
            return
        try:
            packet = wire.decode(message)
        except wire.SocketWireError:
            self._refuse(Refusal.MALFORMED, MALFORMED)
            return
        refused = self._limited.frame is not None and await self._is_over(self._limited.frame, packet)
        if packet.attachments:
            loop = asyncio.get_running_loop()
            overdue = loop.call_later(
                self._attachment_seconds, self._refuse, Refusal.MALFORMED, ATTACHMENTS_LATE
            )
            self._incomplete = _Incomplete(packet, len(message), overdue, refused)
        elif not refused:
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
                refused, self._incomplete = incomplete.refused, None
                if not refused:
                    await self._take(packet)

    async def _is_over(self, limits: LimitSet, packet: wire.Packet) -> bool:
        """Count a packet, and wait if it has to: True when it is refused. A client may always leave."""
        if packet.type == wire.DISCONNECT:
            return False
        excess = await settled(self._worker.rate_limits.count(limits, self._counted_as))
        if excess is None:
            return not self._session.open
        self._refuse_excess(excess, packet)
        return True

    def _refuse_excess(self, excess: Excess, packet: wire.Packet) -> None:
        """Say it where a client waits for an answer: at CONNECT."""
        metrics.REFUSED.labels(self._protocol, Refusal.RATE).inc()
        if excess.then is Then.CLOSE:
            self._session.close(LIMITED)
        elif packet.type == wire.CONNECT and self._session.open:
            reason = f"too many, try again in {excess.seconds:.1f} s"
            self._send(wire.refuse(packet.namespace, reason, self._session.version))

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
        begun = monotonic()
        name = packet.namespace
        namespace = self._namespaces.get(name)
        if namespace is None and name != wire.MAIN:
            metrics.REFUSED.labels(self._protocol, Refusal.PATH).inc()
            self._send(wire.refuse(name, "Invalid namespace", self._session.version))
            return
        if name in self._sockets or (grant := await self._identify(packet)) is None:
            return
        if name in self._sockets or not self._session.open:
            return
        self._stop_waiting()
        if namespace is None:
            self._enter_main()
            return
        payload = packet.data or {}
        if self._recovery is None or not await self._come_back(self._recovery, name, payload, grant):
            await self._open(name, namespace, packet, grant)
            if name in self._sockets:
                metrics.HANDSHAKE.labels(self._protocol).observe(monotonic() - begun)

    async def _identify(self, packet: wire.Packet) -> Grant | None:
        """The grant with which a client enters a namespace; None when it is refused, and told so."""
        presented = presented_by(packet, self._session, credentials.needs_credential(self._protocol))
        try:
            return await credentials.grant_of(self._worker, self._protocol, presented)
        except Refused as refused:
            self._tell_refused(packet.namespace, refused)
            return None

    async def _come_back(
        self, recovery: Recovery, name: str, payload: Mapping[str, Any], grant: Grant
    ) -> bool:
        """Go on with the session that a CONNECT names; False when that cannot be."""
        socket = await recovery.resume(name, payload, self._session, self._forget, grant)
        if socket is None:
            return not self._session.open
        if self._session.open and name not in self._sockets:
            self._sockets[name] = socket
        else:  # the client has gone, or connected once more, while another worker was asked
            socket.lost(self._session.closed_with or NORMAL)
        return True

    async def _open(self, name: str, namespace: Namespace, packet: wire.Packet, grant: Grant) -> None:
        self._counted_as.grant = grant
        if (connect := self._limited.connect) is not None:
            excess = await self._worker.rate_limits.excess(connect, self._counted_as)
            if excess is not None:
                self._refuse_excess(excess, packet)
                self._wait_for_connect()
            if excess is not None or name in self._sockets or not self._session.open:
                return
        id, given = new_id(self._worker.id), NOTHING_GIVEN
        if (hooks := self._hooked.connect) is not None:
            try:
                given = await self._ask_to_connect(hooks, id, packet, grant)
            except Refused as refused:
                self._tell_refused(name, refused)
                return
            if name in self._sockets or not self._session.open:
                return
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
            grant,
            id,
            given,
        )
        try:
            await socket.open()
        except (Refused, *BACKING_SERVICES) as error:
            self._tell_refused(name, admission.refused_by(self._protocol, error))
            socket.close()
            self._wait_for_connect()  # until now the client was in this namespace

    async def _ask_to_connect(self, hooks: HookSet, id: str, packet: wire.Packet, grant: Grant) -> Given:
        """What hooks give the client. Raises Refused."""
        session = self._session
        question = Question(self._protocol, id, str(session.peer), grant.identity, session.handshake)
        question.message = without_credentials(packet.data or {})
        question.kinds = kinds_of(self._worker.protocols[self._protocol])
        return await arriving.ask(self._worker.hooks, hooks, question)

    def _tell_refused(self, name: str, refused: Refused) -> None:
        """A client that shall stay away stays in no namespace; the session of another ends."""
        metrics.REFUSED.labels(self._protocol, refused.reason).inc()
        if refused.close.advice is Advice.STAY_AWAY:
            self._send(wire.refuse(name, refused.close.reason, self._session.version))
            self._wait_for_connect()
        else:
            self._session.close(refused.close)

    def _enter_main(self) -> None:
        """The main namespace exists for every client, also where it offers nothing."""
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
            if socket.revoked and not self._sockets:
                self._session.close(REVOKED)

    def _wait_for_connect(self) -> None:
        """End the session unless the client enters a namespace in time."""
        if self._timer is None and not self._sockets and self._session.open:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._connect_seconds, self._session.close, SILENT)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, reason: Refusal, close: Close) -> None:
        metrics.REFUSED.labels(self._protocol, reason).inc()
        logger.info("%s: a session ends: %s", self._protocol, close.reason)
        self._session.close(close)
