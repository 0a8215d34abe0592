"""One reading a second of what a worker counts anyway: totals, the values of the second, notable changes."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from routing_app.core import metrics
from routing_app.core.codes import GAP, SLOW
from routing_app.core.monitoring import counters
from routing_app.core.monitoring.events import Events
from routing_app.core.monitoring.history import History

if TYPE_CHECKING:
    from routing_app.core.cluster.spread import AnyRelay
    from routing_app.core.readings import Readings

BLOCKED_SECONDS: Final = 1.0
"""A loop that was late by more is an event."""
BUCKET: Final = "publish."
"""Prefix of the names of buckets: publications of the second by the time that they took."""
FREQUENT: Final = ("opened", "closed", "received", "delivered", "published")
GAUGES: Final = ("outbox_bytes", "lag", "memory", "cpu")
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def memory_bytes() -> int:
    """The resident memory of this process; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - a Path costs more than the reading
            return int(file.read().split()[1]) * PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return 0


def totals() -> dict[str, float]:
    """What this process has counted since its start; connections are those of now."""
    closed = counters.of_clients(counters.values(metrics.CLOSED))
    opened = counters.of_clients(counters.values(metrics.OPENED))
    received = counters.of_clients(counters.values(metrics.RECEIVED))
    refused = counters.of_clients(counters.values(metrics.REFUSED))
    found: dict[str, float] = {
        "opened": sum(opened.values()),
        "closed": sum(closed.values()),
        "received": sum(received.values()),
        "delivered": counters.total(metrics.DELIVERED),
        "published": counters.total(metrics.PUBLISHED),
    }
    for name, value in counters.by_label(counters.values(metrics.LOST), 0).items():
        found[f"lost.{name}"] = value
    for name, value in counters.by_label(refused, 1).items():
        found[f"refused.{name}"] = value
    return found


def connections() -> dict[str, float]:
    """Open connections of clients by protocol."""
    return counters.by_label(counters.of_clients(counters.values(metrics.CONNECTIONS)), 0)


def closes(name: str) -> float:
    """Connections that ended with a close of that name."""
    found = counters.of_clients(counters.values(metrics.CLOSED))
    return sum(value for labels, value in found.items() if labels[1] == name)


class Sampler:
    """Fills the history of one worker, and its events."""

    def __init__(self, readings: Readings, relay: AnyRelay, history: History, events: Events) -> None:
        self._readings = readings
        self._relay = relay
        self._history = history
        self._events = events
        self._at = time.monotonic()
        self._cpu = time.process_time()
        self._totals = totals()
        self._buckets = list(metrics.PUBLISH.labels().counts)
        self._told = {SLOW.name: closes(SLOW.name), GAP.name: closes(GAP.name)}
        self._redis = self.redis()
        self.now: dict[str, float] = {}
        """The gauges of the last sample."""

    def redis(self) -> list[bool]:
        """For each Redis server: does it carry envelopes? Empty without one."""
        if not self._relay.reaches_others:
            return []
        return [relay.answers for relay in getattr(self._relay, "relays", [self._relay])]

    def sample(self) -> None:
        """Read everything once; to be called at the end of each second."""
        at, cpu, found = time.monotonic(), time.process_time(), totals()
        elapsed = max(at - self._at, 0.001)
        values = _growth(found, self._totals)
        buckets = list(metrics.PUBLISH.labels().counts)
        for place, (now, before) in enumerate(zip(buckets, self._buckets, strict=True)):
            if now != before:
                values[f"{BUCKET}{place}"] = now - before
        lag = self._readings.take_worst_lag()
        self.now = {
            "outbox_bytes": self._readings.outbox_bytes,
            "lag": lag,
            "memory": memory_bytes(),
            "cpu": (cpu - self._cpu) / elapsed,
        }
        values |= self.now
        values |= {f"connections.{name}": count for name, count in connections().items()}
        self._history.put(int(time.time()), values)
        self._at, self._cpu, self._totals, self._buckets = at, cpu, found, buckets
        self._note_changes(lag)

    def _note_changes(self, lag: float) -> None:
        if lag > BLOCKED_SECONDS:
            self._events.note("loop_blocked", f"the event loop was blocked for {lag:.1f} s")
        for name, text in (
            (SLOW.name, "a slow reader was closed"),
            (GAP.name, "a client was told to come back: messages may be missing"),
        ):
            now = closes(name)
            if now > self._told[name]:
                self._events.note(name, text, int(now - self._told[name]))
            self._told[name] = now
        redis = self.redis()
        for number, (now_up, was_up) in enumerate(zip(redis, self._redis, strict=True)):
            if now_up != was_up:
                word = "is back" if now_up else "does not answer"
                self._events.note("redis_up" if now_up else "redis_down", f"Redis server {number} {word}")
        self._redis = redis


def _growth(now: Mapping[str, float], before: Mapping[str, float]) -> dict[str, Any]:
    return {name: value - before.get(name, 0.0) for name, value in now.items()}
