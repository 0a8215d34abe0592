"""The frame writer: whole frames straight to the kernel, what it does not take into a buffer that is counted.

Offered to applications as `scope["extensions"]["switchboard.writer"]`. Everything that leaves an accepted
socket goes through its writer, so it knows what is held without reading Twisted's private buffers: while
something is held it is the transport's producer, and the transport asks it for more when it has run dry.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import IPullProducer, IPushProducer
from zope.interface import implementer

from switchboard_server import frames

if TYPE_CHECKING:
    from switchboard_server.websocket import WebSocket

EXTENSION: Final = "switchboard.writer"
CHUNK: Final = 64 * 1024
"""Bytes handed to the transport at a time, or one larger write; the rest can still be thrown away."""

BYTES_ACKED: Final = 120
"""Where `tcpi_bytes_acked`, 8 bytes, stands in `struct tcp_info` since Linux 4.1."""


@implementer(IPullProducer)
class TransportWriter:
    """TransportWriter of one socket over plain TCP or a Unix socket."""

    __slots__ = (
        "_drained",
        "_handed",
        "_held",
        "_last",
        "_send",
        "_socket",
        "_transport",
        "_waiting",
        "open",
    )

    def __init__(self, owner: WebSocket) -> None:
        self.open = False
        """True between accept and the first close frame or the loss of the connection."""
        self._socket: WebSocket | None = owner
        self._transport: Any = None
        self._send: Callable[[bytes], int] | None = None
        self._waiting: deque[bytes] | None = None
        self._held = 0
        self._handed = 0
        self._last: bytes | None = None
        self._drained: list[Callable[[], None]] | None = None

    # --- what an application may call -----------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send whole frames, one or many joined; nothing happens after the close frame or the loss."""
        if self.open:
            self._put(data)

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
        if self._socket is not None:
            self._socket.close(code, reason)

    def abort(self) -> int:
        """Drop the connection of a peer that does not read; how many frames are thrown away.

        After `close` the frames that have not been begun are thrown away, so that the close frame is next,
        and the connection is dropped shortly after, unless the peer reads on; else it is dropped now.
        """
        return 0 if self._socket is None else self._socket.abort()

    # --- what the socket calls ------------------------------------------------------------------------

    def start(self, transport: Any, response: bytes) -> None:
        """Take over the transport; `response` goes out behind what it may still hold, frames behind that."""
        self._transport = transport
        self._send = transport.getHandle().send
        self.open = True
        self._hold(response)

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
        """Offer what is held again. The kernel asks for more only when a third of its buffer is free."""
        before = 0
        while self._held and self._held != before:
            before = self._held
            self._transport.doWrite()

    def acknowledged(self) -> int:
        """Bytes that the peer's kernel has taken so far (`linux/tcp.h`); 0 where ours does not tell."""
        if not hasattr(socket, "TCP_INFO"):
            return 0
        try:
            info = self._transport.getHandle().getsockopt(
                socket.IPPROTO_TCP, socket.TCP_INFO, BYTES_ACKED + 8
            )
        except OSError:
            return 0
        return int(struct.unpack_from("Q", info, BYTES_ACKED)[0]) if len(info) == BYTES_ACKED + 8 else 0

    def lost(self) -> None:
        """The connection is gone: forget everything."""
        self.open = False
        self._socket = self._transport = self._send = self._waiting = self._last = None
        self._held = self._handed = 0
        self._call_drained()

    # --- Twisted's pull producer ----------------------------------------------------------------------

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        """The transport holds nothing: give it the next chunk, or go back to direct writes."""
        self._held -= self._handed
        self._handed = 0
        if self._waiting:
            chunk = self._next_chunk()
            self._handed = len(chunk)
            self._transport.write(chunk)
        elif self._transport is not None:
            self._waiting = None
            self._transport.unregisterProducer()
            self._call_drained()

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        """The transport is gone; the socket is told by `connectionLost`."""

    # --------------------------------------------------------------------------------------------------

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
            self.open = False
            self._transport.abortConnection()
            return
        if sent < len(data):
            self._hold(data[sent:])

    def _hold(self, data: bytes) -> None:
        """Begin to hold. Registering has the transport ask for the first chunk at once."""
        self._held = len(data)
        self._waiting = deque([data])
        self._transport.registerProducer(self, False)

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


@implementer(IPushProducer)
class BufferedWriter(TransportWriter):
    """TransportWriter over a transport without a socket of its own to write to: TLS.

    Bytes go through `transport.write` until it says that it is full. What its buffer holds below that
    mark (64 KiB in Twisted) is not counted.
    """

    __slots__ = ("_paused",)

    def start(self, transport: Any, response: bytes) -> None:
        """Take over the transport and stay its producer."""
        self._transport = transport
        self._paused = False
        self.open = True
        self._waiting = deque()
        transport.registerProducer(self, True)
        self._put(response)

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        """The transport is full."""
        self._paused = True

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
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
        self._transport.write(data)
        if self._paused:
            self._handed += len(data)
        else:
            self._held -= len(data)
