"""One WebSocket from its handshake request to its end: a state machine between ASGI and a `Transport`.

It does no I/O and has no timer of its own. Its transport calls `data_received` and `connection_lost`, its
application `receive` and `send`, and a heartbeat calls `deadline_passed` and `check_alive`. It stops reading
when its application is behind, and writes through a `TransportWriter`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, Protocol

from switchboard_server import frames
from switchboard_server.deflate import Deflate, InflatingReader
from switchboard_server.frames import FrameError, FrameReader
from switchboard_server.handshake import STOPPING, Header
from switchboard_server.receive_queue import Message, ReceiveQueue
from switchboard_server.transport import Transport
from switchboard_server.writer import BufferedWriter, KernelWriter, TransportWriter

logger = logging.getLogger("switchboard.websocket")

CLOSE_TIMEOUT: Final = 3.0
"""Seconds a peer has to answer a close frame, and again while it reads on and has not come to it."""
CLOSE_LIMIT: Final = 10.0
"""Seconds after which a peer is dropped that reads on, but has not come to the close frame."""
NOT_BEHIND: Final = 0.0, 0
HIGH_WATER: Final = 64 * 1024
"""Held bytes above which `await send()` waits: as many as asyncio's own transports take."""
MAX_PONGS: Final = 100
"""Answers to pings that may wait for a peer that does not read: 13 kB at most."""
PING: Final = frames.build(frames.PING)
MAX_MESSAGE: Final = "switchboard.max_message"
"""Key of `websocket.accept`: bytes of the largest message, and frame, that this application takes."""
RECEIVE: Final = "websocket.receive"
KEYS: Final = {frames.TEXT: "text", frames.BINARY: "bytes"}


@dataclass(frozen=True)
class SocketLimits:
    """Limits of every socket of a server, as Daphne's options mean them. Times are seconds."""

    connect_timeout: float = 20.0
    """Until the application has answered the handshake; negative for no limit."""
    lifetime: float = 86400.0
    """Until the socket is closed with 1000; negative for no limit."""
    ping_interval: float = 20.0
    """Silence of the peer after which it is pinged; 0 for never."""
    ping_timeout: float = 30.0
    """Until an unanswered ping ends the connection."""
    max_frame: int = 2**20
    """Bytes of the payload of one frame; 0 for no limit."""
    max_message: int = 2**20
    """Bytes of one message; 0 for no limit."""


class SocketHost(Protocol):
    """The server as its sockets see it."""

    @property
    def limits(self) -> SocketLimits:
        """Limits of every socket."""

    @property
    def now(self) -> float:
        """Time of the last heartbeat: late by up to its period, and free to read for each frame."""

    def time(self) -> float:
        """The same clock, exactly."""

    def lost(self, websocket: WebSocket) -> None:
        """The connection is gone or refused; the application's disconnect is queued."""

    def log_action(self, protocol: str, action: str, details: dict[str, Any]) -> None:
        """Write a line of the access log."""


class UpgradeRequest(Protocol):
    """A valid handshake request that waits for the application's answer."""

    @property
    def secure(self) -> bool:
        """True if the transport encrypts, and so is not a `SocketTransport`."""

    @property
    def deflate(self) -> Deflate | None:
        """How messages are compressed, where both sides do that; `answer` says so to the client."""

    def answer(self, subprotocol: str | None, headers: Iterable[Header]) -> bytes:
        """The 101 response. Raises ValueError for a subprotocol or a header that is not allowed."""

    def hand_over(self, websocket: WebSocket) -> tuple[Transport, bytes]:
        """The transport, which calls `websocket` from now on, and the bytes that came behind the request."""

    def deny(self, message: Message) -> None:
        """Answer with a part of a plain HTTP response."""

    def refuse(self, status: int, reason: str, headers: Iterable[Header] = ()) -> None:
        """Answer with a short HTTP response."""

    def log_details(self) -> dict[str, Any] | None:
        """The fields of an access line; None without an access log."""


class SocketState(IntEnum):
    """Life of a socket; it only grows."""

    HANDSHAKE = 0
    OPEN = 1
    CLOSING = 2
    """Our close frame, first or in answer, has been given to the writer."""
    CLOSED = 3


class WebSocket:
    """Connects one application instance with one client."""

    __slots__ = (
        "_behind",
        "_denied",
        "_details",
        "_discarding",
        "_host",
        "_paused",
        "_ping",
        "_pongs",
        "_queue",
        "_reader",
        "_transport",
        "_upgrade",
        "deadline",
        "opened_at",
        "pinged_at",
        "received_at",
        "state",
        "task",
        "writer",
    )

    def __init__(self, host: SocketHost, upgrade: UpgradeRequest) -> None:
        self._host = host
        self._upgrade: UpgradeRequest | None = upgrade
        self._details = upgrade.log_details()
        self._queue = ReceiveQueue()
        self._queue.put({"type": "websocket.connect"}, 0)
        self._reader = FrameReader(host.limits.max_frame, host.limits.max_message)
        self._paused = self._discarding = self._denied = False
        self._ping: bytes | None = None
        """Data of the last ping, where its answer waits until nothing is held."""
        self._pongs = 0
        """Answers to pings since nothing was held."""
        self._behind = NOT_BEHIND
        """Of a peer that has not reached our close frame: the time to drop it at the latest, and the bytes
        that it had acknowledged when it was last looked at."""
        self.writer: TransportWriter[Any] = BufferedWriter(self) if upgrade.secure else KernelWriter(self)
        self._transport: Transport | None = None
        self.task: asyncio.Task[None] | None = None
        self.state = SocketState.HANDSHAKE
        self.opened_at = self.received_at = host.now
        self.pinged_at = 0.0
        timeout = host.limits.connect_timeout
        self.deadline = host.time() + timeout if timeout >= 0 else 0.0
        """Time at which `deadline_passed` is called; 0.0 while nothing is due."""
        self._log("connecting")

    # --- ASGI -----------------------------------------------------------------------------------------

    @property
    def receive(self) -> Callable[[], Coroutine[Any, Any, Message]]:
        """ASGI's: the application's next message."""
        return self._queue.get

    async def send(self, message: Message) -> None:
        """Take a message of the application; waits while the peer is far behind.

        Raises ValueError for a message that is wrong at this time; after the end messages are dropped.
        """
        kind = message["type"]
        if kind == "websocket.send":
            self._send(message)
            if self.writer.open and self.writer.held() > HIGH_WATER:
                drained = asyncio.Event()
                self.writer.notify_drained(drained.set)
                await drained.wait()
        elif kind == "websocket.accept":
            self._accept(message)
        elif kind == "websocket.close":
            code = message.get("code")
            self.close(1000 if code is None else code, message.get("reason") or "")
        elif kind.startswith("websocket.http.response."):
            self._deny(message)
        else:
            raise ValueError(f"unexpected message {kind!r} for a WebSocket")

    def _accept(self, message: Message) -> None:
        if self.state is SocketState.CLOSED:
            return
        if self.state is not SocketState.HANDSHAKE or self._upgrade is None or self._denied:
            raise ValueError("websocket.accept after the handshake")
        response = self._upgrade.answer(message.get("subprotocol"), message.get("headers") or ())
        if (agreed := self._upgrade.deflate) is not None:
            self._reader = InflatingReader(self._host.limits.max_frame, self._host.limits.max_message)
            self.writer.window_bits = agreed.window_bits
        if (largest := message.get(MAX_MESSAGE)) is not None:
            self._reader.bound(largest, largest)
        upgrade, self._upgrade = self._upgrade, None
        self.state = SocketState.OPEN
        self.deadline = 0.0
        self._transport, early = upgrade.hand_over(self)
        self.writer.start(self._transport, response)
        self._log("connected")
        if early:
            self.data_received(early)

    def _send(self, message: Message) -> None:
        if self.state is SocketState.HANDSHAKE:
            raise ValueError("websocket.send before websocket.accept")
        writer, text, data = self.writer, message.get("text"), message.get("bytes")
        if text is not None:
            frame = frames.build(frames.TEXT, text.encode())
        elif data is not None:
            frame = frames.build(frames.BINARY, bytes(data))
        else:
            raise ValueError("websocket.send with neither text nor bytes")
        writer.write(writer.compressed(frame) if writer.window_bits else frame)

    def _deny(self, message: Message) -> None:
        """Answer the handshake with a plain HTTP response (ASGI's `websocket.http.response`)."""
        if self.state is SocketState.CLOSED:
            return
        if self._upgrade is None:
            raise ValueError("a denial response after websocket.accept")
        self._denied = True
        self._upgrade.deny({**message, "type": message["type"].removeprefix("websocket.")})
        if message["type"].endswith(".body") and not message.get("more_body"):
            self._refused()

    def _refused(self) -> None:
        self._upgrade = None
        self.state = SocketState.CLOSED
        self.deadline = 0.0
        self._log("rejected")
        self._queue.end({"type": "websocket.disconnect", "code": frames.ABNORMAL, "reason": ""})
        self._host.lost(self)

    def application_ended(self, error: BaseException | None, stopping: bool = False) -> None:
        """The application has returned, raised `error`, or was cancelled since the server is `stopping`."""
        self.task = None
        if self.state is SocketState.HANDSHAKE and self._upgrade is not None:
            self._upgrade.refuse(*(STOPPING if stopping else (500, "Internal Server Error")))
            self._refused()
        else:
            self.close(1011 if error else 1000)

    # --- the transport --------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Bytes from the peer; an application that waits for a frame handles it within this call."""
        self.received_at = self._host.now
        if not self._discarding:
            self._reader.feed(data)
            if not self._paused:
                self._read()

    def connection_lost(self) -> None:
        """The connection is gone: queue the disconnect, and keep no reference to the transport."""
        if self.state >= SocketState.OPEN:
            self._log("disconnected")
        self.state = SocketState.CLOSED
        self.deadline = 0.0
        self._transport = self._upgrade = None
        self._paused, self._discarding = False, True
        self._queue.on_low = None
        self._reader.clear()
        self.writer.lost()
        self._queue.end({"type": "websocket.disconnect", "code": frames.ABNORMAL, "reason": ""})
        self._host.lost(self)

    def _read(self) -> None:
        """Handle whole frames until more bytes are needed, or until the application is behind.

        The application gets all messages of a read at once: it is resumed, and its answers are written, once
        for all of them. A control frame is handled when it has got the messages before.
        """
        queue, reader = self._queue, self._reader
        try:
            while (frame := reader.next()) is not None:
                opcode, data = frame
                if opcode < frames.CLOSE:
                    if self.state is not SocketState.OPEN:
                        continue
                    queue.put({"type": RECEIVE, KEYS[opcode]: data}, len(data))
                    if queue.full and self._hand_over():
                        break
                    continue
                self._hand_over()
                if opcode == frames.PING:
                    self._answer_ping(data)
                elif opcode == frames.CLOSE:
                    self._closed_by_peer(*data)
            else:
                self._hand_over()
                return
        except FrameError as error:
            self._hand_over()
            self._discarding = True
            reader.clear()
            # One turn later, so that an answer to what came before it is not cut off.
            asyncio.get_running_loop().call_soon(self._fail, error)
            return
        self._paused = True
        queue.on_low = self._resume
        if self._transport is not None:
            self._transport.pause_reading()

    def _answer_ping(self, data: bytes) -> None:
        """Answer a ping; of the many of a peer that does not read only the last one (RFC 6455, 5.5.3)."""
        if not self.writer.held():
            self._pongs = 0
        if self._pongs < MAX_PONGS:
            self._pongs += 1
            self.writer.write(frames.build(frames.PONG, data))
            return
        if self._ping is None:
            self.writer.notify_drained(self._answer_last_ping)
        self._ping = data

    def _answer_last_ping(self) -> None:
        data, self._ping = self._ping, None
        if data is not None:
            self._answer_ping(data)

    def _hand_over(self) -> bool:
        """Have an application that waits handle the messages that are queued; True when reading has to stop.

        While closing, frames are read on: one of them is the peer's close.
        """
        if (around := self.writer.around_reads) is None:
            self._queue.wake()
        else:
            around(self._queue.wake)
        return self._queue.full and self.state is SocketState.OPEN

    def _resume(self) -> None:
        """The application has caught up: handle what was kept back, then read on."""
        self._paused = False
        self._queue.on_low = None
        self._read()
        if not self._paused and self._transport is not None:
            self._transport.resume_reading()

    # --- closing --------------------------------------------------------------------------------------

    def close(self, code: int, reason: str = "") -> None:
        """Close from this side: 403 before accept, else the code. Raises ValueError for a wrong code."""
        if self.state is SocketState.OPEN:
            self._close_with(frames.build_close(code, reason))
            # Only the answer to our close frame matters now, however far the application is behind.
            if self._paused and self._transport is not None:
                self._resume()
        elif self.state is SocketState.HANDSHAKE and self._upgrade is not None and not self._denied:
            self._upgrade.refuse(403, "Forbidden")
            self._refused()

    def abort(self) -> int:
        """Drop the connection: at once, or soon where a close frame is on its way and the peer reads on.

        Returns how many frames are thrown away.
        """
        thrown = self.writer.discard()
        if self.state is not SocketState.CLOSING and self._transport is not None:
            self.writer.open = False
            self._transport.abort()
        return thrown

    def _close_with(self, frame: bytes) -> None:
        self.state = SocketState.CLOSING
        now = self._host.time()
        self.deadline = now + CLOSE_TIMEOUT
        self.writer.finish(frame)
        if self.writer.held() and self._transport is not None:
            self._behind = now + CLOSE_LIMIT, self._transport.acknowledged()

    def _closed_by_peer(self, code: int, reason: str) -> None:
        """Handle a close frame: the peer's own, which is answered with its code, or its answer to ours.

        Both sides may send theirs at the same time. Each then takes the other's as the answer, and neither
        sends a second one (RFC 6455, section 5.5.1).
        """
        self._discarding = True
        self._queue.end({"type": "websocket.disconnect", "code": code, "reason": reason})
        if self.state is SocketState.OPEN:
            self._close_with(
                frames.build(frames.CLOSE) if code == frames.NO_STATUS else frames.build_close(code, reason)
            )
        self._reader.clear()
        self.writer.notify_drained(self._end)

    def _end(self) -> None:
        """Both close frames are on their way: the server closes first (section 7.1.1)."""
        if self._transport is not None:
            self._transport.close()

    def _fail(self, error: FrameError) -> None:
        """The peer broke the protocol: tell it the code, then read on and discard until it has gone."""
        if self.state is SocketState.OPEN:
            self._close_with(frames.build_close(error.code, error.reason))
            self._queue.end({"type": "websocket.disconnect", "code": error.code, "reason": error.reason})
        # A close with unread bytes would be a TCP reset, which can overtake the close frame.
        self.writer.notify_drained(self._half_close)

    def _half_close(self) -> None:
        if self._transport is not None:
            self._transport.half_close()

    # --- the heartbeat --------------------------------------------------------------------------------

    def excuse(self, seconds: float) -> None:
        """Give more time to whatever is waited for: the server itself has stood still for so long."""
        if self.deadline:
            self.deadline += seconds
            if self._behind is not NOT_BEHIND:
                latest, before = self._behind
                self._behind = latest + seconds, before
        if self.pinged_at > self.received_at:
            self.pinged_at += seconds

    def check_alive(self, now: float, timeout: float) -> None:
        """Ping a peer from which nothing has come for the ping interval; drop it when no answer comes.

        While reading is paused a pong cannot be seen; then only a failing write finds a dead peer.
        """
        if self.pinged_at > self.received_at and not self._paused:
            if now - self.pinged_at >= timeout and self._transport is not None:
                self.writer.open = False
                self._transport.abort()
        elif now - self.pinged_at >= timeout:
            self.pinged_at = now
            self.writer.write(PING)

    def deadline_passed(self) -> None:
        """No answer to the handshake, or to the close frame, has come in time."""
        self.deadline = 0.0
        if self.state is SocketState.HANDSHAKE:
            logger.warning("an application took too long to accept a WebSocket")
            if self._upgrade is not None:
                self._upgrade.refuse(503, "No answer from the application", [(b"retry-after", b"5")])
            self._refused()
        elif self._transport is not None:
            self._end_or_wait(self._transport)

    def _end_or_wait(self, transport: Transport) -> None:
        """End in order once the kernel has the close frame; wait for a peer that reads on, up to a limit.

        A reset throws away what the kernel has not sent, and can overtake the close frame. So a peer that
        still acknowledges bytes gets more time: it is slow, and will come to the close frame.
        """
        latest, before = self._behind
        now = self._host.time()
        reads_on = transport.acknowledged() > before and now < latest
        if reads_on:
            self.writer.push()
        if not self.writer.held():
            transport.end()
        elif reads_on:
            self._behind = latest, transport.acknowledged()
            self.deadline = now + CLOSE_TIMEOUT
        else:
            transport.abort()

    def _log(self, action: str) -> None:
        if self._details is not None:
            self._host.log_action("websocket", action, self._details)
