"""Messages that the application has not received yet, with bounds at which reading has to stop."""

from __future__ import annotations

import asyncio
from typing import Any, Final

MAX_MESSAGES: Final = 64
MAX_BYTES: Final = 256 * 1024
"""Bounds of memory for a client whose application is slow; one more message may exceed either."""

Message = dict[str, Any]


class ReceiveQueue:
    """The receive queue of one application, with one reader. `put` never waits: callers look at `full`."""

    __slots__ = ("_ended", "_messages", "_size", "_waiter")

    def __init__(self) -> None:
        self._messages: list[tuple[Message, int]] = []
        self._size = 0
        self._ended: Message | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def full(self) -> bool:
        """True while the application is so far behind that reading from the client has to stop."""
        return len(self._messages) >= MAX_MESSAGES or self._size >= MAX_BYTES

    @property
    def low(self) -> bool:
        """True once half of each bound is free: reading goes on, and is not switched for every message."""
        return len(self._messages) <= MAX_MESSAGES // 2 and self._size <= MAX_BYTES // 2

    def put(self, message: Message, size: int) -> None:
        """Queue a message of `size` bytes."""
        self._messages.append((message, size))
        self._size += size
        self._wake()

    def end(self, message: Message) -> None:
        """Queue the last message; receivers get it again as often as they ask. Later calls do nothing."""
        if self._ended is None:
            self._ended = message
            self._wake()

    async def get(self) -> Message:
        """The next message. Safe to cancel: a message is taken only when it is returned."""
        while not self._messages:
            if self._ended is not None:
                return self._ended
            if self._waiter is not None:
                raise RuntimeError("receive() is already being awaited")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        message, size = self._messages.pop(0)
        self._size -= size
        return message

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
