"""A bound of how many entries a source may have: so many at once, and later so many a second."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic


class TokenBucket:
    """Takes `rate` events a second on average, and `burst` at once after a pause."""

    __slots__ = ("_burst", "_clock", "_last", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = monotonic) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._tokens = burst
        self._last = clock()

    def take(self) -> bool:
        """Take one event; False when there were too many, and it is not taken."""
        self._fill()
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def is_full(self) -> bool:
        """True when it takes as much at once as a new one."""
        self._fill()
        return self._tokens >= self._burst

    def _fill(self) -> None:
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._last) * self._rate)
        self._last = now
