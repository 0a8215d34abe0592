"""An asyncio transport under an accepted WebSocket."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol

from switchboard_server.transport import FlowControl

BYTES_ACKED: Final = 120
"""Offset of `tcpi_bytes_acked` (8 bytes, native order) in `struct tcp_info` of `linux/tcp.h`, since Linux
4.1. New fields are only added at the end of the structure, so the offset stays."""
TLS_HIGH_WATER: Final = 64 * 1024
"""Bytes that a transport of TLS buffers before it calls itself full."""
RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER of a socket whose close is a reset."""


class DataReceiver(Protocol):
    """The WebSocket as its connection sees it."""

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""

    def connection_lost(self) -> None:
        """The connection is gone; called once."""


class AsyncioTransport(asyncio.Protocol):
    """A `Transport` over asyncio's TLS, which has no socket that frames could be written to directly."""

    __slots__ = ("_receiver", "_transport", "_writer", "data_received")

    def __init__(self, transport: Any, receiver: DataReceiver) -> None:
        self._transport = transport
        self._receiver: DataReceiver | None = receiver
        self._writer: FlowControl | None = None
        # asyncio calls the receiver itself: a method in between would be called for each read.
        self.data_received = receiver.data_received  # type: ignore[method-assign]

    # --- Transport ------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """See Transport."""
        self._transport.write(data)

    def pause_reading(self) -> None:
        """See Transport."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """See Transport."""
        self._transport.resume_reading()

    def control_flow(self, writer: FlowControl) -> None:
        """See Transport."""
        self._writer = writer
        self._transport.set_write_buffer_limits(TLS_HIGH_WATER)

    def close(self) -> None:
        """See Transport."""
        self._transport.close()

    def half_close(self) -> None:
        """Nothing: TLS ends both directions at once."""

    def end(self) -> None:
        """See Transport: without the end of TLS, for which the kernel may have no room."""
        self._transport.abort()

    def abort(self) -> None:
        """See Transport."""
        reset(self._transport)

    def acknowledged(self) -> int:
        """0: bytes of the kernel's connection are not those of the WebSocket."""
        return 0

    # --- asyncio's protocol ---------------------------------------------------------------------------

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone. No reference to the WebSocket is kept."""
        receiver, self._receiver = self._receiver, None
        self._writer = None
        self.data_received = _ignore  # type: ignore[method-assign]
        if receiver is not None:
            receiver.connection_lost()

    def pause_writing(self) -> None:
        """The transport is full."""
        if self._writer is not None:
            self._writer.pause_writing()

    def resume_writing(self) -> None:
        """The transport has room."""
        if self._writer is not None:
            self._writer.resume_writing()


class AsyncioSocketTransport(AsyncioTransport):
    """A `SocketTransport` over a TCP or Unix socket (`plain_socket.py`), which holds nothing."""

    __slots__ = ("_loop", "_own", "_watched", "send")

    def __init__(self, transport: Any, receiver: DataReceiver, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(transport, receiver)
        self._loop = loop
        self._own: socket.socket = transport.get_extra_info("socket")
        self.send: Callable[[bytes | memoryview], int] = self._own.send
        self._watched = False

    def call_when_writable(self, call: Callable[[], object]) -> None:
        """See SocketTransport."""
        self._watched = True
        self._loop.add_writer(self._own.fileno(), call)

    def stop_calling(self) -> None:
        """See SocketTransport."""
        if self._watched:
            self._watched = False
            self._loop.remove_writer(self._own.fileno())

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone; its socket is closed next."""
        self.stop_calling()
        super().connection_lost(error)

    def close(self) -> None:
        """See Transport. A close with unread bytes would be a reset, so the peer closes its side first."""
        half_close(self._transport)

    def half_close(self) -> None:
        """See Transport."""
        half_close(self._transport)

    def acknowledged(self) -> int:
        """See Transport."""
        return acknowledged(self._transport)


def acknowledged(transport: Any) -> int:
    """Bytes that the peer's kernel has taken; 0 for a Unix socket and for a kernel other than Linux."""
    own = transport.get_extra_info("socket")
    if own is None or not hasattr(socket, "TCP_INFO"):
        return 0
    try:
        info = own.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, BYTES_ACKED + 8)
    except OSError:
        return 0
    return int(struct.unpack_from("Q", info, BYTES_ACKED)[0]) if len(info) == BYTES_ACKED + 8 else 0


def half_close(transport: Any) -> None:
    """End this direction behind what was written, and read on."""
    try:
        transport.write_eof()
    except OSError:  # the client has reset the connection
        transport.abort()


def reset(transport: Any) -> None:
    """Close a connection with a reset, so that the client sees that something is missing."""
    own = transport.get_extra_info("socket")
    if own is not None:  # TLS has none any more when it has lost its connection and not told us yet
        with suppress(OSError):  # the socket is closed already
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    transport.abort()


def _ignore(data: bytes) -> None:
    """Take the place of a receiver that has ended."""
