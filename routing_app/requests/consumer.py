"""The requests protocol's socket, `/connection`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.conf import settings

from routing_app.core import tracing
from routing_app.core.codes import POLICY, Refusal
from routing_app.core.consumer import Consumer
from routing_app.core.delivery.publication import MESSAGE, Publication
from routing_app.core.json import dumps
from routing_app.core.rate_limits.limit import Excess
from routing_app.core.rest.middleware import BACKING_SERVICES
from routing_app.requests import access, asking, handlers, wire
from routing_app.requests.connection import Connection
from routing_app.requests.context import Context
from routing_app.requests.errors import BeyondLimit, ConnectionClosed, HookDenied, RequestDenied
from routing_app.requests.handlers import Handler
from routing_app.requests.wire import Codec, Direction, Inbound

if TYPE_CHECKING:
    from routing_app.requests.protocol import Requests

logger = logging.getLogger(__name__)

GRACE_SECONDS: Final = 30.0
"""How long handlers may go on after their connection has ended."""
GAP: Final = dumps({"type": "gap"})
"""The MESSAGE that says: messages of other processes may be missing."""


class DeliveryEncoder:
    """A publication as a MESSAGE of type `delivery`: `event` where it is not an ordinary message, `epoch` and
    `offset` where its address has history, and `positions` of all that the client follows."""

    per_address = True

    def __call__(self, publication: Publication, address: str) -> str | None:
        """The string of the frame."""
        delivery = {"type": "delivery", "address": address, "message": publication.message}
        if publication.event != MESSAGE:
            delivery["event"] = publication.event
        if positions := publication.positions:
            if (position := positions.get(address)) is not None:
                delivery |= position._asdict()
            if len(publication.addresses) > 1:
                delivery["positions"] = {one: place._asdict() for one, place in positions.items()}
        return dumps(delivery)


class RequestsConsumer(Consumer):
    """One client of the requests protocol."""

    protocol: Requests
    codec: ClassVar[Codec] = Codec()
    """Names of the control fields, and the format; a subclass may bring another."""

    async def admit(self) -> str | None:
        """Take the grant that the handshake brings, and agree on receipts."""
        offered = self.scope.get("subprotocols") or []
        self.grant = await access.grant_of(self.worker, self.scope)
        self._receipts = wire.RECEIPTS in offered
        return wire.RECEIPTS if self._receipts else None

    async def opened(self) -> None:
        """Be known by id, to this process and in every listing."""
        self.client = Connection(self.connection, self.codec, self._receipts)
        self.client.on_room = self._look_for_room
        self.connection.on_gap = self._tell_gap
        self._room = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._malformed = 0
        self._max_running = settings.REQUESTS_MAX_RUNNING
        access.hold(self.client, self.grant)
        self.protocol.connections[self.client.id] = self.client
        self.client.record_with(self.worker.presence)
        for hook in handlers.OPENED:
            self._spawn(hook(self.client))

    async def received(self, text: str) -> None:
        """One frame."""
        try:
            inbound = self.codec.decode(text)
        except wire.RequestWireError as error:
            self._refuse_malformed(error)
            return
        if inbound.direction in (Direction.MESSAGE, Direction.REQUEST):
            await self._handle(inbound)
        elif not self.client.answered(inbound):
            logger.debug("%s: an answer to no request", self.client.id)

    async def received_bytes(self, data: bytes) -> None:
        """A binary frame holds the same JSON, as UTF-8."""
        try:
            text = data.decode()
        except UnicodeDecodeError:
            self._refuse_malformed(wire.RequestWireError("not UTF-8"))
            return
        await self.received(text)

    async def over_limit(self, message: dict[str, Any], excess: Excess) -> None:
        """Answer a request that is beyond a limit of everything."""
        try:
            text = message.get("text")
            inbound = self.codec.decode((message.get("bytes") or b"").decode() if text is None else text)
        except (wire.RequestWireError, UnicodeDecodeError):
            return
        await _fail_beyond(Context(self.client, inbound), excess)

    def closed(self) -> None:
        """Fail the requests that wait for this client; its handlers may go on for GRACE_SECONDS."""
        close = self.connection.close_sent
        code, reason = (close.code, close.reason) if close else self.left
        self.protocol.connections.pop(self.client.id, None)
        self.client.on_room = None
        self.client.ended(code, reason)
        for hook in handlers.CLOSED:
            self._spawn(hook(self.client, code, reason))
        for task in self._tasks:
            handle = asyncio.get_running_loop().call_later(GRACE_SECONDS, task.cancel)
            task.add_done_callback(lambda _, handle=handle: handle.cancel())  # type: ignore[misc]

    # --- frames that want a handler ----------------------------------------------------------------------

    async def _handle(self, inbound: Inbound) -> None:
        if self.client.backlogged:
            await self.client.drained()
        if self.client.receipts and wire.asks_for_receipt(inbound):
            self.connection.send(self.codec.receipt(inbound.key))
        handler = handlers.find(inbound.direction, inbound.type)
        context = Context(self.client, inbound)
        if self.limited.request is not None:
            excess = await self.worker.rate_limits.over(self.limited.request, self.connection)
            if excess is not None:
                await _fail_beyond(context, excess)
                return
        hooks = self.hooked.request
        if hooks is not None and context.is_request and asking.concern(hooks, context.type):
            handler = asking.handler_of(hooks, handler)
        if handler is None:
            logger.debug("%s: no handler takes a %s", self.client.id, inbound.direction.lower())
            if context.is_request:
                await _fail(context, "unhandled", "no handler takes this type of request")
        elif handler.in_order:
            await self._run(handler, context)
        else:
            self._spawn(self._run(handler, context))
            if self._tasks:
                await self._wait_for_room()

    async def _run(self, handler: Handler, context: Context) -> None:
        """Run a handler; a request is answered, also when the handler fails."""
        begun = monotonic()
        try:
            with tracing.span("request", type=handler.type):
                await self._try(handler, context)
        finally:
            handler.times.observe(monotonic() - begun)

    async def _try(self, handler: Handler, context: Context) -> None:
        try:
            await handler.function(context)
            if not context.answered:
                await _fail(context, "unanswered", "the handler gave no answer")
        except BeyondLimit as beyond:
            await _fail(context, beyond.code, str(beyond))
        except RequestDenied as denied:
            self.refuse(Refusal.HOOK if isinstance(denied, HookDenied) else Refusal.FORBIDDEN)
            await _fail(context, denied.code, str(denied))
        except BACKING_SERVICES as error:
            self.refuse(Refusal.UNAVAILABLE)
            logger.warning("requests: a backing service is down: %s", error)
            await _fail(context, "unavailable", "a backing service is down; try again")
        except Exception as error:
            if self.client.is_closed:  # it failed because the client has left
                return
            self.refuse(Refusal.EXCEPTION)
            logger.exception("requests: a handler failed on %s", self.client.id)
            handlers.tell_error(self.client, error)
            await _fail(context, "internal", repr(error) if settings.DEBUG else "Internal error")

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self.worker.start_at_once(coroutine)
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._look_for_room()
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("requests: a handler failed on %s", self.client.id, exc_info=error)

    # --- bounds ------------------------------------------------------------------------------------------

    async def _wait_for_room(self) -> None:
        """Read on when handlers have ended. One that waits for this client's answer does not count."""
        while self._crowded():
            self._room.clear()
            await self._room.wait()

    def _look_for_room(self) -> None:
        if not self._crowded():
            self._room.set()

    def _crowded(self) -> bool:
        # A handler that waits for an answer of this client is not counted: the answer can only come if
        # reading goes on, so counting it could stop the connection until it closes.
        return len(self._tasks) - self.client.waiting_for >= self._max_running

    def _refuse_malformed(self, error: wire.RequestWireError) -> None:
        """Nothing is sent, as in the original; too many of them end the connection."""
        self.refuse(Refusal.MALFORMED)
        logger.debug("%s: ignored: %s", self.client.id, error)
        handlers.tell_error(self.client, error)
        self._malformed += 1
        if self._malformed == settings.REQUESTS_MAX_MALFORMED:
            self.connection.close(POLICY)

    def _tell_gap(self) -> None:
        self.connection.send(GAP)


async def _fail_beyond(context: Context, excess: Excess) -> None:
    """Answer a request that is beyond a rate limit; a message has no answer."""
    if context.is_request:
        beyond = BeyondLimit(excess.seconds)
        await _fail(context, beyond.code, str(beyond))


async def _fail(context: Context, code: str, message: str) -> None:
    """Answer a request that nobody has answered with ERROR."""
    if not context.answered:
        with suppress(ConnectionClosed):
            await context.error({"code": code, "message": message})
