"""Counters that are counted up for every frame: an addition of integers instead of a lock and four calls.

`prometheus_client` keeps each value behind a lock, or in a file that other processes read, which takes a
microsecond or two for an increment. A `Tally` shows the same samples, and is read when they are collected.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from typing import Final

from prometheus_client import REGISTRY, Counter
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

MULTIPROCESS: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Where this variable is set, other processes read the values of this one."""


class Count:
    """One value of a tally, counted up on the event loop alone: additions of two threads could be lost."""

    __slots__ = ("begun", "value")

    def __init__(self) -> None:
        self.value = 0
        self.begun = time.time()

    def inc(self, amount: int = 1) -> None:
        """Count so many more."""
        self.value += amount


class Tally(Collector):
    """A counter of one process; with label names it has a value for each combination of labels."""

    def __init__(self, name: str, documentation: str, labelnames: Sequence[str] = ()) -> None:
        self._name, self._documentation, self._labelnames = name, documentation, labelnames
        self._counts: dict[tuple[str, ...], Count] = {}
        self.inc = self.labels().inc if not labelnames else self._without_labels
        REGISTRY.register(self)

    def labels(self, *values: str) -> Count:
        """The value of some labels. Raises ValueError for another number of them than the tally has names."""
        if len(values) != len(self._labelnames):
            raise ValueError(f"{self._name} has the labels {', '.join(self._labelnames)}")
        if (count := self._counts.get(values)) is None:
            count = self._counts[values] = Count()
        return count

    def values(self) -> dict[tuple[str, ...], float]:
        """The counts so far, by their labels."""
        return {labels: count.value for labels, count in self._counts.items()}

    def collect(self) -> Iterable[Metric]:
        """prometheus_client: the samples as they are now."""
        family = CounterMetricFamily(self._name, self._documentation, labels=self._labelnames)
        for values, count in list(self._counts.items()):
            family.add_metric(values, count.value, created=count.begun)
        yield family

    def _without_labels(self, amount: int = 1) -> None:
        raise ValueError(f"{self._name} has labels")


def counter(name: str, documentation: str, labelnames: Sequence[str] = ()) -> Tally | Counter:
    """A tally; an ordinary counter where other processes have to see it."""
    make = Counter if MULTIPROCESS in os.environ else Tally
    return make(name, documentation, labelnames)
