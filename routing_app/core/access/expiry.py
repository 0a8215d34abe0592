"""Ends connections whose credential expires, by the system's clock, however far off that is.

One timer serves a worker, and looks at the clock every LOOK_SECONDS at least: a clock that is set, or a
machine that slept, shifts no end by more than that. (A timer of the event loop counts seconds, and would.)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Final

from django.conf import settings

from routing_app.core.access.grants import Grant, GrantKind
from routing_app.core.codes import EXPIRED
from routing_app.core.delivery.connection import Connection

LOOK_SECONDS: Final = 5.0
"""Longest time between two looks at the clock while something can expire."""
BATCH: Final = 200
"""Connections that are ended in one turn of the loop: tokens of one login often expire together."""
SPARE: Final = 64
"""Entries that are given up and stay in the heap until it is made again."""

CallLater = Callable[..., asyncio.TimerHandle]


@dataclass(order=True, slots=True)
class _Entry:
    ends_at: float
    number: int
    """Tells entries of the same time apart: functions have no order."""
    connection: Connection | None = field(compare=False)
    """None once the entry is given up."""
    end: Callable[[], None] | None = field(compare=False)


class Expiries:
    """The connections of one worker that end at a time. `clock` gives Unix seconds."""

    def __init__(self, call_later: CallLater, clock: Callable[[], float] = time.time) -> None:
        self._call_later = call_later
        self._clock = clock
        self._entries: dict[Connection, _Entry] = {}
        self._heap: list[_Entry] = []
        self._numbers = count()
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, connection: Connection) -> None:
        """Close the connection with 4005 when its grant expires; called again after a refresh."""
        ends_at = end_of(connection.grant, self._clock())
        self.watch_until(connection, ends_at, lambda: connection.close(EXPIRED))

    def watch_until(self, connection: Connection, ends_at: float, end: Callable[[], None]) -> None:
        """Call `end` at a Unix time, in place of what was to come before; a connection has one end."""
        self.forget(connection)
        if ends_at == float("inf"):
            return
        entry = _Entry(ends_at, next(self._numbers), connection, end)
        self._entries[connection] = entry
        heappush(self._heap, entry)
        if self._timer is None or self._heap[0] is entry:
            self._look_later()

    def forget(self, connection: Connection) -> None:
        """Let a connection be: it has left, or holds nothing that expires."""
        entry = self._entries.pop(connection, None)
        if entry is None:
            return
        entry.connection = entry.end = None  # a connection that has left need not stay in memory for days
        if len(self._heap) > 2 * len(self._entries) + SPARE:
            self._heap = list(self._entries.values())
            heapify(self._heap)

    def __len__(self) -> int:
        return len(self._entries)

    def _look(self) -> None:
        self._timer = None
        now = self._clock()
        try:
            for _ in range(BATCH):
                if not self._heap or self._heap[0].ends_at > now:
                    break
                entry = heappop(self._heap)
                if entry.connection is not None and entry.end is not None:
                    del self._entries[entry.connection]
                    entry.end()
        finally:
            if self._entries:
                self._look_later()

    def _look_later(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        seconds = self._heap[0].ends_at - self._clock()
        self._timer = self._call_later(min(max(0.0, seconds), LOOK_SECONDS), self._look)


def end_of(grant: Grant, now: float) -> float:
    """The Unix time at which a connection ends that holds this grant from now on.

    That is when the credential expires. An access token that is accepted within the leeway after that, since
    clocks differ, holds until the leeway is over.
    """
    if grant.kind is GrantKind.TOKEN and grant.expires_at <= now:
        return grant.expires_at + float(settings.TOKEN_LEEWAY_SECONDS)
    return grant.expires_at
