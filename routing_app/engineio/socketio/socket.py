"""One client in one namespace: a core Connection whose frames go through the Engine.IO session."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from routing_app.core import metrics
from routing_app.core.access import admission
from routing_app.core.access.admission import Refused
from routing_app.core.access.grants import Grant
from routing_app.core.askable import ClientGone, TooManyAsked
from routing_app.core.codes import NORMAL, REVOKED, Close, Refusal
from routing_app.core.delivery.connection import (
    NOTHING_GIVEN,
    Connection,
    ConnectionState,
    Encoder,
    FrameGroup,
    Given,
    new_id,
)
from routing_app.core.delivery.frame import Frame
from routing_app.core.delivery.writer import Writer
from routing_app.core.log_context import CONNECTION
from routing_app.core.worker import Worker
from routing_app.engineio.frames import Form, data_frame
from routing_app.engineio.session import EngineSession
from routing_app.engineio.socketio import wire
from routing_app.engineio.socketio.carrier import NamespaceWriter
from routing_app.engineio.wire import MESSAGE, Packet

MAX_ASKED: Final = 100
"""Events of the server that may wait for the ack of one client."""

Ack = Callable[..., None]
"""Answers an event that asked for it; its arguments become the ack's."""


class NamespaceHandler(Protocol):
    """The behaviour of a namespace, one for each socket."""

    async def opened(self) -> None:
        """After CONNECT was answered."""

    async def received(self, name: Any, arguments: list[Any], ack: Ack) -> None:
        """An event. The next packet of the session is read when this returns."""

    async def received_binary(self, name: Any, arguments: list[Any], ack: Ack) -> None:
        """The same with attachments: `bytes` in the places where they were."""

    def grant_changed(self) -> None:
        """The credential of the client allows more or less than before."""

    def closed(self) -> None:
        """The socket has ended, by either side. Called once, and must not wait."""


class Namespace(Protocol):
    """How a namespace is offered."""

    @property
    def encoder(self) -> Encoder:
        """Turns publications into frames of this namespace."""

    def handler(self, socket: NamespaceSocket) -> NamespaceHandler:
        """The handler of a socket that connects."""


class AttachedPacket(FrameGroup):
    """A packet with binary attachments, for any number of sockets of a namespace."""

    __slots__ = ("_forms", "_text", "packet")

    def __init__(self, packet: wire.Attached) -> None:
        self.packet = packet
        self._text = Frame(MESSAGE + packet.text)
        self._forms: dict[Form, list[Frame]] = {}

    def frames(self, writer: Writer) -> Sequence[Frame]:
        """The packet and its attachments as the writer's client reads them."""
        assert isinstance(writer, NamespaceWriter)
        form = writer.form
        if form not in self._forms:
            self._forms[form] = [self._text, *(data_frame(form, data) for data in self.packet.attachments)]
        return self._forms[form]


class ClientSocket(Protocol):
    """A namespace as the session of its client knows it: of this process, or of another worker."""

    @property
    def name(self) -> str:
        """The namespace."""

    @property
    def revoked(self) -> bool:
        """See NamespaceSocket.revoked."""

    def note(self, message: Packet) -> None:
        """See NamespaceSocket.note."""

    async def received(self, packet: wire.Packet) -> None:
        """See NamespaceSocket.received."""

    def flush(self) -> None:
        """See NamespaceSocket.flush."""

    def lost(self, close: Close) -> bool:
        """See NamespaceSocket.lost."""

    def close(self) -> None:
        """The client has left the namespace."""


Forget = Callable[[ClientSocket], None]
"""Has a session forget a socket of its."""


class NamespaceSocket:
    """Sends to, and knows, one client in one namespace."""

    def __init__(
        self,
        session: EngineSession,
        worker: Worker,
        protocol: str,
        name: str,
        namespace: Namespace,
        payload: Mapping[str, Any],
        query: Mapping[str, str],
        forget: Forget,
        grant: Grant,
        id: str = "",
        given: Given = NOTHING_GIVEN,
    ) -> None:
        """`id`: that of the connection, where it is known already; `given`: by a hook."""
        self.session = session
        self.worker = worker
        self.name = name
        self.payload = payload
        """The payload of CONNECT (protocol 5)."""
        self.query = query
        """Of the namespace in CONNECT (older protocols)."""
        self._forget = forget
        id = id or new_id(worker.id)
        self.writer = self._new_writer()
        self.connection = Connection(
            id,
            protocol,
            self.writer,
            worker.flusher,
            self._encoder(namespace),
            session.peer,
            worker.limits.beside(session.options.max_payload),
        )
        self.connection.grant = grant
        self.connection.handshake, self.connection.given = session.handshake, given
        self.connection.identity = given.identity
        self.connection.own_identity = given.counted_as(protocol)
        old_sid = session.sid if name == wire.MAIN else f"{name}#{session.sid}"
        self.sid = id if session.version == 4 else old_sid
        """The id that other clients may see. Clients 2.x compute the old form from the engine's sid."""
        self._handler = namespace.handler(self)
        self._open = True
        self._entered = False
        """True once CONNECT is answered."""
        self._numbers = itertools.count(1)
        self._asked: dict[str, asyncio.Future[list[Any]]] = {}
        """Events that wait for their acks, by id."""

    def _encoder(self, namespace: Namespace) -> Encoder:
        return namespace.encoder

    def _new_writer(self) -> NamespaceWriter:
        return NamespaceWriter(self.session, self.name, self.close)

    async def open(self) -> None:
        """Answer CONNECT, then let the handler begin. Raises Refused for a client that is revoked, and what
        the database raises; then `close` has to follow.
        """
        CONNECTION.set(self.connection.id)
        admission.arrived(self.worker, self.connection)
        if self.worker.revocations:
            await self._check_revoked()
        if not self._open:  # the session has ended
            return
        self._entered = True
        self._hold(self.connection.grant)
        metrics.OPENED.labels(self.connection.protocol).inc()
        self._send(self._connect())
        await self._handler.opened()
        addresses = self.connection.given.addresses
        if addresses and self.connection.state is ConnectionState.OPEN:
            await self.worker.hub.subscribe(self.connection, *addresses)
            self.worker.presence.change(self.connection)

    def _hold(self, grant: Grant) -> None:
        self.worker.grants.hold(self.connection, grant, self._handler.grant_changed)

    async def _check_revoked(self) -> None:
        connection = self.connection
        connection.outbox.cork()  # a close that comes now is the answer to CONNECT
        await admission.check_connection(self.worker, connection)
        if connection.close_sent is not None:
            raise Refused(connection.close_sent, Refusal.REVOKED)
        connection.outbox.uncork()

    def _connect(self) -> str:
        return wire.connect(self.name, self.sid if self.session.version == 4 else None)

    def note(self, message: Packet) -> None:
        """Show traces what has come for this socket, before anything is done with it."""
        if (follower := self.connection.follower) is not None:
            key, data = ("bytes", message) if isinstance(message, bytes) else ("text", MESSAGE + message)
            follower.received({"type": "websocket.receive", key: data})

    async def received(self, packet: wire.Packet) -> None:
        """Take an EVENT or an ACK; an ack that nobody waits for has no effect."""
        if not self._open:  # it has ended while a packet before this one was handled
            return
        CONNECTION.set(self.connection.id)
        self.connection.received += 1
        self.connection.received_bytes += packet.size
        if packet.type == wire.EVENT:
            name, *arguments = packet.data
            take = self._handler.received_binary if packet.attachments else self._handler.received
            await take(name, arguments, self._ack(packet.id))
        elif packet.type == wire.ACK:
            answer = self._asked.get(packet.id or "")
            if answer is not None and not answer.done():
                answer.set_result(packet.data)

    def emit(self, event: str, *arguments: Any) -> None:
        """Send one event to this client; `bytes` anywhere in it go as attachments."""
        self._send(wire.event(self.name, event, *arguments))

    async def emit_with_ack(self, event: str, *arguments: Any, timeout: float | None) -> list[Any]:
        """Send one event and wait for its ack; the ack's arguments, with `bytes` for attachments.

        Raises TimeoutError after so many seconds, ClientGone, and TooManyAsked.
        """
        if not self._open or not self.writer.carrier.writable:
            raise ClientGone(self._ended_with())
        if len(self._asked) >= MAX_ASKED:
            raise TooManyAsked(f"{MAX_ASKED} requests wait for this client")
        id = str(next(self._numbers))
        answer: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._asked[id] = answer
        try:
            self._send(wire.event(self.name, event, *arguments, id=id))
            async with asyncio.timeout(timeout):
                return await answer
        finally:
            del self._asked[id]

    def emit_volatile(self, event: str, *arguments: Any) -> bool:
        """Send one event if nothing else waits for this client, else drop it; True when it was sent."""
        if not self._open or not self.connection.idle:
            return False
        self.emit(event, *arguments)
        return True

    def _ended_with(self) -> Close:
        return self.connection.close_sent or self.writer.carrier.closed_with or NORMAL

    @property
    def revoked(self) -> bool:
        """True when it was ended by a revocation."""
        return self._entered and self.connection.close_sent is REVOKED

    def lost(self, close: Close) -> bool:
        """The session that carries it has ended; True when the client may come back to this very socket."""
        self.close()
        return False

    def close(self) -> None:
        """The socket has ended: forget it everywhere. A second call does nothing."""
        if not self._open:
            return
        self._open = False
        connection = self.connection
        close = self._ended_with()
        self._give_up_asking(close)
        if self.writer.carrier.writable:
            connection.outbox.flush()
        admission.departed(self.worker, connection, close, self._entered)
        self._forget(self)
        if self._entered:
            self._handler.closed()
        # Both have this socket: each would keep the other.
        del self._handler
        self.writer.forget()

    def flush(self) -> None:
        """Write what waits."""
        self.connection.outbox.flush()

    def _give_up_asking(self, close: Close) -> None:
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(ClientGone(close))

    def _ack(self, id: str | None) -> Ack:
        def ack(*arguments: Any) -> None:
            if id is not None:
                self._send(wire.ack(self.name, id, *arguments))

        return ack

    def _send(self, packet: wire.Written) -> None:
        if isinstance(packet, str):
            self.connection.send(MESSAGE + packet)
        else:
            self.connection.send_group(AttachedPacket(packet))
