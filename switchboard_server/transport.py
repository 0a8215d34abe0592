"""The connection beneath a WebSocket, as the WebSocket and its writer see it: no library's own class.

The names are those of asyncio's transports where asyncio has one. `asyncio_transport.py` implements both
kinds; a transport of another kind calls `WebSocket.data_received` and `WebSocket.connection_lost`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class FlowControl(Protocol):
    """The writer as a transport sees it."""

    def pause_writing(self) -> None:
        """The transport is full: it still takes bytes, and keeps them in memory."""

    def resume_writing(self) -> None:
        """The transport has room again."""


class Transport(Protocol):
    """A connection that encrypts, or for another reason buffers what is written to it."""

    def write(self, data: bytes) -> None:
        """Send bytes behind what was written before; never blocks."""

    def pause_reading(self) -> None:
        """Call `data_received` no more, so that the peer's sending stops at the kernel's buffers."""

    def resume_reading(self) -> None:
        """Call `data_received` again."""

    def control_flow(self, writer: FlowControl) -> None:
        """Call `pause_writing` and `resume_writing` of the writer from now on, as asyncio does."""

    def close(self) -> None:
        """Close the connection behind what was written, as soon as the peer closes its side where that can be
        seen: `end` follows for one that does not."""

    def half_close(self) -> None:
        """End this direction behind what was written and read on; does nothing where TLS would end both."""

    def end(self) -> None:
        """Close the connection now, in order where that is possible; the kernel sends what it has taken."""

    def abort(self) -> None:
        """Reset the connection now; what the kernel has taken may not arrive."""

    def acknowledged(self) -> int:
        """Bytes that the peer's kernel has taken so far; 0 where ours does not tell."""


class SocketTransport(Transport, Protocol):
    """A connection whose bytes are those of the WebSocket: frames go to the kernel directly."""

    @property
    def send(self) -> Callable[[bytes | memoryview], int]:
        """The socket's own non-blocking `send`; raises BlockingIOError, or OSError when it is lost."""

    def call_when_writable(self, call: Callable[[], object]) -> None:
        """Call again and again while the kernel has room for more, until `stop_calling`."""

    def stop_calling(self) -> None:
        """Call no more."""
