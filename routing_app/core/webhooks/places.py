"""The deliveries that a worker has taken: those on their way, and those that are sent next."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from routing_app.core.webhooks.target import Target

MAX_ON_THEIR_WAY: Final = 64
"""Deliveries that a worker sends at once."""
MAX_OF_ONE: Final = 8
"""The same for one webhook."""
RESERVED: Final = 16
"""Of all, for webhooks with nothing on its way: some slow receivers do not keep the others waiting."""
MAX_NEXT: Final = 48
"""Deliveries to a fast receiver that are taken beyond those that are sent at once: a look into the table for
every eight of them would be most of the work."""
MAX_NEXT_OF_ALL: Final = 192
"""The same for all webhooks: a body may have 64 KiB."""
FAST_SECONDS: Final = 0.25
"""The call before took less."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A delivery that this worker has to itself, and what it takes to send it."""

    id: str
    webhook: int
    body: str
    attempts: int
    target: Target
    looked_at: float
    """Time of `monotonic` at which the look began that has found it, and its target."""


@dataclass(frozen=True, slots=True)
class Places:
    """How many of each webhook are on their way and come next, as a look into the table begins."""

    on_their_way: Mapping[int, int]
    next: Mapping[int, int]
    fast: frozenset[int]

    @property
    def free(self) -> int:
        """Calls that may begin."""
        return MAX_ON_THEIR_WAY - sum(self.on_their_way.values())

    @property
    def spare(self) -> int:
        """Deliveries that may be taken for later."""
        return MAX_NEXT_OF_ALL - sum(self.next.values())

    def wanted(self, webhook: int, free: int, spare: int) -> int:
        """How many to take of one webhook, while so many calls may begin, and so many may come next."""
        waiting = self.next.get(webhook, 0)
        room = max(0, room_for(self.on_their_way.get(webhook, 0), free) - waiting)
        if webhook in self.fast and waiting <= MAX_NEXT // 2:
            return room + max(0, min(MAX_NEXT - waiting, spare))
        return room


def room_for(on_their_way: int, free: int) -> int:
    """How many more of one webhook may be sent, while so many calls of all may begin."""
    if free <= RESERVED:
        return min(1, free) if on_their_way == 0 else 0
    return max(0, min(MAX_OF_ONE - on_their_way, free - RESERVED))


class Deliveries:
    """All that a worker has taken and not ended."""

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._on_their_way: Counter[int] = Counter()
        self._next: defaultdict[int, deque[tuple[Taken, float]]] = defaultdict(deque)
        self._fast: set[int] = set()

    @property
    def is_crowded(self) -> bool:
        """True when webhooks that have one on its way get no other one."""
        return MAX_ON_THEIR_WAY - self._on_their_way.total() <= RESERVED

    def places(self) -> Places:
        """A copy for a thread."""
        waiting = {webhook: len(taken) for webhook, taken in self._next.items()}
        return Places(self._on_their_way.copy(), waiting, frozenset(self._fast))

    def add(self, taken: Iterable[Taken], now: float) -> set[int]:
        """Have some sent next; their webhooks.

        One that is here already is left out: its end could not be written, or the database's clock was set.
        """
        webhooks = set()
        for one in taken:
            if one.id not in self._ids:
                self._ids.add(one.id)
                self._next[one.webhook].append((one, now))
                webhooks.add(one.webhook)
        return webhooks

    def start(self, webhook: int) -> tuple[Taken, float] | None:
        """The next of a webhook, on its way from now on, and when it was taken; None: there is no room."""
        waiting = self._next.get(webhook)
        free = MAX_ON_THEIR_WAY - self._on_their_way.total()
        if not waiting or not room_for(self._on_their_way[webhook], free):
            return None
        first = waiting.popleft()
        if not waiting:
            del self._next[webhook]
        self._on_their_way[webhook] += 1
        return first

    def end(self, one: Taken, seconds: float) -> bool:
        """A call that took so long has ended; true when there is room for more than what is taken."""
        self.leave(one)
        (self._fast.add if seconds < FAST_SECONDS else self._fast.discard)(one.webhook)
        return len(self._next.get(one.webhook, ())) <= MAX_NEXT // 2

    def leave(self, one: Taken) -> None:
        """One that was started is not on its way any more."""
        self._ids.discard(one.id)
        self._on_their_way[one.webhook] -= 1
        if not self._on_their_way[one.webhook]:
            del self._on_their_way[one.webhook]

    def drop_next(self) -> list[str]:
        """Take back what is not on its way; the ids."""
        ids = [one.id for waiting in self._next.values() for one, _ in waiting]
        self._next.clear()
        self._ids.difference_update(ids)
        return ids
