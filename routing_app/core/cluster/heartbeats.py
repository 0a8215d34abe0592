"""The rhythm of heartbeats: each worker receives at most so many a second, however many workers there are.

Each worker sends its heartbeats to all others. Once a second each, a worker would receive as many a second as
there are workers, and Redis would pass on their square. So the more others a worker knows, the less often it
sends to all of them. A heartbeat says when the next one follows, and its receivers are as patient as that.
Each second one goes to the worker itself alone: its echo proves that the connection to the layer works.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from time import monotonic
from typing import Final

MOST_PER_SECOND: Final = 100
"""Heartbeats that a worker receives a second, on average, by each server: half a percent of a core."""
SHORTEST_SECONDS: Final = 1.0
SPREAD: Final = 0.5
"""Part of a longer time by which it varies: else workers that start together would always send together."""
HURRY_SECONDS: Final = 5.0
"""For so long every heartbeat goes to all, when it tells of something that they have to ask for."""


class Heartbeats:
    """Says which heartbeats of one worker go to all others; `known` is how many there are."""

    def __init__(
        self,
        known: Callable[[], int],
        clock: Callable[[], float] = monotonic,
        vary: Callable[[], float] = random.random,
    ) -> None:
        self._known = known
        self._clock = clock
        self._vary = vary
        self._next_at = 0.0
        self._hurry_until = 0.0

    @property
    def longest(self) -> float:
        """Seconds after which the next one goes to all, at the latest."""
        seconds = self._known() / MOST_PER_SECOND
        return SHORTEST_SECONDS if seconds <= SHORTEST_SECONDS else seconds * (1 + SPREAD)

    def is_for_all(self) -> bool:
        """True when the heartbeat that is sent now has to go to all others; asked once for each."""
        seconds, now = self._known() / MOST_PER_SECOND, self._clock()
        if seconds <= SHORTEST_SECONDS or now < self._hurry_until:
            return True
        # A time that was chosen when more were known does not hold any more.
        if now < self._next_at <= now + seconds * (1 + SPREAD):
            return False
        self._next_at = now + seconds * (1 - SPREAD + 2 * SPREAD * self._vary())
        return True

    def hurry(self) -> None:
        """All others have to know something soon, also those that are about to connect again."""
        self._hurry_until = self._clock() + HURRY_SECONDS
