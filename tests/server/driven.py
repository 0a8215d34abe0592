"""A WebSocket driven by hand: bytes are fed, time is set, and the connection beneath it is a few lists."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from switchboard_server import frames, handshake
from switchboard_server.deflate import Deflate
from switchboard_server.handshake import Header
from switchboard_server.heartbeat import Heartbeat
from switchboard_server.transport import FlowControl
from switchboard_server.websocket import SocketLimits, WebSocket
from tests.server.plain import client_frame

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
HEAD_END = b"\r\n\r\n"


LEFT = (frames.ABNORMAL, "")
"""The disconnect of a connection that ends without a close frame."""


def client_close(code: int, reason: bytes = b"") -> bytes:
    """A client's close frame."""
    return client_frame(frames.CLOSE, code.to_bytes(2, "big") + reason)


async def turn() -> None:
    """Let what was left for the next turn of the loop happen, and what that leaves."""
    for _ in range(3):
        await asyncio.sleep(0)


def step(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine, or None where it would have to wait: then it is given up."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    coroutine.close()
    return None


class Connection:
    """A `SocketTransport` in memory. The kernel takes `room` bytes, the peer acknowledges `acked` of them."""

    FULL = 1000
    """Bytes held above which it asks its writer to pause, as a transport of TLS does."""

    def __init__(self, driven: Driven) -> None:
        self._driven = driven
        self.room = 2**30
        self.taken = bytearray()
        """Bytes that the kernel has taken."""
        self.held = bytearray()
        """Bytes that were written, and for which the kernel has no room yet."""
        self.acked = 0
        self.broken = False
        self._is_reading = True
        self.calls: list[str] = []
        """Of close, half_close, end and abort, those that were called."""
        self._more: Callable[[], object] | None = None
        self._writer: FlowControl | None = None
        self._is_full = False

    def send(self, data: bytes | memoryview) -> int:
        if self.broken:
            raise BrokenPipeError
        if not self.room:
            raise BlockingIOError
        size = min(self.room, len(data))
        self.taken += data[:size]
        self.room -= size
        return size

    def write(self, data: bytes) -> None:
        self.held += data
        self._flush()
        if self._writer is not None and len(self.held) > self.FULL:
            self._is_full = True
            self._writer.pause_writing()

    def _flush(self) -> None:
        if self.held and self.room:
            del self.held[: self.send(bytes(self.held))]

    def call_when_writable(self, call: Callable[[], object]) -> None:
        self._more = call

    def stop_calling(self) -> None:
        self._more = None

    def control_flow(self, writer: FlowControl) -> None:
        self._writer = writer

    def make_room(self, size: int) -> None:
        """The kernel has room for so many more bytes, and the loop asks the transport for more."""
        self.room += size
        self._flush()
        if self.room and self._more is not None:
            self._more()
        if self._is_full and not self.held:
            self._is_full = False
            assert self._writer is not None
            self._writer.resume_writing()

    def pause_reading(self) -> None:
        self._is_reading = False

    def reading(self) -> bool:
        """True while bytes from the peer are taken."""
        return self._is_reading

    def resume_reading(self) -> None:
        self._is_reading = True
        self._driven.deliver()

    def close(self) -> None:
        self.calls.append("close")

    def half_close(self) -> None:
        self.calls.append("half_close")

    def end(self) -> None:
        self.calls.append("end")
        self._driven.websocket.connection_lost()

    def abort(self) -> None:
        self.calls.append("abort")

    def acknowledged(self) -> int:
        return self.acked


DEFAULT = SocketLimits()


class Driven:
    """One WebSocket, and everything it knows of: host, handshake request and connection."""

    def __init__(
        self,
        limits: SocketLimits = DEFAULT,
        secure: bool = False,
        early: bytes = b"",
        deflate: Deflate | None = None,
    ) -> None:
        self.limits = limits
        self.deflate = deflate
        self.secure = secure
        self.now = 1000.0
        self.losses = 0
        self.actions: list[str] = []
        self.http: list[Any] = []
        """Answers to the handshake that are not a 101."""
        self.rejects: ValueError | None = None
        """Raised for the accept."""
        self._early = early
        self._unread = b""
        self.connection = Connection(self)
        self.websocket = WebSocket(self, self)
        self.heartbeat = Heartbeat([self.websocket], limits, lambda now: None)

    # --- the peer -------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """The peer sends bytes; they wait while reading is paused."""
        self._unread += data
        self.deliver()

    def deliver(self) -> None:
        """Bytes that have come are read, if the socket reads."""
        while self._unread and self.connection.reading():
            data, self._unread = self._unread, b""
            self.websocket.data_received(data)

    @property
    def unread(self) -> int:
        """Bytes that wait because reading is paused."""
        return len(self._unread)

    def sent(self) -> list[tuple[int, bytes]]:
        """(opcode, payload) of each frame that has come to the kernel, behind the 101."""
        data = bytes(self.connection.taken).partition(HEAD_END)[2]
        found = []
        while data:
            size, start = data[1] & 0x7F, 2
            if size > 125:
                start += 2 if size == 126 else 8
                size = int.from_bytes(data[2:start], "big")
            found.append((data[0] & 0x0F, data[start : start + size]))
            data = data[start + size :]
        return found

    def close_codes(self) -> list[int]:
        """Codes of the close frames that have come to the kernel; 1005 for one without."""
        return [
            int.from_bytes(payload[:2], "big") or frames.NO_STATUS
            for opcode, payload in self.sent()
            if opcode == frames.CLOSE
        ]

    # --- the application ------------------------------------------------------------------------------

    def opened(self) -> Driven:
        """Accept the handshake."""
        assert step(self.websocket.receive()) == {"type": "websocket.connect"}
        self.send(type="websocket.accept")
        return self

    def send(self, **message: Any) -> None:
        """The application sends a message, which is taken without waiting."""
        step(self.websocket.send(message))
        if message["type"] == "websocket.accept":
            self.connection.make_room(0)  # the loop's next turn: the 101 is with the kernel

    def received(self) -> list[Any]:
        """All that waits for the application: strings, bytes, and (code, reason) of the disconnect."""
        found: list[Any] = []
        while (message := step(self.websocket.receive())) is not None:
            if message["type"] == "websocket.disconnect":
                return [*found, (message["code"], message["reason"])]
            if message["type"] == "websocket.receive":
                found.append(message.get("text", message.get("bytes")))
        return found

    # --- switchboard_server.websocket.SocketHost ------------------------------------------------------------

    def time(self) -> float:
        return self.now

    def lost(self, websocket: WebSocket) -> None:
        self.losses += 1

    def log_action(self, protocol: str, action: str, details: dict[str, Any]) -> None:
        self.actions.append(action)

    def pass_time(self, seconds: float) -> None:
        """So many seconds later the heartbeat sweeps."""
        self.now += seconds
        self.heartbeat.sweep(self.now)

    # --- switchboard_server.websocket.UpgradeRequest --------------------------------------------------

    def answer(self, subprotocol: str | None, headers: Iterable[Header]) -> bytes:
        if self.rejects is not None:
            raise self.rejects
        return handshake.answer(KEY, headers)

    def hand_over(self, websocket: WebSocket) -> tuple[Connection, bytes]:
        return self.connection, self._early

    def deny(self, message: dict[str, Any]) -> None:
        self.http.append(message)

    def refuse(self, status: int, reason: str, headers: Iterable[Header] = ()) -> None:
        self.http.append((status, reason, *headers))

    def log_details(self) -> dict[str, Any]:
        return {"path": "/"}
