"""Twisted's connection under an accepted WebSocket: the one module that knows both."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import Any, Final, Protocol

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocol, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from switchboard_server.transport import FlowControl

BYTES_ACKED: Final = 120
"""Offset of `tcpi_bytes_acked` (8 bytes, native order) in `struct tcp_info` of `linux/tcp.h`, since Linux
4.1. The structure only ever grows at its end, so the offset stays."""


class DataReceiver(Protocol):
    """The WebSocket as its connection sees it."""

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""

    def connection_lost(self) -> None:
        """The connection is gone; called once."""


@implementer(IProtocol, IPushProducer)
class TwistedTransport:
    """A `Transport` over Twisted's TLS, which has no socket that frames could be written to directly."""

    __slots__ = ("_receiver", "_transport", "_writer")

    def __init__(self, transport: Any, receiver: DataReceiver) -> None:
        self._transport = transport
        self._receiver: DataReceiver | None = receiver
        self._writer: FlowControl | None = None

    # --- Transport ------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """See Transport."""
        self._transport.write(data)

    def pause_reading(self) -> None:
        """See Transport."""
        self._transport.pauseProducing()

    def resume_reading(self) -> None:
        """See Transport."""
        self._transport.resumeProducing()

    def control_flow(self, writer: FlowControl) -> None:
        """See Transport. Twisted calls 64 KiB full."""
        self._writer = writer
        self._transport.registerProducer(self, True)

    def close(self) -> None:
        """See Transport."""
        # With a producer Twisted waits until that has ended by itself.
        self._transport.unregisterProducer()
        self._transport.loseConnection()

    def half_close(self) -> None:
        """Nothing: TLS ends both directions at once."""

    def end(self) -> None:
        """See Transport: a reset, as the kernel may still wait for room for the end of TLS."""
        self._transport.abortConnection()

    def abort(self) -> None:
        """See Transport."""
        self._transport.abortConnection()

    def acknowledged(self) -> int:
        """0: bytes of the kernel's connection are not those of the WebSocket."""
        return 0

    # --- Twisted's protocol and producer --------------------------------------------------------------

    def makeConnection(self, transport: Any) -> None:  # noqa: N802 - Twisted's name
        """Twisted: never called, the connection was made before its request became a WebSocket."""

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """Twisted: never called, see `makeConnection`."""

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Twisted: bytes from the peer."""
        if self._receiver is not None:
            self._receiver.data_received(data)

    def connectionLost(self, reason: Any = None) -> None:  # noqa: N802 - Twisted's name
        """Twisted: the connection is gone. No reference to the WebSocket is kept."""
        receiver, self._receiver = self._receiver, None
        self._writer = None
        if receiver is not None:
            receiver.connection_lost()

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Twisted: the buffer is full."""
        if self._writer is not None:
            self._writer.pause_writing()

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Twisted: the buffer has room."""
        if self._writer is not None:
            self._writer.resume_writing()

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Twisted: the connection is gone; `connectionLost` follows."""


class TwistedSocketTransport(TwistedTransport):
    """A `SocketTransport` over Twisted's TCP or Unix socket."""

    __slots__ = ("_more", "send")

    def __init__(self, transport: Any, receiver: DataReceiver) -> None:
        super().__init__(transport, receiver)
        self.send: Callable[[bytes], int] = transport.getHandle().send
        self._more: Callable[[], object] | None = None

    def start_asking(self, more: Callable[[], object]) -> None:
        """See SocketTransport; this makes it a pull producer in Twisted's words."""
        self._more = more
        self._transport.registerProducer(self, False)

    def stop_asking(self) -> None:
        """See SocketTransport."""
        self._more = None
        self._transport.unregisterProducer()

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Twisted: everything written is with the kernel."""
        if self._more is not None:
            self._more()

    def flush(self) -> None:
        """See SocketTransport."""
        self._transport.doWrite()

    def half_close(self) -> None:
        """See Transport."""
        self._transport.unregisterProducer()
        self._transport.loseWriteConnection()

    def end(self) -> None:
        """See Transport. Not `loseConnection`, which waits until the kernel has room again."""
        self._transport.connectionLost(Failure(ConnectionDone()))

    def acknowledged(self) -> int:
        """See Transport; 0 for a Unix socket and for a kernel other than Linux."""
        if not hasattr(socket, "TCP_INFO"):
            return 0
        try:
            handle = self._transport.getHandle()
            info = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, BYTES_ACKED + 8)
        except OSError:
            return 0
        return int(struct.unpack_from("Q", info, BYTES_ACKED)[0]) if len(info) == BYTES_ACKED + 8 else 0
