"""The base socket: origin, seats, limits, dispatch, and one clean-up for every way out.

A line subclasses `Consumer`, names its `line` and `encoder`, and overrides `admit`, `opened`, `received` and
`closed`. It has no channel-layer channel of its own and no thread hop per message: the hub speaks for it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, ClassVar, Final

from channels.consumer import AsyncConsumer
from django.conf import settings

from routing_app.core import metrics, origin
from routing_app.core.codes import (
    CROWDED,
    INTERNAL,
    NORMAL,
    ORIGIN,
    RESTART,
    TOO_BIG,
    UNAVAILABLE,
    UNSUPPORTED_DATA,
    Close,
    Refusal,
)
from routing_app.core.connection import Connection, Encoder, Peer, State, new_id
from routing_app.core.limits import TokenBucket
from routing_app.core.relay import LayerUnavailable
from routing_app.core.worker import Worker, current_worker
from routing_app.core.writer import EXTENSION, AsgiWriter, DirectWriter, Writer

logger = logging.getLogger(__name__)

CLOSE_WAIT_SECONDS: Final = 10.0
"""How long the other end may take to answer our close before the consumer ends all the same."""


class Refused(Exception):
    """Raised by `admit`: the handshake is answered with 403, `close` says why in log and metrics."""

    def __init__(self, close: Close, reason: Refusal = Refusal.FORBIDDEN) -> None:
        super().__init__(close.reason)
        self.close = close
        self.reason = reason


class Consumer(AsyncConsumer):
    """One socket, from handshake to clean-up."""

    line: ClassVar[str]
    encoder: ClassVar[Encoder]

    scope: dict[str, Any]  # type: ignore[assignment]  # the stubs list keys that servers need not send
    worker: Worker
    connection: Connection
    peer: Peer
    left: tuple[int, str] = (1006, "")
    """Code and reason with which the other end has left."""

    # --- what a line overrides ---------------------------------------------------------------------------

    async def admit(self) -> str | None:
        """Before the handshake is answered: raise Refused, or return the subprotocol to accept, if any."""
        return None

    async def opened(self) -> None:
        """Before the accept goes out: subscribe, say who this is. What is sent here follows the accept."""

    async def received(self, text: str) -> None:
        """A text frame. The next one is read when this returns."""

    async def received_bytes(self, data: bytes) -> None:
        """A binary frame; refused with 1003 unless the line takes them."""
        self.refuse(Refusal.BINARY)
        self.connection.close(UNSUPPORTED_DATA)

    def closed(self) -> None:
        """The connection has ended, whoever ended it. Called once, and must not wait."""

    # --- what a line calls -------------------------------------------------------------------------------

    def refuse(self, reason: Refusal) -> None:
        """Count something that this client sent and did not get."""
        metrics.REFUSED.labels(self.line, reason).inc()

    def header(self, name: bytes) -> str | None:
        """A request header, the last one of that name; None when it is missing."""
        values = [value for key, value in self.scope["headers"] if key == name]
        return values[-1].decode("latin-1") if values else None

    # --- the life of a socket ----------------------------------------------------------------------------

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one ASGI websocket scope."""
        self.scope = scope
        self.worker = current_worker()
        self._task = asyncio.current_task()
        self._give_up: asyncio.TimerHandle | None = None
        if (await receive())["type"] != "websocket.connect":
            return
        client = scope.get("client") or ("", 0)
        self.peer = Peer(client[0] or "", client[1] or 0)
        try:
            self._check_origin()
            if not self.worker.seats.take(self.peer.host):
                raise Refused(CROWDED, Refusal.CROWDED)
        except Refused as refused:
            await self._reject(send, refused)
            return
        try:
            await self._admit_and_serve(receive, send)
        finally:
            self.worker.seats.leave(self.peer.host)

    async def _admit_and_serve(self, receive: Any, send: Any) -> None:
        try:
            if self.worker.draining:
                raise Refused(RESTART, Refusal.UNAVAILABLE)
            await self.worker.start()
            subprotocol = await self.admit()
        except (Refused, LayerUnavailable) as error:
            await self._reject(send, _refused(error))
            return
        await self._serve(receive, send, subprotocol)

    async def _serve(self, receive: Any, send: Any, subprotocol: str | None) -> None:
        self.connection = self._connect(send)
        try:
            try:
                await self.opened()
            except (Refused, LayerUnavailable) as error:
                self.connection.gone()
                await self._reject(send, _refused(error))
                return
            if self.connection.close_sent is not None:
                await self._reject(send, Refused(self.connection.close_sent))
                return
            await send({"type": "websocket.accept", "subprotocol": subprotocol})
            metrics.OPENED.labels(self.line).inc()
            self.connection.outbox.uncork()
            await self._read(receive)
        except Exception:
            self.refuse(Refusal.EXCEPTION)
            logger.exception("%s: a handler failed on %s", self.line, self.connection.id)
            self.connection.close(INTERNAL)
        finally:
            self._clean_up()

    def _connect(self, send: Any) -> Connection:
        worker = self.worker
        connection = Connection(
            new_id(worker.id),
            self.line,
            self._writer(send),
            worker.flusher,
            self.encoder,
            self.peer,
            worker.limits,
        )
        connection.outbox.cork()
        connection.on_close = self._closing
        worker.hub.add(connection)
        metrics.CONNECTIONS.labels(self.line).inc()
        return connection

    def _writer(self, send: Any) -> Writer:
        extension = (self.scope.get("extensions") or {}).get(EXTENSION)
        return DirectWriter(extension) if extension is not None else AsgiWriter(send)

    async def _read(self, receive: Any) -> None:
        bucket = TokenBucket(settings.MESSAGE_RATE, settings.MESSAGE_BURST)
        counted = metrics.RECEIVED.labels(self.line)
        connection, limit = self.connection, settings.MAX_FRAME_BYTES
        while True:
            message = await receive()
            if message["type"] != "websocket.receive":
                self.left = message.get("code") or 1006, message.get("reason") or ""
                return
            if connection.state is not State.OPEN:
                continue
            counted.inc()
            if pause := bucket.take():
                await asyncio.sleep(pause)
            await self._dispatch(message, limit)

    async def _dispatch(self, message: dict[str, Any], limit: int) -> None:
        text = message.get("text")
        if text is None:
            data = message.get("bytes") or b""
            if len(data) > limit:
                self._too_big()
            else:
                await self.received_bytes(data)
        elif len(text) > limit or (len(text) * 4 > limit and len(text.encode()) > limit):
            self._too_big()
        else:
            await self.received(text)

    def _too_big(self) -> None:
        self.refuse(Refusal.TOO_BIG)
        self.connection.close(TOO_BIG)

    def _check_origin(self) -> None:
        patterns = settings.ORIGINS[self.line]
        if not origin.allowed(self.header(b"origin"), self.header(b"host") or "", patterns):
            raise Refused(ORIGIN, Refusal.ORIGIN)

    async def _reject(self, send: Any, refused: Refused) -> None:
        self.refuse(refused.reason)
        hint = f"; {self.line.upper()}_ORIGINS would admit it" if refused.close is ORIGIN else ""
        logger.info("%s: handshake from %s refused: %s%s", self.line, self.peer, refused.close.reason, hint)
        await send({"type": "websocket.close", "code": refused.close.anywhere})

    def _closing(self, close: Close) -> None:
        """Our end has closed; the other end gets some time to answer, then the task ends."""
        if self._task is not None and self._give_up is None:
            self._give_up = asyncio.get_running_loop().call_later(CLOSE_WAIT_SECONDS, self._task.cancel)

    def _clean_up(self) -> None:
        connection, worker = self.connection, self.worker
        close = connection.close_sent or NORMAL
        if self._give_up is not None:
            self._give_up.cancel()
        connection.gone()
        worker.hub.drop(connection)
        worker.presence.leave(connection)
        metrics.CONNECTIONS.labels(self.line).dec()
        metrics.CLOSED.labels(self.line, close.name).inc()
        self.closed()


def _refused(error: Refused | LayerUnavailable) -> Refused:
    return error if isinstance(error, Refused) else Refused(UNAVAILABLE, Refusal.UNAVAILABLE)
