"""The Connection object: `id`, `send`, `request`, `close`, for a client of this process."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

from django.conf import settings

from routing_app.core.access.grants import NOBODY
from routing_app.core.codes import Advice, Close
from routing_app.core.delivery import connection as core
from routing_app.core.delivery.connection import ConnectionState
from routing_app.core.leases.presence import Presence
from routing_app.requests import wire
from routing_app.requests.errors import ConnectionClosed, RequestError, TooManyPending
from routing_app.requests.pending import Request
from routing_app.requests.wire import RECEIPT, Codec, Direction, Inbound

LOOK_SECONDS: Final = 0.005
LONGEST_LOOK_SECONDS: Final = 0.1
"""How soon a full outbox is looked at again: ever later, while the client does not read."""


class Connection:
    """One client of this protocol."""

    def __init__(self, inner: core.Connection, codec: Codec, receipts: bool) -> None:
        self.inner = inner
        self.codec = codec
        self.receipts = receipts
        """True when the client acknowledges messages."""
        self.grant = NOBODY
        """What the client's credential allows, its own address besides."""
        self.on_room: Callable[[], None] | None = None
        """Called when a request to this client is sent or has ended: a handler may have room to run."""
        self._pending: dict[str, Request] = {}
        self._ended: ConnectionClosed | None = None
        self._presence: Presence | None = None
        self._recorded: asyncio.Future[None] | None = None
        self._record_again = False
        self._look: asyncio.Task[None] | None = None
        # A quarter of the bounds: the rest is for publications, which do not wait. Read once: Django's
        # settings take as long to answer as a frame takes to parse.
        self._enough_bytes = settings.MAX_OUTBOX_BYTES // 4
        self._enough_frames = settings.MAX_OUTBOX_FRAMES // 4

    @property
    def id(self) -> str:
        """The connection's id; `connection:<id>` is its address, and it can be asked from any process."""
        return self.inner.id

    @property
    def waiting_for(self) -> int:
        """Number of requests to this client without an answer."""
        return len(self._pending)

    @property
    def is_closed(self) -> bool:
        """True when nothing can be sent any more, also while the close is under way."""
        return self._ended is not None or self.inner.state is not ConnectionState.OPEN

    def failure(self) -> ConnectionClosed:
        """The error of whatever needs the client, once it is closed."""
        close = self.inner.close_sent
        return self._ended or ConnectionClosed(*((close.code, close.reason) if close else (1006, "")))

    async def send(
        self, message: Mapping[str, Any], *, timeout: float | None = None, volatile: bool = False
    ) -> None:
        """Send a message; with receipts, returns when the client has it, else when it is with the server.

        A `volatile` one is dropped while something else waits for the client. Raises ConnectionClosed,
        TimeoutError, and TypeError or ValueError for a message that cannot be sent.
        """
        if volatile and not self.inner.idle:
            return
        if not self.receipts:
            async with asyncio.timeout(timeout):
                await self.write(self.codec.message(message))
            return
        self.codec.message(message)
        key = self._key(message)
        await self._ask(key, self.codec.dumps({**message, RECEIPT: True, self.codec.key: key}), timeout)

    def request(self, message: Mapping[str, Any], *, timeout: float | None = None) -> Request:
        """Send a request now; await or iterate what is returned. Raises TypeError or ValueError at once."""
        key = self._key(message)
        return self._ask(key, self.codec.encode(message, Direction.REQUEST, key), timeout)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """End the connection. Raises ValueError for a code or reason that may not be sent."""
        wire.check_close(code, reason)
        self.inner.close(Close(code, "application", reason, Advice.STAY_AWAY))

    async def write(self, text: str) -> None:
        """Put a frame into the outbox, after waiting for room. Raises ConnectionClosed."""
        while self.backlogged:
            await self._another_look()
        if not self.inner.send(text):
            raise self.failure()

    @property
    def backlogged(self) -> bool:
        """True while the client has to read before more is written for it."""
        inner = self.inner
        outbox, writer = inner.outbox, inner.writer
        return (
            (
                outbox.size + writer.held_bytes() > self._enough_bytes
                or len(outbox.frames) + writer.held_frames() > self._enough_frames
            )
            and inner.state is ConnectionState.OPEN
            and not outbox.corked
        )

    async def drained(self) -> None:
        """Wait until the client has read most of what it was sent, or is gone."""
        while self.backlogged:
            await self._another_look()

    async def _another_look(self) -> None:
        if self._look is None:
            self._look = asyncio.ensure_future(self._look_until_drained())
        # Shielded: a handler that is cancelled must not end the look of the others.
        await asyncio.shield(self._look)

    async def _look_until_drained(self) -> None:
        """Look on behalf of all that wait: a client may have a hundred handlers, and never read."""
        try:
            pause = 0.0
            while self.backlogged:
                await asyncio.sleep(pause)
                pause = min(pause + LOOK_SECONDS, LONGEST_LOOK_SECONDS)
        finally:
            self._look = None

    def answered(self, inbound: Inbound) -> bool:
        """Give an answer to the request it belongs to; False when there is none."""
        request = self._pending.get(wire.name(inbound.key))
        if request is None:
            return False
        match inbound.direction:
            case Direction.PARTIAL:
                request.partial(inbound.message)
            case Direction.REPLY:
                request.reply(inbound.message)
            case _:
                request.fail(RequestError(inbound.message))
        return True

    def record_with(self, presence: Presence) -> None:
        """List this connection in presence from now on."""
        self._presence = presence
        self._recorded = presence.arrive(self.inner)

    def record(self) -> None:
        """Bring the presence row up to date. Changes while a write waits are one write after it."""
        if self._presence is not None:
            self._presence.tell(self.inner)
        if self._recorded is None or self._presence is None or self._record_again:
            return
        if self._recorded.done():
            self._recorded = self._presence.change(self.inner)
        else:
            self._record_again = True
            self._recorded.add_done_callback(self._record_the_rest)

    def _record_the_rest(self, recorded: asyncio.Future[None]) -> None:
        self._record_again = False
        if not self.is_closed:
            self.record()

    def ended(self, code: int, reason: str) -> None:
        """Fail all requests that wait: the connection is gone."""
        self._ended = ConnectionClosed(code, reason)
        for request in list(self._pending.values()):
            request.fail(self._ended)

    def _ask(self, key: Any, text: str, timeout: float | None) -> Request:
        request, name = Request(timeout), wire.name(key)
        if self._ended is not None or not self.inner.send(text):
            request.fail(self.failure())
            return request
        # After the send, but in the same turn: no answer can come before the request is known.
        self._pending[name] = request
        request.on_end(lambda: self._forget(name))
        self._tell()
        return request

    def _forget(self, name: str) -> None:
        self._pending.pop(name, None)
        self._tell()

    def _tell(self) -> None:
        if self.on_room is not None:
            self.on_room()

    def _key(self, message: Mapping[str, Any]) -> Any:
        """The key that the message brings, else a new one."""
        if len(self._pending) >= settings.REQUESTS_MAX_PENDING:
            raise TooManyPending(f"{settings.REQUESTS_MAX_PENDING} requests wait for this client")
        key = message.get(self.codec.key) or str(uuid.uuid4())
        if not (name := wire.name(key)) or name in self._pending:
            raise ValueError("a key must be a string or a number, and not that of another request")
        return key

    def __repr__(self) -> str:
        return f"<Connection {self.id}>"
