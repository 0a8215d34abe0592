"""The rate of creates and takeovers that one customer may reach, in one worker."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from math import ceil
from time import monotonic
from typing import Final, Generic, TypeVar

from routing_app.core.access.limits import TokenBucket

K = TypeVar("K", bound=Hashable)

KNOWN: Final = 100_000
"""Customers remembered, those who asked last; a forgotten one starts with a full burst."""


class CustomerRates(Generic[K]):
    """A token bucket for each key; a request that is refused takes nothing out of it."""

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float] = monotonic) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[K, TokenBucket] = OrderedDict()

    def wait(self, key: K) -> int:
        """0 when `key` may go on, else whole seconds until it may. A rate of 0 allows everything."""
        if not self._per_second:
            return 0
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = TokenBucket(self._per_second, self._burst, self._clock)
            if len(self._buckets) > KNOWN:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        return ceil(bucket.try_take())
