"""Messages that the application has not received yet, with bounds at which reading has to stop.

An application that waits for a message runs in place, within `wake`: it handles frames in the read in which
they came. One that is busy finds the messages here later.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from switchboard_server.waiter import Waiter

MAX_MESSAGES: Final = 64
MAX_BYTES: Final = 256 * 1024
"""Bounds of memory for a client whose application is slow; one more message may exceed either."""

Message = dict[str, Any]


class ReceiveQueue:
    """The receive queue of one application, with one reader. `put` never waits; `full` says when to stop."""

    __slots__ = ("_ended", "_messages", "_size", "_waiter", "on_low")

    def __init__(self) -> None:
        self._messages: list[tuple[Message, int]] = []
        """A list: an empty deque takes 760 bytes, and to take the first of so few messages costs nothing."""
        self._size = 0
        self._ended: Message | None = None
        self._waiter = Waiter()
        self.on_low: Callable[[], None] | None = None
        """Called once when the application has caught up: `low`."""

    @property
    def low(self) -> bool:
        """True once half of each bound is free: reading goes on, and is not switched for every message."""
        return len(self._messages) <= MAX_MESSAGES // 2 and self._size <= MAX_BYTES // 2

    @property
    def full(self) -> bool:
        """True while the application is so far behind that reading from the client has to stop."""
        return len(self._messages) >= MAX_MESSAGES or self._size >= MAX_BYTES

    def put(self, message: Message, size: int) -> None:
        """Queue a message of `size` bytes; an application that waits gets it by `wake`."""
        self._messages.append((message, size))
        self._size += size

    def wake(self) -> None:
        """Have an application that waits for a message run until it waits again."""
        if self._messages:
            self._waiter.wake()

    def end(self, message: Message) -> None:
        """Queue the last message; receivers get it again as often as they ask. Later calls do nothing."""
        if self._ended is None:
            self._ended = message
            # Not in place: the socket is in the middle of its end.
            self._waiter.wake_soon()

    async def get(self) -> Message:
        """The next message. Safe to cancel: a message is taken only when it is returned."""
        messages = self._messages
        while not messages:
            if self._ended is not None:
                return self._ended
            await self._waiter
        message, size = messages.pop(0)
        self._size -= size
        if self.on_low is not None and self.low:
            on_low, self.on_low = self.on_low, None
            on_low()
        return message
