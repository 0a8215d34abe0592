"""An accepted TCP or Unix socket as an asyncio transport, without what a server's connection does not need.

asyncio's own takes 2 kB more and 30 µs more for each connection: a task that waits for its first callbacks, a
dictionary of its attributes and one of its extra information, a queue for what it cannot write.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Final

READ_BYTES: Final = 64 * 1024
"""Bytes of one read. A larger buffer is given back to the system after each read, and asked for again."""
HIGH_WATER: Final = 64 * 1024
"""Held bytes above which the protocol is told to pause, as asyncio's transports have it."""
LOW_WATER: Final = HIGH_WATER // 4


class PlainSocket(asyncio.Transport):
    """Reads from a socket for a protocol, and writes what it gives. What the kernel does not take is held."""

    __slots__ = (
        "_address",
        "_closing",
        "_ends",
        "_held",
        "_is_full",
        "_loop",
        "_lost",
        "_protocol",
        "_reading",
        "_socket",
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, own: socket.socket, address: Any, protocol: asyncio.Protocol
    ) -> None:
        self._loop = loop
        self._socket = own
        self._address = address
        """Of the other end, as `accept` gave it."""
        self._protocol: asyncio.Protocol | None = protocol
        self._held: bytearray | None = None
        """Bytes that wait for the kernel, if there are any."""
        self._is_full = self._reading = False
        self._closing = False
        """Whether it closes when nothing is held any more."""
        self._ends = False
        """Whether this direction ends then."""
        self._lost = False
        protocol.connection_made(self)
        self.resume_reading()

    # --- reading --------------------------------------------------------------------------------------

    def pause_reading(self) -> None:
        """asyncio: give the protocol no more bytes."""
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._socket.fileno())

    def resume_reading(self) -> None:
        """asyncio: give the protocol bytes again."""
        if not (self._reading or self._closing):
            self._reading = True
            self._loop.add_reader(self._socket.fileno(), self._read)

    def is_reading(self) -> bool:
        """asyncio: whether the protocol is given bytes."""
        return self._reading

    def _read(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lose(error)
            return
        if not data:
            self.close()
            return
        assert self._protocol is not None  # it is there until the connection is lost
        try:
            self._protocol.data_received(data)
        except Exception as error:
            self._loop.call_exception_handler(
                {"message": "A connection could not handle what it read", "exception": error}
            )
            self._lose(error)

    # --- writing --------------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """asyncio: send bytes behind what was written before."""
        if self._closing or self._ends or not data:
            return
        if self._held is not None:
            self._held += data
        else:
            try:
                sent = self._socket.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                self._lose(error)
                return
            if sent == len(data):
                return
            self._held = bytearray(memoryview(data)[sent:])
            self._loop.add_writer(self._socket.fileno(), self._write_held)
        if len(self._held) > HIGH_WATER and not self._is_full and self._protocol is not None:
            self._is_full = True
            self._protocol.pause_writing()

    def _write_held(self) -> None:
        assert self._held is not None
        try:
            del self._held[: self._socket.send(self._held)]
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lose(error)
            return
        if not self._held:
            self._held = None
            self._loop.remove_writer(self._socket.fileno())
            if self._closing:
                self._lose(None)
                return
            if self._ends:
                self._shut_down_or_lose()
        if self._is_full and len(self._held or ()) <= LOW_WATER and self._protocol is not None:
            self._is_full = False
            self._protocol.resume_writing()

    def get_write_buffer_size(self) -> int:
        """asyncio: bytes that are held."""
        return len(self._held or ())

    def can_write_eof(self) -> bool:
        """asyncio: True."""
        return True

    def write_eof(self) -> None:
        """asyncio: end this direction behind what was written. Raises OSError when the connection is lost."""
        if self._ends or self._closing:
            return
        self._ends = True
        if self._held is None:
            self._socket.shutdown(socket.SHUT_WR)

    def _shut_down_or_lose(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            self._lose(error)

    # --- the end --------------------------------------------------------------------------------------

    def close(self) -> None:
        """asyncio: close behind what was written, and read no more."""
        if self._closing:
            return
        self.pause_reading()
        self._closing = True
        if self._held is None:
            self._lose(None)

    def abort(self) -> None:
        """asyncio: close now; the kernel sends what it has taken."""
        self._lose(None)

    def is_closing(self) -> bool:
        """asyncio: whether it closes, or is lost."""
        return self._closing

    def _lose(self, error: Exception | None) -> None:
        """Close, and tell the protocol in the loop's next turn: it may be in the middle of something."""
        if self._lost:
            return
        self.pause_reading()
        self._lost = self._closing = True
        if self._held is not None:
            self._held = None
            self._loop.remove_writer(self._socket.fileno())
        self._loop.call_soon(self._tell, error)

    def _tell(self, error: Exception | None) -> None:
        protocol, self._protocol = self._protocol, None
        try:
            if protocol is not None:
                protocol.connection_lost(error)
        finally:
            self._socket.close()

    # --- the rest of asyncio's interface --------------------------------------------------------------

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """asyncio: give bytes and events to another protocol."""
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """asyncio: `socket`, and for TCP `peername` and `sockname`."""
        if name == "socket":
            return self._socket
        if name == "peername":
            return self._address
        if name == "sockname":
            return self._socket.getsockname()
        return default
