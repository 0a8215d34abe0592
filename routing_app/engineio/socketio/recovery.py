"""The sessions of one worker that clients may come back to, and the way to those of other workers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from django.conf import settings

from routing_app.core import metrics
from routing_app.core.access.grants import Grant
from routing_app.core.access.seats import Seats
from routing_app.core.address import worker_of
from routing_app.core.delivery.connection import Encoder, FrameGroup
from routing_app.core.delivery.frame import Frame
from routing_app.core.delivery.publication import Publication
from routing_app.core.worker import Worker
from routing_app.engineio.session import EngineOptions, EngineSession
from routing_app.engineio.socketio import wire
from routing_app.engineio.socketio.elsewhere import Elsewhere
from routing_app.engineio.socketio.kept import ABSENT, Offsets
from routing_app.engineio.socketio.recoverable import RecoverableSocket
from routing_app.engineio.socketio.socket import AttachedPacket, ClientSocket, Forget

SWEEP_SECONDS: Final = 5.0
"""Between two looks for events that no client can ask for any more."""
TURN: Final = 500
"""Sessions looked at before others get a turn of the loop."""


class OffsetEncoder:
    """Adds an offset, as a last argument, to each event that another encoder makes."""

    def __init__(self, encoder: Encoder, offsets: Offsets) -> None:
        self.per_address = encoder.per_address
        self._encoder = encoder
        self._offsets = offsets

    def __call__(self, publication: Publication, address: str) -> str | Frame | FrameGroup | None:
        """See Encoder."""
        encoded = self._encoder(publication, address)
        if isinstance(encoded, str | Frame):
            return self._with_offset(encoded if isinstance(encoded, str) else encoded.text)
        if isinstance(encoded, AttachedPacket):
            text, attachments = encoded.packet
            return AttachedPacket(wire.Attached(self._with_offset(text), attachments))
        return encoded

    def _with_offset(self, packet: str) -> str:
        return f'{packet[:-1]},"{self._offsets.next()}"]'


class Recovery:
    """Sockets by `pid`; those whose client is away take a seat, as many as connections may be open.

    `seconds`: how long a client may be away.
    """

    def __init__(self, worker: Worker, protocol: str, seconds: float, options: EngineOptions) -> None:
        self._worker = worker
        self._seconds = seconds
        # An event that is older has come: since then a ping was sent and answered, or the session has ended
        # and its time is over.
        self._age = seconds + options.ping_interval + 2 * options.ping_timeout[4]
        self.offsets = Offsets()
        self._encoders: dict[str, OffsetEncoder] = {}
        self._sockets: dict[str, RecoverableSocket] = {}
        self._waiting: dict[RecoverableSocket, tuple[asyncio.TimerHandle, str]] = {}
        self._seats = Seats(settings.MAX_CONNECTIONS, settings.MAX_CONNECTIONS_PER_PEER)
        self._elsewhere = Elsewhere(worker, protocol, self._sockets)
        self._waits = metrics.WAITING.labels(protocol)
        self._recovered = metrics.RECOVERIES.labels(protocol, "recovered")
        self._not_recovered = metrics.RECOVERIES.labels(protocol, "new")

    def new(self, *arguments: Any) -> RecoverableSocket:
        """A new session; the arguments are those of NamespaceSocket."""
        socket = RecoverableSocket(self, *arguments)
        self._sockets[socket.pid] = socket
        return socket

    def encoder(self, name: str, encoder: Encoder) -> Encoder:
        """The encoder of a namespace, with offsets: one for all its sockets, so that they share frames."""
        found = self._encoders.get(name)
        if found is None:
            found = self._encoders[name] = OffsetEncoder(encoder, self.offsets)
        return found

    async def resume(
        self, name: str, payload: Mapping[str, Any], session: EngineSession, forget: Forget, grant: Grant
    ) -> ClientSocket | None:
        """The session that a CONNECT names, once its answer and what was missed are on their way.

        None where there is none, or where not all of what was missed can be had.
        """
        pid = payload.get("pid")
        if not isinstance(pid, str):
            return None
        socket: ClientSocket | None = None
        offset = payload.get("offset", ABSENT)
        owner = worker_of(pid)
        if owner == self._worker.id:
            mine = self._sockets.get(pid)
            if (
                mine is not None
                and mine.name == name
                and mine.resume(session, session.peer, forget, offset, grant)
            ):
                socket = mine
        elif owner:
            socket = await self._elsewhere.resume(pid, name, offset, session, forget, grant)
        (self._not_recovered if socket is None else self._recovered).inc()
        return socket

    def wait(self, socket: RecoverableSocket) -> bool:
        """Keep a session whose client has gone; False when there is no room for it, or the worker stops."""
        host = socket.connection.peer.host
        if self._worker.draining or not self._seats.take(host):
            return False
        timer = asyncio.get_running_loop().call_later(self._seconds, socket.expire)
        self._waiting[socket] = timer, host
        self._waits.inc()
        return True

    def stop_waiting(self, socket: RecoverableSocket) -> None:
        """The client is back, or the session has ended."""
        if (waiting := self._waiting.pop(socket, None)) is not None:
            timer, host = waiting
            timer.cancel()
            self._seats.leave(host)
            self._waits.dec()

    def forget(self, socket: RecoverableSocket) -> None:
        """The session has ended."""
        self.stop_waiting(socket)
        self._sockets.pop(socket.pid, None)
        self._elsewhere.ended(socket)

    async def keep_sweeping(self) -> None:
        """Forget old events until the worker stops."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            for number, socket in enumerate(list(self._sockets.values()), 1):
                socket.writer.kept.sweep(loop.time(), self._age)
                if number % TURN == 0:
                    await asyncio.sleep(0)
