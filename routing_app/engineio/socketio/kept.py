"""The last events of a session that may be recovered; pure, without clock or I/O.

Each event ends with its offset, a string that no other event of the process has; so one frame serves all its
receivers, and a session has the offsets of its own events in their order. A client keeps the last offset that
it has received, also of an earlier session: one that still names the offset with which it came has received
nothing.
"""

from __future__ import annotations

import itertools
import secrets
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final

from routing_app.core.delivery.frame import Frame

MAX_KEPT: Final = 1000
"""Events kept of one session."""
ABSENT: Final = object()
"""The offset of a client that names none: none has come."""

Kept = Frame | tuple[Frame, ...]
"""An event: its packet, or its packet and the attachments."""


class Offsets:
    """The offsets of one process: `<tag>.<number>`."""

    def __init__(self) -> None:
        self._prefix = f"{secrets.token_urlsafe(6)}."
        self._numbers = itertools.count(1)

    def next(self) -> str:
        """The offset of the next event."""
        return f"{self._prefix}{next(self._numbers)}"


class KeptEvents:
    """The last MAX_KEPT events, of about `max_bytes` in all; frames are shared with other receivers.

    `before` is the offset that the client had when the session began. Events have numbers 1, 2, 3, … here.
    """

    def __init__(self, max_bytes: int, before: Any = ABSENT) -> None:
        self.number = 0
        """The number of the last event."""
        self.sent: int | None = None
        """The number of the last one that went to the client, whether it has come or not; None: all."""
        self._before = before
        # One more than can be missed, for a client that has that one and not those that follow.
        self._events: deque[Kept] = deque(maxlen=MAX_KEPT + 1)
        self._size = 0
        """Kept events have so many bytes at most; those of events that fell out are subtracted late."""
        self._max_bytes = max_bytes
        self._marks: deque[tuple[float, int]] = deque()
        """Times, and the last event that was there by then."""

    def __len__(self) -> int:
        return len(self._events)

    def add(self, events: Sequence[Kept], size: int) -> None:
        """Keep more events, of so many bytes."""
        self._events.extend(events)
        self.number += len(events)
        self._size += size
        if self._size > self._max_bytes:
            self._trim()

    def holds_after(self, number: int) -> bool:
        """True when every event that follows a number is kept, and they are no more than MAX_KEPT."""
        return self.number - min(len(self._events), MAX_KEPT) <= number

    def after(self, number: int) -> Iterator[Kept]:
        """The events that follow."""
        return islice(self._events, max(0, number - self.number + len(self._events)), None)

    def position(self, offset: Any) -> int | None:
        """The number of the last event that a client has by its offset; None where it cannot be recovered.

        An offset that is none, or was not sent, is no position.
        """
        number = self._number_of(offset)
        if number is None or not self.holds_after(number) or (self.sent is not None and number > self.sent):
            return None
        return number

    def _number_of(self, offset: Any) -> int | None:
        if isinstance(offset, str):
            for number, event in zip(itertools.count(self.number, -1), reversed(self._events), strict=False):
                if _offset(event) == offset:
                    return number
        elif offset is not ABSENT:
            return None
        return 0 if offset == self._before else None

    def sweep(self, now: float, age: float) -> None:
        """Forget events that were there `age` seconds ago, but the last of them; called every few seconds."""
        if not self._marks or self._marks[-1][1] != self.number:
            self._marks.append((now, self.number))
        while self._marks and self._marks[0][0] <= now - age:
            _, number = self._marks.popleft()
            while self._events and self.number - len(self._events) + 1 < number:
                self._events.popleft()

    def _trim(self) -> None:
        """Count what is kept, and drop the oldest where it is too much: an eighth more, to do so seldom."""
        self._size = sum(map(size_of, self._events))
        if self._size > self._max_bytes:
            while len(self._events) > 1 and self._size > self._max_bytes * 7 / 8:
                self._size -= size_of(self._events.popleft())


def size_of(event: Kept) -> int:
    """Bytes of an event."""
    return event.size if isinstance(event, Frame) else sum(frame.size for frame in event)


def _offset(event: Kept) -> str:
    """The last argument of an event, `…,"<offset>"]`."""
    text = (event if isinstance(event, Frame) else event[0]).text
    return text[text.rindex(',"') + 2 : -2]
