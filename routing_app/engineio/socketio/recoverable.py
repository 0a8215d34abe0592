"""A client in a namespace whose session outlives its transport for a while (Socket.IO 4.6, connection state
recovery): it stays a member, and what it misses is kept.

Facts: the client sends `pid` and `offset` with CONNECT once it has them, takes the last argument of an event
for the offset where that is a string, and has recovered when the answer's `pid` is its own (socket.io-client
4.6 to 4.8, `lib/socket.ts`).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from routing_app.core import metrics
from routing_app.core.access.grants import Grant
from routing_app.core.codes import GAP, NORMAL, SILENT, SLOW, TAKEN_OVER, UNAVAILABLE, Close, Loss
from routing_app.core.delivery.connection import NOTHING_GIVEN, ConnectionState, Encoder, Given, Peer
from routing_app.core.delivery.frame import Frame
from routing_app.core.worker import Worker
from routing_app.engineio.frames import Form
from routing_app.engineio.session import EngineSession
from routing_app.engineio.socketio import wire
from routing_app.engineio.socketio.carrier import Carrier
from routing_app.engineio.socketio.keeping import KeepingWriter
from routing_app.engineio.socketio.kept import ABSENT, KeptEvents
from routing_app.engineio.socketio.socket import ClientSocket, Forget, Namespace, NamespaceSocket
from routing_app.engineio.wire import MESSAGE, Packet

if TYPE_CHECKING:
    from routing_app.engineio.socketio.recovery import Recovery

RECOVERABLE: Final = {close.name for close in (NORMAL, SILENT, TAKEN_OVER, SLOW, GAP, UNAVAILABLE)}
"""Ends of an Engine.IO session after which its sockets wait, those that did not cause it."""


class Waiting:
    """Stands for a client that is away (`carrier.Carrier`): what is no event is dropped."""

    form = Form(4, text_only=False)
    writable = False

    def __init__(self, close: Close, kept: KeptEvents, give_up: Callable[[], None]) -> None:
        self.closed_with: Close | None = close
        self.missed_from = kept.number
        """The last event before it went away."""
        self._kept = kept
        self._give_up = give_up

    def forget(self) -> None:
        """The socket has ended, and is let go."""
        self._give_up = lambda: None

    def send(self, packet: Packet) -> None:
        """Nothing."""

    def write(self, frames: Sequence[Frame]) -> None:
        """The events are kept already. Once one is not kept any more, there is nothing to come back to."""
        if not self._kept.holds_after(self.missed_from):
            self._give_up()

    def held_bytes(self) -> int:
        """0: kept events have a bound of their own."""
        return 0

    def held_frames(self) -> int:
        """1, so that the connection is not idle: what may be dropped is."""
        return 1

    def close(self, close: Close) -> None:
        """Nothing: the socket ends by itself."""

    def abort(self, close: Close) -> None:
        """The same."""


class RecoverableSocket(NamespaceSocket):
    """A socket of protocol 5 that waits for its client."""

    writer: KeepingWriter

    def __init__(
        self,
        recovery: Recovery,
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
        self.pid = worker.id + secrets.token_urlsafe(18)
        """The client's secret. It begins with the id of the worker that has the session."""
        self._recovery = recovery
        self._turn = asyncio.Lock()
        super().__init__(session, worker, protocol, name, namespace, payload, query, forget, grant, id, given)

    def _encoder(self, namespace: Namespace) -> Encoder:
        return self._recovery.encoder(self.name, namespace.encoder)

    def _new_writer(self) -> KeepingWriter:
        bound = self.worker.limits.beside(self.session.options.max_payload).outbox_bytes
        kept = KeptEvents(bound, self.payload.get("offset", ABSENT))
        return KeepingWriter(self.session, self.name, self.close, kept)

    def _connect(self) -> str:
        return wire.connect(self.name, self.sid, self.pid)

    @property
    def waits(self) -> bool:
        """True while its client is away."""
        return isinstance(self.writer.carrier, Waiting)

    def emit(self, event: str, *arguments: Any) -> None:
        """Send one event, with its offset."""
        super().emit(event, *arguments, self._recovery.offsets.next())

    async def received(self, packet: wire.Packet) -> None:
        """Take an EVENT or an ACK. One that came by the old transport may still be under way."""
        if packet.type == wire.EVENT:
            async with self._turn:
                await super().received(packet)
        else:
            await super().received(packet)

    def lost(self, close: Close) -> bool:
        """The client has gone without a word: wait for it, unless this end has closed it."""
        if not self._open or self.waits:
            return self._open
        if (
            self.connection.state is not ConnectionState.OPEN
            or close.name not in RECOVERABLE
            or not self._recovery.wait(self)
        ):
            self.close()
            return False
        self._give_up_asking(close)
        self.writer.wait(Waiting(close, self.writer.kept, self._expire_soon))
        self._forget(self)
        return True

    def resume(self, carrier: Carrier, peer: Peer, forget: Forget, offset: Any, grant: Grant) -> bool:
        """The client is back, over another carrier; False when it cannot have all: then the session ends.

        It is in rooms, and has missed messages, by the grant that it had: one that gives anything else does
        not bring it back, and the session waits on.
        """
        connection = self.connection
        if not self._open or connection.state is not ConnectionState.OPEN:
            return False
        if not connection.grant.same_rights(grant):
            return False
        connection.outbox.flush()  # what waits is kept first, or ends a connection that is too slow
        position = self.writer.kept.position(offset)
        if position is None or connection.state is not ConnectionState.OPEN:
            connection.close(TAKEN_OVER)
            return False
        old = self.writer.carrier
        self._give_up_asking(TAKEN_OVER)
        self._forget(self)
        self._forget = forget
        self._recovery.stop_waiting(self)
        connection.peer = peer
        self._hold(grant)
        self.worker.revocations.look_at(connection)
        self.writer.resume(carrier, MESSAGE + self._connect(), position)
        old.close(TAKEN_OVER)
        return True

    def expire(self) -> None:
        """The client has not come back in time."""
        carrier = self.writer.carrier
        if self._open and isinstance(carrier, Waiting):
            metrics.LOST.labels(Loss.CLOSED).inc(self.writer.kept.number - carrier.missed_from)
            self.close()

    def _expire_soon(self) -> None:
        """In a turn of its own: the hub may be going through the connections of an address."""
        asyncio.get_running_loop().call_soon(self.expire)

    def close(self) -> None:
        """The session has ended for good."""
        if self._open:
            super().close()
            self.writer.stop()
            if isinstance(carrier := self.writer.carrier, Waiting):
                carrier.forget()
            self._recovery.forget(self)


def no_session(socket: ClientSocket) -> None:
    """The Forget of a socket whose session is elsewhere."""
