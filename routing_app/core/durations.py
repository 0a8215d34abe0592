"""Histograms of seconds that are observed on the event loop: a search in 16 numbers and two additions.

`prometheus_client` takes a lock for each observation, or writes into a file that other processes read. Here
an observation stays in this process: it is read when the samples are collected or, where other processes have
to see it, written to the file with all others of a second (`publish_all`).
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any, Final

from prometheus_client import REGISTRY, Histogram
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from routing_app.core.tally import MULTIPROCESS

BOUNDS: Final = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
)
"""Upper bounds of the buckets, in seconds."""
LONG: Final = (0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 45.0, 60.0)
"""The same for what mostly waits."""


class Times:
    """The observations of some labels, made on the event loop alone: of two threads some could be lost."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Observations by bucket; the last one has no upper bound."""
        self.total = 0.0
        """The sum of all seconds."""

    def observe(self, seconds: float, times: int = 1) -> None:
        """Count something that took `seconds`, so many times."""
        self.counts[bisect_left(self._bounds, seconds)] += times
        self.total += seconds * times


class Durations(Collector):
    """A histogram of one process; with label names it has buckets for each combination of labels."""

    def __init__(
        self,
        name: str,
        documentation: str,
        labelnames: Sequence[str] = (),
        bounds: Sequence[float] = BOUNDS,
    ) -> None:
        self._name, self._documentation, self._labelnames = name, documentation, tuple(labelnames)
        self._bounds = tuple(bounds)
        self._times: dict[tuple[str, ...], Times] = {}
        self.observe = self.labels().observe if not labelnames else self._without_labels
        self._shared: _Shared | None = None
        if MULTIPROCESS in os.environ:
            self._shared = _Shared(name, documentation, self._labelnames, self._bounds)
            _shared.append(self)
        else:
            REGISTRY.register(self)

    def labels(self, *values: str) -> Times:
        """The buckets of some labels. Raises ValueError for another number of them than there are names."""
        if len(values) != len(self._labelnames):
            raise ValueError(f"{self._name} has the labels {', '.join(self._labelnames)}")
        if (times := self._times.get(values)) is None:
            times = self._times[values] = Times(self._bounds)
        return times

    def collect(self) -> Iterable[Metric]:
        """prometheus_client: the samples as they are now."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labelnames)
        bounds = [*map(floatToGoString, self._bounds), "+Inf"]
        for values, times in list(self._times.items()):
            buckets = list(zip(bounds, accumulate(times.counts), strict=True))
            family.add_metric(values, buckets, times.total)
        yield family

    def publish(self) -> None:
        """Have other processes see what was observed since the last call."""
        if self._shared is not None:
            for values, times in self._times.items():
                self._shared.add(values, times)

    def _without_labels(self, seconds: float, times: int = 1) -> None:
        raise ValueError(f"{self._name} has labels")


class _Shared:
    """The file in which other processes read the buckets."""

    def __init__(
        self, name: str, documentation: str, labelnames: tuple[str, ...], bounds: tuple[float, ...]
    ) -> None:
        self._histogram = Histogram(name, documentation, labelnames, buckets=bounds)
        self._written: dict[tuple[str, ...], tuple[list[int], float]] = {}

    def add(self, values: tuple[str, ...], times: Times) -> None:
        """Write what was added since the last call."""
        counts, total = self._written.get(values, ([0] * len(times.counts), 0.0))
        if times.counts == counts:
            return
        child: Any = self._histogram.labels(*values) if values else self._histogram
        # `observe` takes one value: a call for each would cost again what was saved. These are its own steps.
        for bucket, before, now in zip(child._buckets, counts, times.counts, strict=True):
            if now != before:
                bucket.inc(now - before)
        child._sum.inc(times.total - total)
        self._written[values] = list(times.counts), times.total


_shared: Final[list[Durations]] = []


def publish_all() -> None:
    """Have other processes see all that was observed here; to be called on the event loop, every second."""
    for durations in _shared:
        durations.publish()
