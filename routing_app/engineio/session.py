"""One Engine.IO session: one client, over the transport that carries it at the moment.

A session begins on polling or on a WebSocket, may move from the first to the second once, and ends when
its client closes it, falls silent or breaks the protocol, or when the server closes it. Rules:
socketio/engine.io-protocol, `README.md` of v3 and main, "Heartbeat", "Upgrade", "HTTP long-polling".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, Protocol

from routing_app.core import metrics
from routing_app.core.access.credentials import Presented
from routing_app.core.codes import INTERNAL, MALFORMED, NORMAL, SILENT, SLOW, Advice, Close, Loss
from routing_app.core.delivery.connection import Peer
from routing_app.core.delivery.frame import Frame
from routing_app.core.delivery.writer import Writer
from routing_app.engineio import wire
from routing_app.engineio.frames import Form, data_frame, packet_of
from routing_app.engineio.wire import Packet, Payload

logger = logging.getLogger(__name__)

UPGRADES: Final = ("websocket",)
MAX_PACKETS_OUT: Final = 16
"""Packets in one answer to a poll: python-engineio ends a session over an answer with more of them
(`Payload.max_decode_packets`); JavaScript clients take any number."""
NOOP_SECONDS: Final = 0.1
"""Time between the empty answers to a client that polls on after its probe was answered; the original servers
look that often (engine.io, `Socket.maybeUpgrade`)."""
HANDLING_SECONDS: Final = 60.0
"""A client is not taken for silent so long while one of its packets is handled: a backend may be asked."""
TURN: Final = 32
"""Packets of one post that are taken before others get a turn of the loop."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Times in seconds, sizes in bytes. `ping_timeout` is by protocol version."""

    ping_interval: float = 25.0
    ping_timeout: Mapping[int, float] = field(default_factory=lambda: {3: 60.0, 4: 20.0})
    max_payload: int = 1_000_000
    """Of a polling request, and of a packet on a WebSocket; clients 4.x get it in the opening packet."""
    max_packets: int = 5_000
    upgrade_timeout: float = 10.0
    versions: Mapping[str, int] = field(default_factory=lambda: wire.VERSIONS)
    """Protocol version by the `EIO` of a query; any other is refused."""


class Fault(IntEnum):
    """The reason for which a request is refused; the numbers are those of the original servers."""

    UNKNOWN_TRANSPORT = 0
    UNKNOWN_SID = 1
    BAD_METHOD = 2
    BAD_REQUEST = 3
    FORBIDDEN = 4
    UNSUPPORTED_VERSION = 5


class RequestRefused(Exception):
    """A request that the session, or the endpoint, does not serve."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.name)
        self.fault = fault


class Application(Protocol):
    """The application of a session, one for each."""

    async def opened(self) -> None:
        """The opening packet has been sent, so the application may send."""

    async def received(self, message: Packet) -> None:
        """The data of a message packet. The next one is read when this returns."""

    def closed(self, close: Close) -> None:
        """The session has ended, by either side. Called once, and must not wait."""


class EngineSession:
    """Queues packets for polling, or writes them to the WebSocket; keeps the heartbeat; ends once."""

    def __init__(
        self,
        sid: str,
        version: int,
        options: EngineOptions,
        peer: Peer,
        query: Mapping[str, str],
        forget: Callable[[EngineSession], None],
        credential: Presented | None = None,
        handshake: Mapping[str, Any] | None = None,
    ) -> None:
        self.sid = sid
        self.version = version
        self.options = options
        self.peer = peer
        self.query = query
        """Of the first request; `lobbyId` may be in it."""
        self.credential = credential
        """Of the first request; nothing was checked yet."""
        self.handshake = handshake
        """The scope of the first request, for backends that are asked about it."""
        self.application: Application | None = None
        self.closed_with: Close | None = None
        self.upgrading = False
        self._noop_at: float | None = None
        """Once the probe is answered: the time from which on a poll with nothing to say need not wait."""
        self._shut = False
        self._forget = forget
        self._loop = asyncio.get_running_loop()
        self._writer: Writer | None = None
        self._queue: list[Frame] = []
        self._held = 0
        self._poll: asyncio.Future[None] | None = None
        self._posting = False
        self._received_at = self._loop.time()
        self._pinged = False
        self._handling_until: float | None = None
        """While the application has a packet: those behind it, a PONG too, may wait so long to be read."""
        self._strings_only = "b64" in query or "j" in query
        """Polls answer binary data as base64: the client has no binary answers, or polls by JSONP."""
        self._mostly_binary = "t" in query and not self._strings_only
        self.form = Form(version, "b64" in query)
        """The form of binary data in frames; that of a later WebSocket may be another."""
        self._lifetime = options.ping_interval + options.ping_timeout[version]
        self._timer = self._loop.call_at(self._due(), self._tick)

    @property
    def open(self) -> bool:
        """Until either end closes."""
        return self.closed_with is None

    @property
    def writable(self) -> bool:
        """True while packets can reach the client; those that the application sends in `closed` still do."""
        return not self._shut

    @property
    def on_websocket(self) -> bool:
        """True from the moment a WebSocket carries the session; it stays so."""
        return self._writer is not None

    def opening(self, upgrades: Iterable[str] = ()) -> str:
        """The packet that tells the client its session."""
        options = self.options
        return wire.open_packet(
            self.version,
            self.sid,
            list(upgrades),
            options.ping_interval,
            options.ping_timeout[self.version],
            options.max_payload,
        )

    async def start(self) -> None:
        """The opening packet is on its way: the application may speak."""
        if self.application is not None:
            await self.application.opened()

    # --- to the client -----------------------------------------------------------------------------------

    def send(self, packet: Packet) -> None:
        """Send one packet in order; nothing once the session has ended."""
        self.write([Frame(packet) if isinstance(packet, str) else data_frame(self.form, packet)])

    def write(self, frames: Sequence[Frame]) -> None:
        """Send frames that hold one packet each."""
        if not self.writable:
            return
        if self._writer is not None:
            self._writer.write(list(frames))
            return
        self._queue += frames
        self._held += _size(frames)
        self.release()

    def held_bytes(self) -> int:
        """Bytes that wait for a poll, or that the WebSocket has not written."""
        return self._held if self._writer is None else self._writer.held_bytes()

    def held_frames(self) -> int:
        """Frames that the WebSocket has not written, where it counts them; a poller is bounded in bytes."""
        return 0 if self._writer is None else self._writer.held_frames()

    # --- polling -----------------------------------------------------------------------------------------

    def begin_poll(self) -> asyncio.Future[None]:
        """Open the one poll that may be open; `end_poll` has to follow. Raises RequestRefused."""
        self._serve_polling()
        if self._poll is not None:
            self.close(MALFORMED)
            raise RequestRefused(Fault.BAD_REQUEST)
        self._poll = self._loop.create_future()
        if self._queue:
            self._poll.set_result(None)
        elif self._noop_at is not None:
            self._answer_soon(self._noop_at)
        return self._poll

    def _answer_soon(self, noop_at: float) -> None:
        """A client that polls instead of moving gets its answers at the pace of NOOP_SECONDS."""
        now = self._loop.time()
        self._noop_at = max(now, noop_at) + NOOP_SECONDS
        if noop_at <= now:
            self.release()
        else:
            self._loop.call_at(noop_at, self._release_this, self._poll)

    def _release_this(self, poll: asyncio.Future[None] | None) -> None:
        if poll is self._poll:
            self.release()

    def end_poll(self) -> Payload:
        """Packets for the open poll: the queue, or its first MAX_PACKETS_OUT."""
        self._poll = None
        return self.encode(self._take())

    def drop_poll(self) -> None:
        """The client went away before its answer."""
        self._poll = None
        if not self.open:
            self._lose(Loss.CLOSED)

    def encode(self, packets: Sequence[Packet]) -> Payload:
        """A polling payload in the form that this client reads.

        The original answers version 3 in the binary form, unless the first request said `b64`;
        socketIO-client-2 reads nothing else. A first request without `t`, which every real client sends
        against caches, gets the string form where the packets allow it.
        """
        binary = self._mostly_binary or any(isinstance(packet, bytes) for packet in packets)
        return wire.encode_payload(self.version, packets, binary and not self._strings_only)

    async def post(self, packets: Iterable[Packet]) -> None:
        """Take what the client posted, in order. One post at a time. Raises RequestRefused."""
        self._serve_polling()
        if self._posting:
            self.close(MALFORMED)
            raise RequestRefused(Fault.BAD_REQUEST)
        self._posting = True
        try:
            for number, packet in enumerate(packets, 1):
                if self.open:
                    await self.receive(packet)
                if number % TURN == 0:
                    await asyncio.sleep(0)
        finally:
            self._posting = False
        if self.closed_with is MALFORMED:
            raise RequestRefused(Fault.BAD_REQUEST)

    async def end(self, close: Close) -> None:
        """Close a session whose request cannot be understood."""
        self.close(close)

    def _serve_polling(self) -> None:
        if self.open and self._is_silent():
            self.close(SILENT)
        if not self.open:
            raise RequestRefused(Fault.UNKNOWN_SID)
        if self.on_websocket:
            raise RequestRefused(Fault.BAD_REQUEST)

    def _take(self) -> list[Packet]:
        """The answer of the poll that ends now: `6` for nothing, `1` where the client shall stay away.

        A client that shall come back finds its session unknown at the next poll: python-socketio does not
        reconnect after `1`.
        """
        close = self.closed_with
        last_words = (
            [wire.CLOSE]
            if close is not None and close is not NORMAL and close.advice is Advice.STAY_AWAY
            else []
        )
        room = MAX_PACKETS_OUT - len(last_words)
        taken, self._queue = self._queue[:room], self._queue[room:]
        self._held -= _size(taken)
        if not self.open:
            self._lose(Loss.CLOSED)
        return [packet_of(frame) for frame in taken] + last_words or [wire.NOOP]

    def release(self) -> None:
        """Have the open poll end, if there is one; its client asks again."""
        if self._poll is not None and not self._poll.done():
            self._poll.set_result(None)

    # --- WebSocket ---------------------------------------------------------------------------------------

    async def begin(self, writer: Writer) -> None:
        """The session starts on a WebSocket."""
        self._writer = writer
        self.send(self.opening())
        await self.start()

    def begin_upgrade(self) -> bool:
        """A WebSocket wants to carry this session from now on; False when it may not."""
        if not self.open or self.on_websocket or self.upgrading:
            return False
        self.upgrading = True
        return True

    def probed(self) -> None:
        """The WebSocket works: let the client's poll end, and no other wait, so that it can move."""
        if not self.upgrading:
            return
        self._noop_at = self._loop.time()
        if self._poll is not None and not self._poll.done():
            self._answer_soon(self._noop_at)

    def upgraded(self, writer: Writer, text_only: bool) -> None:
        """The client has moved: what waited goes over the WebSocket, to `text_only` without binary frames."""
        self.upgrading, self._noop_at = False, None
        if not self.open:
            return
        waiting, self._queue, self._held = self._queue, [], 0
        self._writer = writer
        self.form = Form(self.version, text_only)
        for frame in waiting:
            self.send(packet_of(frame))
        self.release()

    def upgrade_failed(self) -> None:
        """The WebSocket went away before the client moved; the session goes on with polling."""
        self.upgrading, self._noop_at = False, None

    # --- from the client ---------------------------------------------------------------------------------

    async def receive(self, packet: Packet) -> None:
        """Take one packet of the client; a wrong one closes the session."""
        if self.version == 3:
            self._received_at = self._loop.time()
        if isinstance(packet, bytes):
            await self._deliver(packet)
            return
        kind = packet[:1]
        if kind == wire.MESSAGE:
            await self._deliver(packet[1:])
        elif kind == wire.PING and self.version == 3:
            self.send(wire.PONG + packet[1:])
        elif kind == wire.PONG and self.version == 4:
            self._answered()
        elif kind == wire.CLOSE:
            self.close(NORMAL)
        elif kind not in (wire.NOOP, wire.UPGRADE):
            self.close(MALFORMED)

    async def _deliver(self, message: Packet) -> None:
        if self.application is None:
            return
        self._handling_until = self._loop.time() + HANDLING_SECONDS
        try:
            await self.application.received(message)
        except Exception:
            logger.exception("a handler of an Engine.IO session failed")
            self.close(INTERNAL)
        finally:
            self._handling_until = None

    # --- the heartbeat -----------------------------------------------------------------------------------

    def _due(self) -> float:
        """When the next ping goes out (version 4), or the client counts as gone."""
        if self.version == 4 and not self._pinged:
            return self._received_at + self.options.ping_interval
        return self._received_at + self._lifetime

    def _tick(self) -> None:
        if self._is_silent():
            self.close(SILENT)
            return
        if self.version == 4 and not self._pinged and self._loop.time() >= self._due():
            self._pinged = True
            self.send(wire.PING)
        self._timer = self._loop.call_at(self._due(), self._tick)

    def _is_silent(self) -> bool:
        """True when nothing has come for too long, and nothing can wait behind a packet that is handled."""
        now = self._loop.time()
        if now < self._received_at + self._lifetime:
            return False
        if self._handling_until is not None and now < self._handling_until:
            # Another ping goes out, since the client counts them, too.
            self._received_at, self._pinged = now - self.options.ping_interval, False
            return False
        return True

    def _answered(self) -> None:
        self._received_at = self._loop.time()
        self._pinged = False
        self._timer.cancel()
        self._timer = self._loop.call_at(self._due(), self._tick)

    # --- the end -----------------------------------------------------------------------------------------

    def close(self, close: Close = NORMAL) -> None:
        """End the session: a poll gets the rest, a WebSocket the close. A second call does nothing."""
        if not self._end(close):
            return
        if self._writer is not None:
            self._writer.close(close)
        elif self._poll is None:
            self._lose(Loss.CLOSED)
        self.release()

    def left(self) -> None:
        """The client has closed its WebSocket: nothing reaches it any more."""
        self._shut = True
        self.close(NORMAL)

    def abort(self, close: Close) -> None:
        """End the session of a client that does not read: what it has not taken is thrown away."""
        self._shut = True
        if self._end(close):
            self._lose(Loss.SLOW if close is SLOW else Loss.CLOSED)
            if self._writer is not None:
                self._writer.abort(close)
            self.release()

    def _end(self, close: Close) -> bool:
        if not self.open:
            return False
        self.closed_with = close
        self._timer.cancel()
        self._forget(self)
        # It has the session: each would keep the other.
        application, self.application = self.application, None
        if application is not None:
            try:
                application.closed(close)
            except Exception:
                logger.exception("the clean-up of an Engine.IO session failed")
        self._shut = True
        return True

    def discard(self) -> None:
        """Drop what waits for a poll, for it is kept elsewhere and will be sent again."""
        self._queue, self._held = [], 0

    def _lose(self, reason: Loss) -> None:
        """No poll will take what is queued."""
        packets = map(packet_of, self._queue)
        lost = sum(isinstance(packet, bytes) or packet[:1] == wire.MESSAGE for packet in packets)
        metrics.LOST.labels(reason).inc(lost)
        self._queue, self._held = [], 0


def _size(frames: Iterable[Frame]) -> int:
    return sum(frame.size for frame in frames)
