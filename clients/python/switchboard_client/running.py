"""The tasks of a connection: its handlers, and what is being written."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final

from websockets.asyncio.client import ClientConnection

from switchboard_client.errors import ConnectionClosed

logger = logging.getLogger(__name__)

MAX_RUNNING: Final = 1000
"""Handlers that run before reading pauses."""


class Running:
    """Tasks that are kept until they are done; one that fails is logged."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    @property
    def is_full(self) -> bool:
        """True while there are so many that reading may pause."""
        return len(self._tasks) >= MAX_RUNNING

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine."""
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def wake(self) -> None:
        """End a wait for a change: there is another reason to read."""
        self._changed.set()

    async def changed(self) -> None:
        """Wait until a task is done, or until `wake`."""
        self._changed.clear()
        await self._changed.wait()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self.wake()
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, ConnectionClosed):
            logger.error("a handler failed", exc_info=error)


class Writes:
    """Frames on their way into a socket."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def post(self, socket: ClientConnection, text: str, binary: bool = False) -> asyncio.Task[None]:
        """Send a frame after those that were posted before."""
        task = asyncio.ensure_future(socket.send(text.encode() if binary else text))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # the reader tells of a lost socket
