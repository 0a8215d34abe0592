"""One connection that is followed: its outbox writes through a writer that notes, until no trace is left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from routing_app.core.codes import Close
from routing_app.core.delivery.connection import Connection
from routing_app.core.delivery.frame import Frame
from routing_app.core.delivery.writer import Writer
from routing_app.core.frame_trace.recording import Recording

IN: Final = "in"
OUT: Final = "out"
CODE_BYTES: Final = 2
"""Of the code in a close frame."""
NO_CODE: Final = 1005
LOST: Final = 1006
"""Codes that stand for a close frame without a code, and for none at all (RFC 6455, 7.1.5)."""
BY_SERVER: Final = frozenset({1002, 1007, 1009})
"""Codes with which the server ends a connection over a frame that nobody else sees."""


class NotingWriter:
    """Notes frames, then gives them to the connection's own writer."""

    __slots__ = ("_follower", "inner")

    def __init__(self, inner: Writer, follower: Follower) -> None:
        self.inner = inner
        self._follower = follower

    def write(self, frames: list[Frame]) -> None:
        """See Writer."""
        for frame in frames:
            self._follower.note(OUT, frame.size, frame.payload)
        self.inner.write(frames)

    def held_bytes(self) -> int:
        """See Writer."""
        return self.inner.held_bytes()

    def held_frames(self) -> int:
        """See Writer."""
        return self.inner.held_frames()

    def close(self, close: Close) -> None:
        """See Writer."""
        self.inner.close(close)

    def abort(self, close: Close) -> None:
        """See Writer."""
        self.inner.abort(close)


class Follower:
    """Notes the frames of one connection for some traces (`connection.follower`)."""

    __slots__ = ("_connection", "_has_ended", "recordings")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._has_ended = False
        """True once a close was noted."""
        self.recordings: list[Recording] = []
        connection.outbox.writer = NotingWriter(connection.outbox.writer, self)
        connection.follower = self

    def release(self) -> None:
        """The connection writes as before."""
        writer = self._connection.outbox.writer
        if isinstance(writer, NotingWriter):
            self._connection.outbox.writer = writer.inner
        self._connection.follower = None

    def note(self, direction: str, size: int, body: str | bytes, code: int = 0) -> None:
        """One frame."""
        connection = self._connection
        for recording in self.recordings:
            recording.note(connection.id, connection.protocol, direction, size, body, code)

    def received(self, message: Mapping[str, Any]) -> None:
        """An ASGI message from the client, before anything is done with it."""
        if message["type"] != "websocket.receive":
            self._left(message.get("code") or LOST, message.get("reason") or "")
        elif (text := message.get("text")) is not None:
            self.note(IN, len(text) if text.isascii() else len(text.encode()), text)
        else:
            data = message.get("bytes") or b""
            self.note(IN, len(data), data)

    def closing(self, close: Close) -> None:
        """This end closes the connection."""
        self._note_close(OUT, close.code, close.reason)

    def departed(self, code: int) -> None:
        """The connection has ended; `code` says how, where no close frame did."""
        if not self._has_ended:
            self.note(IN, 0, "", code)

    def _left(self, code: int, reason: str) -> None:
        if code != LOST or not self._has_ended:  # a client need not answer our close
            self._note_close(OUT if code in BY_SERVER else IN, code, reason)

    def _note_close(self, direction: str, code: int, reason: str) -> None:
        self._has_ended = True
        size = 0 if code in (NO_CODE, LOST) else CODE_BYTES + len(reason.encode())
        self.note(direction, size, reason, code)
