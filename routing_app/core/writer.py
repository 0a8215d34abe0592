"""How frames leave the process: through the server's frame writer if it offers one, else `await send()`."""

from __future__ import annotations

import asyncio
import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar, Final, Protocol

from routing_app.core import metrics
from routing_app.core.codes import Close, Loss
from routing_app.core.frame import Frame

EXTENSION: Final = "switchboard.writer"
"""Name of our server's ASGI extension: `scope["extensions"][EXTENSION]` is a `FrameWriter`."""
MAX_MESSAGE: Final = "switchboard.max_message"
"""Key of `websocket.accept`: our server takes messages of so many bytes on this socket, whatever others may
send. Servers that do not know it take no notice."""

Send = Callable[[dict[str, Any]], Coroutine[Any, Any, None]]


class FrameWriter(Protocol):
    """The ASGI extension of our server, one per socket."""

    def write(self, data: bytes) -> None:
        """Write complete frames; silently nothing after the close frame or the loss of the connection."""

    def held(self) -> int:
        """Bytes accepted and not yet given to the kernel."""

    def close(self, code: int, reason: str) -> None:
        """Send a close frame; any code of RFC 6455."""

    def abort(self) -> int:
        """Drop the connection without waiting for the peer to read; how many frames are thrown away."""


class Writer(Protocol):
    """Takes a connection's frames in order and says what it still holds."""

    def write(self, frames: list[Frame]) -> None:
        """Take frames for the wire, in order. Never blocks, never raises for a connection that is gone."""

    def held_bytes(self) -> int:
        """Bytes taken and not yet written, as far as the server lets one see."""

    def held_frames(self) -> int:
        """Frames taken and not yet written, where the writer counts them; else 0."""

    def close(self, close: Close) -> None:
        """End the connection in order, after the frames written before."""

    def abort(self, close: Close) -> None:
        """End the connection of a peer that does not read: what is held is thrown away."""


class DirectWriter:
    """Joins frames and writes them once, through our server's extension."""

    __slots__ = ("_server",)

    _joined: ClassVar[tuple[list[Frame], bytes]] = ([], b"")
    """The frames joined last, by any writer: whoever hears the same address mostly gets the same ones."""

    def __init__(self, server: FrameWriter) -> None:
        self._server = server

    def write(self, frames: list[Frame]) -> None:
        """One write for all frames; the list must not change afterwards."""
        if len(frames) == 1:
            self._server.write(frames[0].wire)
            return
        last, data = DirectWriter._joined
        if frames != last:
            data = b"".join([frame.wire for frame in frames])
            DirectWriter._joined = frames, data
        self._server.write(data)

    def held_bytes(self) -> int:
        """What the transport still holds."""
        return self._server.held()

    def held_frames(self) -> int:
        """0: the transport counts bytes."""
        return 0

    def close(self, close: Close) -> None:
        """Close frame, any code."""
        self._server.close(close.code, close.reason)

    def abort(self, close: Close) -> None:
        """Try the close frame, then drop the connection."""
        self._server.close(close.code, close.reason)
        self._drop()

    def _drop(self) -> None:
        """What the server held is lost, and only it knows how many frames that were."""
        metrics.LOST.labels(Loss.SLOW).inc(self._server.abort())


class AsgiWriter:
    """Plain ASGI: runs `send()` in place while the server takes messages at once, else in one task.

    Daphne's `send` never waits, so stepping the coroutine by hand saves a task switch per frame; uvicorn's
    waits when the transport is full, and then the rest waits here, where the outbox's bound sees it.
    """

    __slots__ = ("_bytes", "_send", "_task", "_waiting")

    def __init__(self, send: Send) -> None:
        self._send = send
        self._waiting: deque[tuple[dict[str, Any], int]] = deque()
        """Messages and their bytes; the server has begun with the first one, and waits."""
        self._bytes = 0
        self._task: asyncio.Task[None] | None = None

    def write(self, frames: list[Frame]) -> None:
        """Send each frame, in place while nothing waits."""
        for frame in frames:
            self._put(frame.message, frame.size)

    def held_bytes(self) -> int:
        """Bytes of text that wait for the server to take them."""
        return self._bytes

    def held_frames(self) -> int:
        """Messages that wait for the server to take them."""
        return len(self._waiting)

    def close(self, close: Close) -> None:
        """Close in order, with a code that every server can send."""
        self._put({"type": "websocket.close", "code": close.anywhere, "reason": close.reason})

    def abort(self, close: Close) -> None:
        """Throw away what waits, then close. A server that is itself blocked cannot be hurried."""
        while len(self._waiting) > 1:
            self._bytes -= self._waiting.pop()[1]
        self.close(close)

    def _put(self, message: dict[str, Any], size: int = 0) -> None:
        if self._task is None:
            coroutine = self._send(message)
            waiting_for = _step(coroutine)
            if waiting_for is _ENDED:
                return
            self._task = asyncio.ensure_future(self._pump(_resume(coroutine, waiting_for)))
        self._waiting.append((message, size))
        self._bytes += size

    async def _pump(self, begun: Any) -> None:
        try:
            while True:
                with suppress(Exception):  # the peer is gone; the receiving side tells the consumer
                    await begun
                self._bytes -= self._waiting.popleft()[1]
                if not self._waiting:
                    return
                begun = self._send(self._waiting[0][0])
        finally:
            self._task = None
            self._waiting.clear()
            self._bytes = 0


_ENDED: Final = object()


def _step(coroutine: Coroutine[Any, Any, None]) -> Any:
    """Run a coroutine up to its first wait; returns what it waits for (None: a turn), or _ENDED."""
    try:
        return coroutine.send(None)
    except StopIteration:
        return _ENDED
    except Exception:  # the peer is gone; the receiving side tells the consumer
        return _ENDED


@types.coroutine
def _resume(coroutine: Coroutine[Any, Any, None], waiting_for: Any) -> Generator[Any, Any, None]:
    """The rest of a coroutine that `_step` began, to be awaited in a task."""
    while True:
        step: Callable[[], Any]
        try:
            step = partial(coroutine.send, (yield waiting_for))
        except BaseException as error:
            step = partial(coroutine.throw, error)
        try:
            waiting_for = step()
        except StopIteration:
            return
