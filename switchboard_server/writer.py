"""The frame writers: whole frames go to the kernel, and what it does not take into a buffer that is counted.

A writer is offered to applications as `scope["extensions"]["switchboard.writer"]`. Everything that leaves an
accepted socket goes through its writer, so it knows what is held without reading a transport's private
buffers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

from switchboard_server import deflate, frames
from switchboard_server.transport import SocketTransport, Transport

EXTENSION: Final = "switchboard.writer"
CHUNK: Final = 64 * 1024
"""Bytes offered to the kernel or the transport at a time, or one larger write. A chunk that has been begun
can no longer be thrown away, so this bounds what a slow peer still gets after `abort`."""

NOTHING: Final = memoryview(b"")

T = TypeVar("T", bound=Transport)


class Owner(Protocol):
    """The WebSocket as its writer sees it."""

    def close(self, code: int, reason: str = "") -> None:
        """Close with a close frame. Raises ValueError for a code RFC 6455 does not allow."""

    def abort(self) -> int:
        """Drop the connection; how many frames are thrown away."""


class TransportWriter(Generic[T]):
    """The writer of one WebSocket; subclasses differ in how bytes reach the kernel."""

    __slots__ = (
        "_drained",
        "_handed",
        "_held",
        "_last",
        "_owner",
        "_transport",
        "_waiting",
        "around_reads",
        "open",
        "window_bits",
    )

    def __init__(self, owner: Owner) -> None:
        self.around_reads: Callable[[Callable[[], None]], None] | None = None
        """Set by an application that wants to know where a read begins and ends: it gets the step in which it
        handles the frames of the read, and has to call that."""
        self.open = False
        """True between accept and the first close frame or the loss of the connection."""
        self.window_bits = 0
        """From accept on: of the window that compressed frames may use; 0 where they are not agreed on."""
        self._owner: Owner | None = owner
        self._transport: T | None = None
        self._waiting: deque[bytes] | None = None
        """Frames not yet handed to the transport, each entry beginning and ending where a frame does."""
        self._held = 0
        self._handed = 0
        """Part of `_held` that the transport has and may not have given to the kernel yet."""
        self._last: bytes | None = None
        self._drained: list[Callable[[], None]] | None = None

    # --- called by an application ---------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send whole frames, one or many joined; nothing happens after the close frame or the loss."""
        if self.open:
            self._put(data)

    def compressed(self, frame: bytes) -> bytes:
        """The form in which this client gets one whole, plain frame: compressed, or as it is.

        It depends on `window_bits` alone, so clients with the same ones can share it.
        """
        return deflate.compressed(frame, self.window_bits) if self.window_bits else frame

    def held(self) -> int:
        """Bytes accepted and not yet given to the kernel; up to one chunk too many while it is being sent."""
        return self._held

    def notify_drained(self, callback: Callable[[], None]) -> None:
        """Call back once when nothing is held any more (or nothing ever will be)."""
        if not self._held:
            asyncio.get_running_loop().call_soon(callback)
        elif self._drained is None:
            self._drained = [callback]
        else:
            self._drained.append(callback)

    def close(self, code: int, reason: str = "") -> None:
        """Send a close frame behind what is held. Raises ValueError for a code RFC 6455 does not allow."""
        if self._owner is not None:
            self._owner.close(code, reason)

    def abort(self) -> int:
        """Drop the connection of a peer that does not read; how many frames are thrown away.

        After `close` the frames that have not been begun are thrown away, so that the close frame is next,
        and the connection is dropped shortly after, unless the peer reads on; else it is dropped now.
        """
        return 0 if self._owner is None else self._owner.abort()

    # --- called by the WebSocket ----------------------------------------------------------------------

    def start(self, transport: T, response: bytes) -> None:
        """Take over the transport; `response` goes out behind what it may still hold, frames behind that."""
        raise NotImplementedError

    def finish(self, frame: bytes) -> None:
        """Send the close frame, the last."""
        if self.open:
            self.open = False
            self._last = frame
            self._put(frame)

    def discard(self) -> int:
        """Throw away every frame that has not been begun, except the close frame; how many there were."""
        if not self._waiting:
            return 0
        thrown, kept = self._waiting, [] if self._last is None else [self._last]
        self._waiting = deque(kept)
        self._held -= sum(map(len, thrown)) - sum(map(len, kept))
        return sum(map(frames.count, thrown)) - len(kept)

    def push(self) -> None:
        """Offer the kernel what is held once more, where that can be done."""

    def lost(self) -> None:
        """The connection is gone: forget everything."""
        self.open = False
        self.around_reads = None
        self._owner = self._transport = self._waiting = self._last = None
        self._held = self._handed = 0
        self._call_drained()

    # --------------------------------------------------------------------------------------------------

    def _put(self, data: bytes) -> None:
        raise NotImplementedError

    def _next_chunk(self) -> bytes:
        """About CHUNK bytes, ending where a frame ends."""
        assert self._waiting
        parts = [self._waiting.popleft()]
        size = len(parts[0])
        while self._waiting and size + len(self._waiting[0]) <= CHUNK:
            parts.append(self._waiting.popleft())
            size += len(parts[-1])
        return b"".join(parts)

    def _call_drained(self) -> None:
        callbacks, self._drained = self._drained, None
        for callback in callbacks or ():
            callback()


class KernelWriter(TransportWriter[SocketTransport]):
    """The writer over plain TCP or a Unix socket: a write is one system call while nothing is held.

    `_waiting` is None while nothing is held. Only then frames go to the kernel directly: at any other time
    they would overtake those that wait.
    """

    __slots__ = ("_chunk", "_send")

    def __init__(self, owner: Owner) -> None:
        super().__init__(owner)
        self._send: Callable[[bytes | memoryview], int] | None = None
        self._chunk = NOTHING
        """The rest of what the kernel has taken in part."""

    def start(self, transport: SocketTransport, response: bytes) -> None:
        """Take over the transport, which holds nothing."""
        self._transport = transport
        self._send = transport.send
        self.open = True
        self._put(response)

    def push(self) -> None:
        """Offer the kernel what is held.

        The loop calls when a third of the kernel's buffer is free, anybody else whenever he likes.
        """
        while self._held and self._send is not None:
            if not self._chunk:
                self._chunk = memoryview(self._next_chunk())
            try:
                sent = self._send(self._chunk)
            except BlockingIOError:
                return
            except OSError:
                self._fail()
                return
            self._held -= sent
            self._chunk = self._chunk[sent:]
        self._chunk, self._waiting = NOTHING, None
        if self._transport is not None:
            self._transport.stop_calling()
            self._call_drained()

    def lost(self) -> None:
        """The connection is gone: forget everything."""
        self._send, self._chunk = None, NOTHING
        super().lost()

    def _put(self, data: bytes) -> None:
        if self._waiting is not None:
            self._held += len(data)
            self._waiting.append(data)
            return
        assert self._send is not None
        try:
            sent = self._send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._fail()
            return
        if sent < len(data):
            assert self._transport is not None
            self._held = len(data) - sent
            self._waiting, self._chunk = deque(), memoryview(data)[sent:]
            self._transport.call_when_writable(self.push)

    def _fail(self) -> None:
        self.open = False
        if self._transport is not None:
            self._transport.abort()


class BufferedWriter(TransportWriter[Transport]):
    """The writer over a transport without a socket of its own to write to: TLS.

    Bytes go through `transport.write` until it says that it is full. Its buffer below that mark (64 KiB) is
    not counted.
    """

    __slots__ = ("_paused",)

    def start(self, transport: Transport, response: bytes) -> None:
        """Take over the transport, and follow its `pause_writing` and `resume_writing` until the end."""
        self._transport = transport
        self._paused = False
        self.open = True
        self._waiting = deque()
        transport.control_flow(self)
        self._put(response)

    def pause_writing(self) -> None:
        """The transport is full."""
        self._paused = True

    def resume_writing(self) -> None:
        """The transport has room again."""
        self._paused = False
        self._held -= self._handed
        self._handed = 0
        while self._waiting and not self._paused:
            self._hand(self._next_chunk())
        if not self._held:
            self._call_drained()

    def _put(self, data: bytes) -> None:
        self._held += len(data)
        if self._paused:
            assert self._waiting is not None
            self._waiting.append(data)
        else:
            self._hand(data)

    def _hand(self, data: bytes) -> None:
        """Give the transport bytes that are counted as held; they stay so while it is full."""
        assert self._transport is not None
        self._transport.write(data)
        if self._paused:
            self._handed += len(data)
        else:
            self._held -= len(data)
