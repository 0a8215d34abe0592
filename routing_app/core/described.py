"""Metrics are made here, so that each is in one list: `docs/metrics.md` is written from it.

Counters and histograms without `any_thread` are for the event loop alone, and cheap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from prometheus_client import Counter, Gauge

from routing_app.core import tally
from routing_app.core.durations import BOUNDS, Durations

Kind = Literal["counter", "gauge", "histogram"]
Mode = Literal["livesum", "livemax", "livemin"]


@dataclass(frozen=True, slots=True)
class Described:
    """One metric, as `manage.py metrics` lists it."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    text: str


LISTED: Final[dict[str, Described]] = {}
"""Every metric of this process, by name."""


def counter(name: str, text: str, labels: Sequence[str] = ()) -> tally.Tally | Counter:
    """A counter of the event loop."""
    _list(name, "counter", text, labels)
    return tally.counter(name, text, labels)


def any_thread_counter(name: str, text: str, labels: Sequence[str] = ()) -> Counter:
    """A counter with a lock."""
    _list(name, "counter", text, labels)
    return Counter(name, text, labels)


def gauge(
    name: str,
    text: str,
    labels: Sequence[str] = (),
    mode: Mode = "livesum",
) -> Gauge:
    """A gauge; `mode` says how those of several workers become one. A dead worker's value is left out."""
    _list(name, "gauge", text, labels)
    return Gauge(name, text, labels, multiprocess_mode=mode)


class LateGauge:
    """A gauge that is shown once it is set: before that an ordinary one would be 0."""

    def __init__(self, name: str, text: str, mode: Mode) -> None:
        self._name, self._text, self._mode = name, text, mode
        self._gauge: Gauge | None = None

    def set(self, value: float) -> None:
        """Show a value."""
        if self._gauge is None:
            self._gauge = Gauge(self._name, self._text, multiprocess_mode=self._mode)
        self._gauge.set(value)


def late_gauge(name: str, text: str, mode: Mode) -> LateGauge:
    """A gauge of something that may not be there."""
    _list(name, "gauge", text, ())
    return LateGauge(name, text, mode)


def durations(
    name: str, text: str, labels: Sequence[str] = (), bounds: Sequence[float] = BOUNDS
) -> Durations:
    """A histogram of seconds, observed on the event loop."""
    _list(name, "histogram", text, labels)
    return Durations(name, text, labels, bounds)


def _list(name: str, kind: Kind, text: str, labels: Sequence[str]) -> None:
    if name in LISTED:
        raise ValueError(f"two metrics are named {name}")
    LISTED[name] = Described(name, kind, tuple(labels), text)
