"""How often one customer may ask, in one worker."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from math import ceil
from time import monotonic
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

KNOWN: Final = 100_000
"""Customers remembered; who was forgotten starts with a full burst."""


class CustomerRates(Generic[K]):
    """A token bucket for each key; a request that is refused takes nothing out of it."""

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float] = monotonic) -> None:
        self._per_second = per_second
        self._burst = float(burst)
        self._clock = clock
        self._buckets: OrderedDict[K, tuple[float, float]] = OrderedDict()

    def wait(self, key: K) -> int:
        """0 when `key` may go on, else whole seconds until it may. Without a rate everybody may."""
        if not self._per_second:
            return 0
        now = self._clock()
        tokens, last = self._buckets.get(key, (self._burst, now))
        tokens = min(self._burst, tokens + (now - last) * self._per_second)
        allowed = tokens >= 1
        self._buckets[key] = (tokens - 1 if allowed else tokens, now)
        self._buckets.move_to_end(key)
        if len(self._buckets) > KNOWN:
            self._buckets.popitem(last=False)
        return 0 if allowed else ceil((1 - tokens) / self._per_second)
