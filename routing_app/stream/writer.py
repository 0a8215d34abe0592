"""Frames of an event stream, and their writers: the parts of an HTTP response."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final, Protocol

from routing_app.core import metrics
from routing_app.core.codes import Close, Loss
from routing_app.core.delivery.frame import BinaryFrame, Frame
from routing_app.core.delivery.publication import Position, Publication
from routing_app.core.delivery.writer import CLOSE, AsgiWriter, Send
from routing_app.stream import wire
from routing_app.stream.progress import Progress

END: Final = {"type": "http.response.body", "body": b"", "more_body": False}


class ServerResponse(Protocol):
    """The ASGI extension of our server, one for each request."""

    def write(self, data: bytes) -> None:
        """Send a part of the body now; nothing once the client has gone."""

    def end(self) -> None:
        """Send the end of the body."""

    def held(self) -> int:
        """Bytes that the kernel has not taken."""

    def abort(self) -> None:
        """Reset the connection."""


class StreamFrame(Frame):
    """A frame that every connection writes with an id of its own."""

    __slots__ = ()

    def written(self, progress: Progress) -> bytes:
        """The bytes for a connection, whose progress moves on."""
        raise NotImplementedError


class EventFrame(StreamFrame):
    """One publication."""

    __slots__ = ("_event", "_id", "data", "positions")

    def __init__(self, data: bytes, positions: Mapping[str, Position] | None = None) -> None:
        super().__init__("")
        self.data = data
        self.size = len(data)
        self.positions = positions
        self._id = self._event = b""

    def written(self, progress: Progress) -> bytes:
        """The event; readers of the same addresses mostly have the same id, and get the same bytes."""
        if self.positions:
            progress.advance(self.positions)
        if self._id != progress.id:
            self._id, self._event = progress.id, wire.event(progress.id, self.data)
        return self._event

    @property
    def payload(self) -> str:
        """The data of the event."""
        return self.data.decode()


class GapFrame(StreamFrame):
    """Messages may be missing, of any address."""

    __slots__ = ()

    def written(self, progress: Progress) -> bytes:
        """The event `gap`."""
        progress.jump()
        return wire.event(progress.id, wire.gap(progress.addresses), wire.GAP)


class CommentFrame(StreamFrame):
    """A sign of life."""

    __slots__ = ()

    def written(self, progress: Progress) -> bytes:
        """A comment."""
        return wire.COMMENT


class Part(BinaryFrame):
    """A part of the response, of so many frames; `message` is the ASGI message that sends it."""

    __slots__ = ("count", "message")

    def __init__(self, data: bytes, count: int = 1) -> None:
        super().__init__(data)
        self.count = count
        self.message: dict[str, Any] = {  # a property that is made once
            "type": "http.response.body",
            "body": data,
            "more_body": True,
        }


class EventEncoder:
    """A publication as an event."""

    per_address = True

    def __call__(self, publication: Publication, address: str) -> EventFrame:
        """The frame."""
        return EventFrame(wire.data(publication, address), publication.positions)


def written(frames: Iterable[Frame], progress: Progress) -> list[bytes]:
    """The bytes of each frame for a connection, whose progress moves on."""
    return [frame.written(progress) for frame in frames if isinstance(frame, StreamFrame)]


class DirectStreamWriter:
    """Writes events through our server's extension; the end of the response stands for the close.

    `ended` is called once the end has been sent.
    """

    __slots__ = ("_bytes", "_ended", "_held", "_response", "progress")

    def __init__(self, response: ServerResponse, ended: Callable[[], None]) -> None:
        self._response = response
        self._ended = ended
        self._held: deque[tuple[int, int]] = deque()
        """Bytes and frames of the last writes, of which the server may hold some."""
        self._bytes = 0
        self.progress = Progress()

    def open(self, progress: Progress, missed: list[str]) -> None:
        """Write what stands before the first event."""
        self.progress = progress
        self._response.write(wire.opening(progress.id, missed))

    def write(self, frames: list[Frame]) -> None:
        """One write for all frames."""
        parts = written(frames, self.progress)
        data = b"".join(parts)
        self._response.write(data)
        self._held.append((len(data), len(parts)))
        self._bytes += len(data)
        while self._held and self._bytes - self._held[0][0] >= self._response.held():
            self._bytes -= self._held.popleft()[0]

    def held_bytes(self) -> int:
        """Bytes that the server still holds."""
        return self._response.held()

    def held_frames(self) -> int:
        """0: the server counts bytes."""
        return 0

    def close(self, close: Close) -> None:
        """End the response."""
        self._response.end()
        self._ended()

    def abort(self, close: Close) -> None:
        """Drop the connection; the frames that the server held are lost, and counted."""
        metrics.LOST.labels(Loss.SLOW).inc(sum(count for _, count in self._held))
        self._response.abort()


class AsgiStreamWriter(AsgiWriter):
    """The same on other servers."""

    __slots__ = ("_joined", "progress")

    def __init__(self, send: Send, ended: Callable[[], None]) -> None:
        super().__init__(partial(_send, send, ended))
        self._joined = Part(b"")
        """The last part of several frames."""
        self.progress = Progress()

    def open(self, progress: Progress, missed: list[str]) -> None:
        """Write what stands before the first event."""
        self.progress = progress
        super().write([Part(wire.opening(progress.id, missed))])

    def write(self, frames: list[Frame]) -> None:
        """Send frames: as one part, or one by one behind others that wait, so that each is counted."""
        parts = written(frames, self.progress)
        if self.held_frames():
            super().write([Part(part) for part in parts])
        else:
            self._joined = Part(b"".join(parts), len(parts))
            super().write([self._joined])

    def lose(self) -> None:
        """Count the frames that the server did not take until the end."""
        message = self._waiting[0][0] if self._waiting else None
        if message is not None and message["type"] != CLOSE:
            metrics.LOST.labels(Loss.SLOW).inc(self._joined.count if message is self._joined.message else 1)


async def _send(send: Send, ended: Callable[[], None], message: dict[str, Any]) -> None:
    if message["type"] != CLOSE:
        await send(message)
        return
    try:
        await send(END)
    finally:
        ended()
