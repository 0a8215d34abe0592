"""Writers: frames leave by the server's frame writer where it offers one, else by `await send()`."""

from __future__ import annotations

import asyncio
import logging
import types
from asyncio.tasks import _enter_task, _leave_task
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import copy_context
from functools import partial
from typing import Any, ClassVar, Final, Protocol

from routing_app.core import metrics
from routing_app.core.codes import INTERNAL, Close, Loss
from routing_app.core.delivery.frame import Compressor, Frame

logger = logging.getLogger(__name__)

EXTENSION: Final = "switchboard.writer"
"""Name of our server's ASGI extension: `scope["extensions"][EXTENSION]` is a `ServerWriter`."""
MAX_MESSAGE: Final = "switchboard.max_message"
"""Key of `websocket.accept`: the largest message, in bytes, that our server takes on this socket. Other
servers ignore it."""

CLOSE: Final = "websocket.close"
AUTOBAHN_GONE: Final = "Disconnected"
"""Name of the exception that Daphne's `send` raises when the peer is gone. It is Autobahn's, which other
servers do without, so it cannot be imported."""

NONE_JOINED: Final[tuple[list[Frame], bytes]] = [], b""

Send = Callable[[dict[str, Any]], Coroutine[Any, Any, None]]


class ServerWriter(Compressor, Protocol):
    """The ASGI extension of our server, one per socket."""

    open: bool
    """False after the close frame and after the loss of the connection."""

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
        """End the connection of a peer that does not read: frames held here are thrown away, and counted."""


class DirectWriter:
    """Joins frames and writes them once, through our server's extension."""

    __slots__ = ("_server",)

    _joined: ClassVar[tuple[list[Frame], bytes]] = ([], b"")
    """The frames joined last, by any writer: subscribers of one address mostly get the same ones."""
    _compressed: ClassVar[dict[int, tuple[list[Frame], bytes]]] = {}
    """The same for clients that get compressed frames, by the size of their windows."""

    def __init__(self, server: ServerWriter) -> None:
        self._server = server

    def write(self, frames: list[Frame]) -> None:
        """One write for all frames; the list must not change afterwards."""
        server = self._server
        if server.window_bits:
            server.write(self._compress(frames))
        elif len(frames) == 1:
            server.write(frames[0].wire)
        else:
            last, data = DirectWriter._joined
            # Frames compare by identity, so equal lists hold the very same frames: the bytes serve again.
            if frames != last:
                data = b"".join([frame.wire for frame in frames])
                DirectWriter._joined = frames, data
            server.write(data)

    def _compress(self, frames: list[Frame]) -> bytes:
        server = self._server
        if len(frames) == 1:
            return frames[0].compressed(server)
        last, data = DirectWriter._compressed.get(server.window_bits, NONE_JOINED)
        if frames != last:
            data = b"".join([frame.compressed(server) for frame in frames])
            DirectWriter._compressed[server.window_bits] = frames, data
        return data

    @property
    def is_open(self) -> bool:
        """False once the client has left, or a close frame was sent."""
        return self._server.open

    def held_bytes(self) -> int:
        """Bytes that the transport still holds."""
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
        # The frames that the server held are lost, and only it knows how many they were.
        metrics.LOST.labels(Loss.SLOW).inc(self._server.abort())


class AsgiWriter:
    """Plain ASGI: runs `send()` in place while the server takes messages at once, else in one task.

    Daphne's `send` never waits, so stepping the coroutine by hand saves a task switch per frame; uvicorn's
    waits when the transport is full, and then the rest waits here, where the outbox's bound sees it. `send`
    may be a middleware's: it finds itself in one task from its first step to its last.
    """

    __slots__ = ("_begun", "_bytes", "_context", "_failed", "_send", "_task", "_waiting", "on_failure")

    def __init__(self, send: Send) -> None:
        self._send = send
        self._waiting: deque[tuple[dict[str, Any], int]] = deque()
        """Messages and their bytes; `send` has begun with the first one, and waits."""
        self._bytes = 0
        self._task: asyncio.Task[None] | None = None
        """Runs `_pump`. It exists while a `send` is stepped by hand, too: that `send` runs in its name."""
        self._context = copy_context()
        self._begun: Any = None
        """The rest of the `send` that was begun by hand, for the task to await."""
        self._failed = False
        self.on_failure: Callable[[], None] = lambda: self.close(INTERNAL)
        """Called once when `send` fails although the peer is there; what is written then is lost, counted."""

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
        self._put({"type": CLOSE, "code": close.portable_code, "reason": close.reason})

    def abort(self, close: Close) -> None:
        """Throw away the messages that wait, then close. A blocked server cannot be hurried."""
        while len(self._waiting) > 1:  # `send` is in the middle of the first one
            self._bytes -= self._waiting.pop()[1]
            metrics.LOST.labels(Loss.SLOW).inc()
        self.close(close)

    def _put(self, message: dict[str, Any], size: int = 0) -> None:
        self._waiting.append((message, size))
        self._bytes += size
        if len(self._waiting) > 1:
            return
        # The task does not run before this turn of the loop ends. So until then it can lend its identity and
        # its context to a `send` that is stepped here; if every `send` ends at once, the task finds nothing
        # to do and ends. A `send` that waits is finished in the task, which is the same task to it.
        if self._task is None:
            self._context = copy_context()
            self._task = asyncio.get_running_loop().create_task(self._pump(), context=self._context)
        if self._begin(message, self._task):
            self._bytes -= self._waiting.popleft()[1]

    def _begin(self, message: dict[str, Any], task: asyncio.Task[None]) -> bool:
        """Run `send()` up to its first wait, as if in the task that runs the rest; True if it has ended."""
        if self._is_lost(message):
            return True
        try:
            coroutine = self._send(message)
            waiting_for = self._context.run(_step, coroutine, task)
        except StopIteration:  # how a coroutine says that it has returned
            return True
        except Exception as error:
            self._fail(error, message)
            return True
        self._begun = _resume(coroutine, waiting_for)
        return False

    async def _pump(self) -> None:
        try:
            while self._waiting:
                message = self._waiting[0][0]
                begun, self._begun = self._begun, None
                if begun is not None or not self._is_lost(message):
                    try:
                        await (self._send(message) if begun is None else begun)
                    except Exception as error:
                        self._fail(error, message)
                self._bytes -= self._waiting.popleft()[1]
        finally:
            self._task = None
            self._waiting.clear()
            self._bytes = 0

    def _is_lost(self, message: dict[str, Any]) -> bool:
        """Count a message that is not tried: an earlier one was lost, so nothing but the close may follow."""
        if not self._failed or message["type"] == CLOSE:
            return False
        metrics.LOST.labels(Loss.FAILED).inc()
        return True

    def _fail(self, error: Exception, message: dict[str, Any]) -> None:
        if self._failed or _is_gone(error):
            return
        logger.error(
            "a frame could not be sent: the server's send(), or a middleware's, failed", exc_info=error
        )
        self._failed = True
        self._is_lost(message)
        # Later, because a close would write from within the write that has just failed.
        asyncio.get_running_loop().call_soon(self.on_failure)


def _is_gone(error: Exception) -> bool:
    """True when `send` failed because the peer is gone; the receiving side tells the consumer of that."""
    # TimeoutError is an OSError. The kernel's (ETIMEDOUT) has a number, that of `asyncio.timeout` has none.
    if isinstance(error, TimeoutError):
        return error.errno is not None
    return isinstance(error, OSError) or type(error).__name__ == AUTOBAHN_GONE


def _step(coroutine: Coroutine[Any, Any, None], task: asyncio.Task[None]) -> Any:
    """Run a coroutine up to its first wait, as a part of `task`, which has not begun; returns the future that
    it waits for. `asyncio.current_task()` is `task` in it. Raises StopIteration when it ends.
    """
    loop = task.get_loop()
    # asyncio knows one current task per loop. `asyncio.timeout`, anyio and others read it, and keep it to
    # cancel it later, so it has to be the task in which the coroutine will go on.
    if (outer := asyncio.current_task(loop)) is not None:
        _leave_task(loop, outer)
    _enter_task(loop, task)
    try:
        # `send(None)` is how a task itself starts a coroutine; the value is what its first `await` yields.
        return coroutine.send(None)
    finally:
        _leave_task(loop, task)
        if outer is not None:
            _enter_task(loop, outer)


@types.coroutine
def _resume(coroutine: Coroutine[Any, Any, None], waiting_for: Any) -> Generator[Any, Any, None]:
    """The rest of a coroutine that `_step` began, to be awaited in a task."""
    # `yield from` cannot be used: it would start the coroutine, which has begun already. So this does by hand
    # what `yield from` does: each future goes out to the task, each result or error goes in.
    while True:
        step: Callable[[], Any]
        try:
            step = partial(coroutine.send, (yield waiting_for))
        except BaseException as error:  # a cancellation as well: the coroutine may have to clean up
            step = partial(coroutine.throw, error)
        try:
            waiting_for = step()
        except StopIteration:
            return
