"""A log of the envelopes that this process sent lately, from which others can have lost ones again.

The channel layer delivers at most once, and says nothing about what it lost. So each process keeps a log of
the envelopes it sent lately, and of those that never left. Another process that misses some asks for them.
If no log reaches back far enough there is a gap, and the clients that it may concern are told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

MAX_BYTES: Final = 8 * 2**20
"""By `size_of` and ENTRY_BYTES: a tiny message to one address counts half a KiB."""
MAX_SECONDS: Final = 60.0
PART_BYTES: Final = 2**20
"""A part of a replay that is about so large takes no more."""
VALUE_BYTES: Final = 30
"""Bytes of any value, whatever it holds."""
ENTRY_BYTES: Final = 200
"""Bytes of any envelope, whatever it holds."""

Entry = tuple[int, list[Any]]
"""Number and items of one envelope."""


@dataclass(frozen=True, slots=True)
class Replay:
    """The entries of a log above a number, in parts; at least one, which may be empty."""

    parts: list[list[Entry]]
    number: int
    """Everything up to this is in the parts, was not asked for, or is lost."""
    lost_at: float | None
    """When the last of what was asked for and is lost was published, at the latest."""


class Log:
    """The envelopes that this process sent lately: bounded in bytes and in age."""

    def __init__(
        self,
        max_bytes: int = MAX_BYTES,
        max_seconds: float = MAX_SECONDS,
        clock: Callable[[], float] = monotonic,
        on_lost: Callable[[int], None] = lambda items: None,
    ) -> None:
        self._on_lost = on_lost
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds
        self._clock = clock
        self._sent: deque[tuple[Entry, float, int]] = deque()
        self._bytes = 0
        self._number = 0
        """Number of the youngest envelope here."""
        self._dropped = 0
        self._dropped_at = 0.0
        """Number of the youngest envelope that is here no more, and when it was sent."""
        self._unsent: dict[int, int] = {}
        """Items of the envelopes that have not reached the layer, by number: lost for good if they are
        dropped."""

    @property
    def unsent(self) -> int:
        """The number of items that have not reached the layer."""
        return sum(self._unsent.values())

    def append(self, entry: Entry) -> None:
        """Keep an envelope, unsent as yet; its number is higher than those before."""
        weight = ENTRY_BYTES + sum(size_of(item) for item in entry[1])
        self._sent.append((entry, self._clock(), weight))
        self._number = entry[0]
        self._unsent[entry[0]] = len(entry[1])
        self._bytes += weight
        self._forget()

    def sent(self, number: int) -> None:
        """The layer has taken an envelope."""
        self._unsent.pop(number, None)

    def announced(self) -> None:
        """The others know that something here never left, and will ask for it."""
        self._unsent.clear()

    def after(self, number: int, seconds: float) -> Replay:
        """The envelopes numbered above `number`, of the last `seconds`."""
        self._forget()
        since = self._clock() - seconds
        # Dropped envelopes were asked for only if they are above the number and young enough: the asker's
        # subscriptions began less than `seconds` ago.
        is_lost = self._dropped > number and self._dropped_at >= since
        parts: list[list[Entry]] = [[]]
        size = 0
        # All envelopes go, also those for addresses that the asker has not: the log does not know which it
        # has, and its hub ignores the others.
        for entry, at, weight in self._sent:
            if entry[0] <= number or at < since:
                continue
            if size > PART_BYTES:
                parts.append([])
                size = 0
            parts[-1].append(entry)
            size += weight
        return Replay(parts, self._number, self._dropped_at if is_lost else None)

    def _forget(self) -> None:
        oldest = self._clock() - self._max_seconds
        while self._sent and (self._bytes > self._max_bytes or self._sent[0][1] < oldest):
            entry, at, weight = self._sent.popleft()
            self._bytes -= weight
            self._dropped, self._dropped_at = entry[0], at
            if lost := self._unsent.pop(entry[0], 0):
                self._on_lost(lost)


def size_of(item: Any) -> int:
    """About how many bytes a message takes.

    Without recursion: a sender may nest a message deeper than Python's stack.
    """
    if isinstance(item, str):
        return VALUE_BYTES + len(item)
    total, rest = 0, [item]
    while rest:
        value = rest.pop()
        total += VALUE_BYTES
        if isinstance(value, str):
            total += len(value)
        elif isinstance(value, dict):
            rest += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple):
            rest += value
    return total
