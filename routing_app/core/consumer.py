"""The base socket: origin, seats, limits, dispatch, and one clean-up for every way out.

A protocol subclasses `Consumer`, and overrides `admit`, `opened`, `received` and `closed`;
`as_asgi(protocol=name)` makes an application of it. It has no channel-layer channel of its own and no thread
hop per message: the hub speaks for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any, Final

from channels.consumer import AsyncConsumer
from django.conf import settings

from routing_app.core import metrics
from routing_app.core.access import admission, handshake
from routing_app.core.access.admission import Refused
from routing_app.core.access.grants import NOBODY, Grant
from routing_app.core.codes import (
    INVALID_TEXT,
    NORMAL,
    TOO_BIG,
    UNSUPPORTED_DATA,
    Close,
    Refusal,
)
from routing_app.core.delivery.connection import (
    NO_ENCODER,
    NOTHING_GIVEN,
    Connection,
    ConnectionState,
    Given,
    Limits,
    Peer,
    new_id,
)
from routing_app.core.delivery.writer import EXTENSION, MAX_MESSAGE, AsgiWriter, DirectWriter
from routing_app.core.hooks import arriving as asking
from routing_app.core.hooks.question import Question
from routing_app.core.hooks.table import HookSet, ProtocolHooks
from routing_app.core.log_context import CONNECTION
from routing_app.core.protocol import Protocol, kinds_of
from routing_app.core.rate_limits import arriving
from routing_app.core.rate_limits.arriving import OverLimit
from routing_app.core.rate_limits.limit import Excess, Passing
from routing_app.core.rate_limits.limits import Outcome, beyond, settled
from routing_app.core.rate_limits.table import ProtocolLimits
from routing_app.core.worker import Worker, current_worker

logger = logging.getLogger(__name__)

NOT_TAKEN: Final = {
    1007: (INVALID_TEXT, Refusal.MALFORMED),
    1009: (TOO_BIG, Refusal.TOO_BIG),
}
"""Codes with which a server ends a connection over a frame that it never shows the consumer."""
CLOSE_WAIT_SECONDS: Final = 10.0
"""Longest wait for the other end's answer to our close."""


class Consumer(AsyncConsumer):
    """One socket, from handshake to clean-up."""

    protocol: Protocol
    scope: dict[str, Any]  # type: ignore[assignment]  # the stubs list keys that servers need not send
    worker: Worker
    connection: Connection
    peer: Peer
    limited: ProtocolLimits
    """The rate limits of the protocol."""
    hooked: ProtocolHooks
    """The hooks of the protocol."""
    given: Given = NOTHING_GIVEN
    """What a hook has given: `opened` takes the identity, if there is one, in place of the protocol's."""
    grant: Grant = NOBODY
    """What the client's credential allows: `admit` sets it, and the connection has it from its start."""
    left: tuple[int, str] = (1006, "")
    """Code and reason with which the other end has left."""
    _patience: asyncio.Timeout

    def __init__(self, protocol: str) -> None:
        self.protocol_name = protocol

    @classmethod
    def as_asgi(cls, **arguments: Any) -> Any:
        """An ASGI application that serves each scope with a consumer of its own.

        Channels' is a coroutine that waits for the consumer's as long as a connection lives.
        """

        def application(scope: Any, receive: Any, send: Any) -> Awaitable[None]:
            return cls(**arguments)(scope, receive, send)

        application._asgi_single_callable = True  # type: ignore[attr-defined]  # for asgiref: not ASGI 2
        return application

    # --- what a protocol overrides -----------------------------------------------------------------------

    async def admit(self) -> str | None:
        """Before the handshake is answered: raise Refused, or return the subprotocol to accept.

        With None it is the first that the client offers: a browser fails a connection when none is chosen.
        """
        return None

    async def opened(self) -> None:
        """Subscribe and identify the connection, before the accept goes out; frames sent here follow it."""

    async def received(self, text: str) -> None:
        """A text frame. The next one is read when this returns."""

    async def received_bytes(self, data: bytes) -> None:
        """A binary frame; refused with 1003 unless the protocol takes them."""
        self.refuse(Refusal.BINARY)
        self.connection.close(UNSUPPORTED_DATA)

    def closed(self) -> None:
        """The connection has ended, by either end. Called once where `opened` was, and must not wait."""

    def max_message(self) -> int:
        """Bytes of the largest frame that it takes; a larger one is answered with 1009."""
        return int(settings.MAX_FRAME_BYTES)

    def limits(self) -> Limits:
        """Bounds of what waits for this client."""
        return self.worker.limits

    def own_identity(self) -> str:
        """After `admit`: the client in the protocol's own terms, as rate limits count it; empty: nobody.

        The name of the protocol stands before it.
        """
        return ""

    def subscribes_at_once(self) -> bool:
        """After `admit`: True when the handshake subscribes by itself to something that the client named."""
        return False

    async def over_limit(self, message: dict[str, Any], excess: Excess) -> None:
        """A frame is beyond a limit, and has been counted as refused: say so, where the protocol can."""

    # --- what a protocol calls ----------------------------------------------------------------------------

    def refuse(self, reason: Refusal) -> None:
        """Count something that this client sent and did not get."""
        metrics.REFUSED.labels(self.protocol_name, reason).inc()

    def header(self, name: bytes) -> str | None:
        """A request header, the last one of that name; None when it is missing."""
        return next(reversed(self.headers(name)), None)

    def headers(self, name: bytes) -> list[str]:
        """All request headers of that name."""
        return [value.decode("latin-1") for key, value in self.scope["headers"] if key == name]

    # --- the life of a socket ----------------------------------------------------------------------------

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one ASGI websocket scope."""
        self.scope = scope
        self.worker = current_worker()
        self.protocol = self.worker.protocols[self.protocol_name]
        self._began_to_open = self._accepted = False
        self._begun = monotonic()
        if (await receive())["type"] != "websocket.connect":  # the client has gone before its handshake
            return
        self.peer = admission.peer_of(scope)
        try:
            admission.check_origin(self.protocol_name, scope)
            await admission.enter(self.worker, self.peer)
        except Exception as error:
            await self._reject(send, admission.refused_by(self.protocol_name, error))
            return
        try:
            await self._admit_and_serve(receive, send)
        finally:
            self.worker.seats.leave(self.peer.host)

    async def _admit_and_serve(self, receive: Any, send: Any) -> None:
        self.limited = limits = self.worker.rate_limits.of(self.protocol_name)
        self.hooked = self.worker.hooks.of(self.protocol_name)
        self._id = new_id(self.worker.id)
        CONNECTION.set(self._id)
        try:
            if limits.arrive is not None:
                await arriving.check(self.worker.rate_limits, Passing(self.peer, NOBODY), limits.arrive)
            subprotocol = await self.admit() or handshake.first_offered(self.scope)
            if limits.connect is not None or limits.subscribe is not None:
                subscribe = limits.subscribe if self.subscribes_at_once() else None
                who = Passing(self.peer, self.grant, self.own_identity())
                await arriving.check(self.worker.rate_limits, who, limits.connect, subscribe)
            if self.hooked.connect is not None:
                await self._ask_to_connect(self.hooked.connect)
        except Exception as error:
            await self._reject(send, admission.refused_by(self.protocol_name, error))
            return
        self.connection = self._connect(send)
        try:
            async with asyncio.timeout(None) as self._patience:
                if await self._open(send, subprotocol):
                    await self._read(receive)
        except Exception as error:
            # Either a handler has failed, or the other end has not answered our close in time.
            if not self._patience.expired():
                refused = admission.refused_by(self.protocol_name, error)
                self.refuse(refused.reason)
                self.connection.on_close = None
                self.connection.close(refused.close)
        finally:  # also when the server cancels the task
            self._clean_up()

    async def _ask_to_connect(self, hooks: HookSet) -> None:
        identity = self.grant.identity or self.own_identity().partition(" ")[2]
        question = Question(self.protocol_name, self._id, str(self.peer), identity, self.scope)
        question.kinds = kinds_of(self.protocol)
        self.given = await asking.ask(self.worker.hooks, hooks, question)

    async def _open(self, send: Any, subprotocol: str | None) -> bool:
        """Answer the handshake; False when there is nobody to serve."""
        try:
            admission.check_draining(self.worker)  # the drain did not know this connection yet
            self._began_to_open = True
            await self.opened()
            if self.given.addresses:
                await self.worker.hub.subscribe(self.connection, *self.given.addresses)
                self.worker.presence.change(self.connection)
            await admission.check_connection(self.worker, self.connection)
            if self.connection.close_sent is not None:
                raise Refused(self.connection.close_sent)
        except Exception as error:
            self.connection.mark_closed()
            await self._reject(send, admission.refused_by(self.protocol_name, error))
            return False
        try:
            accept: dict[str, Any] = {"type": "websocket.accept", "subprotocol": subprotocol}
            if (limit := self.max_message()) != settings.MAX_FRAME_BYTES:  # a bound of the protocol's own
                accept[MAX_MESSAGE] = limit
            await send(accept)
        except OSError:  # the client did not wait
            return False
        self._accepted = True
        metrics.OPENED.labels(self.protocol_name).inc()
        metrics.HANDSHAKE.labels(self.protocol_name).observe(monotonic() - self._begun)
        self.connection.uncork()
        return True

    def _connect(self, send: Any) -> Connection:
        worker = self.worker
        extension = (self.scope.get("extensions") or {}).get(EXTENSION)
        connection = Connection(
            self._id,
            self.protocol_name,
            DirectWriter(extension) if extension is not None else AsgiWriter(send),
            worker.flusher,
            self.protocol.encoder or NO_ENCODER,
            self.peer,
            self.limits(),
        )
        if extension is not None:  # our server's: see its TransportWriter
            extension.around_reads = partial(worker.flusher.read, connection.outbox)
        connection.handshake, connection.given = self.scope, self.given
        connection.identity = self.given.identity
        connection.own_identity = self.own_identity() or self.given.counted_as(self.protocol_name)
        worker.grants.hold(connection, self.grant)
        # Corked until the accept has gone out: messages that arrive before wait, and follow it.
        connection.outbox.cork()
        connection.on_close = self._closing
        admission.arrived(worker, connection)
        return connection

    async def _read(self, receive: Any) -> None:
        limits, count = self.limited, self.worker.rate_limits.count
        counted = metrics.RECEIVED.labels(self.protocol_name)
        handled = metrics.HANDLE.labels(self.protocol_name)
        connection, limit = self.connection, self.max_message()
        while True:
            message = await receive()
            if connection.follower is not None:
                connection.follower.received(message)
            if message["type"] != "websocket.receive":
                self.left = message.get("code") or 1006, message.get("reason") or ""
                if self.left[0] in NOT_TAKEN and connection.state is ConnectionState.OPEN:
                    self.refuse(NOT_TAKEN[self.left[0]][1])
                return
            # A frame that crossed our close is read and dropped, until the other end has answered the close.
            if connection.state is not ConnectionState.OPEN:
                continue
            counted.inc()
            begun = 0.0 if connection.received % metrics.TIMED else monotonic()
            connection.received += 1
            if (
                limits.frame is not None
                and (outcome := count(limits.frame, connection)) is not None
                and await self._is_over_limit(message, outcome)
            ):
                continue
            text = message.get("text")
            # A character has 1 to 4 bytes of UTF-8: most strings need not be encoded to know that they fit.
            if connection.state is ConnectionState.OPEN:
                if text is not None and len(text) * 4 <= limit:
                    connection.received_bytes += len(text) if text.isascii() else len(text.encode())
                    await self.received(text)
                else:
                    await self._measure(message, limit)
                if begun:
                    handled.observe(monotonic() - begun)

    async def _is_over_limit(self, message: dict[str, Any], outcome: Outcome) -> bool:
        """After the wait, if there is one: True when a frame is refused."""
        excess = await settled(outcome, self.connection)
        if excess is None:
            return False
        beyond(self.connection, excess)
        if self.connection.state is ConnectionState.OPEN:
            await self.over_limit(message, excess)
        return True

    async def _measure(self, message: dict[str, Any], limit: int) -> None:
        """Handle a frame that is binary, or may be too big."""
        text = message.get("text")
        if text is None:
            data = message.get("bytes") or b""
            if len(data) > limit:
                self._too_big()
            else:
                self.connection.received_bytes += len(data)
                await self.received_bytes(data)
        elif len(text) > limit or (size := len(text.encode())) > limit:
            self._too_big()
        else:
            self.connection.received_bytes += size
            await self.received(text)

    def _too_big(self) -> None:
        self.refuse(Refusal.TOO_BIG)
        self.connection.close(TOO_BIG)

    async def _reject(self, send: Any, refused: Refused) -> None:
        self.refuse(refused.reason)
        logger.info("%s: handshake from %s refused: %s", self.protocol_name, self.peer, refused.close.reason)
        with suppress(OSError):  # the client did not wait
            if isinstance(refused, OverLimit) and refused.accepts:
                await handshake.accept_and_close(self.scope, send, refused.close)
            else:
                await handshake.send_away(self.scope, send, refused.close, arriving.seconds_of(refused))

    def _closing(self, close: Close) -> None:
        """Give the other end some time to answer our close; then the task ends."""
        self._patience.reschedule(asyncio.get_running_loop().time() + CLOSE_WAIT_SECONDS)

    def _clean_up(self) -> None:
        sent = self.connection.close_sent
        close = sent or NOT_TAKEN.get(self.left[0], (NORMAL,))[0]
        code = self.left[0] if sent is None else sent.code
        admission.departed(self.worker, self.connection, close, self._accepted, code)
        if not self._began_to_open:
            return
        try:
            self.closed()
        except Exception:
            logger.exception("%s: the clean-up of %s failed", self.protocol_name, self.connection.id)
