"""The state of all workers together: their numbers of now, the last 15 minutes, and what has happened."""

from __future__ import annotations

import asyncio
import math
import time
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from routing_app.core.durations import BOUNDS
from routing_app.core.monitoring import options
from routing_app.core.monitoring.cluster import Cluster
from routing_app.core.monitoring.events import merged
from routing_app.core.monitoring.history import SECONDS, Unpacked
from routing_app.core.monitoring.sampler import BUCKET, FREQUENT, GAUGES

if TYPE_CHECKING:
    from routing_app.core.worker import Worker

PATIENCE_SECONDS: Final = 0.4
"""A worker that takes longer is shown as it was, and its answer counts when it comes."""
FRESH_SECONDS: Final = 0.5
"""Readings that follow within so long ask nobody."""
KEPT_EVENTS: Final = 300
EVENT: Final = ("id", "at", "worker", "kind", "text", "count")
QUANTILES: Final = {"publish_p50": 0.5, "publish_p99": 0.99}
OF_WORKERS: Final = frozenset({"memory", "cpu"})
"""Values that are shown for each worker by itself."""


def quantile(buckets: Sequence[float], share: float) -> float | None:
    """The time, in seconds, below which a share of some observations lies: in its bucket as if they were
    spread evenly; None without observations."""
    sums = list(accumulate(buckets))
    if not sums or not sums[-1]:
        return None
    rank = share * sums[-1]
    place = bisect_left(sums, rank)
    if place >= len(BOUNDS):
        return BOUNDS[-1]
    low = BOUNDS[place - 1] if place else 0.0
    before = sums[place - 1] if place else 0.0
    return low + (BOUNDS[place] - low) * (rank - before) / (sums[place] - before)


def together(parts: Mapping[str, Mapping[str, float]]) -> dict[str, float | None]:
    """The values of one second of all workers, by their ids, as one."""
    found: dict[str, float | None] = dict.fromkeys((*FREQUENT, "outbox_bytes", "lag"), 0.0)
    buckets = [0.0] * (len(BOUNDS) + 1)
    for worker, values in parts.items():
        for name, value in values.items():
            if name.startswith(BUCKET):
                buckets[int(name.removeprefix(BUCKET))] += value
            elif name in OF_WORKERS:
                found[f"{name}.{worker}"] = value
            elif name == "lag":
                found[name] = max(found[name] or 0.0, value)
            else:
                found[name] = (found.get(name) or 0.0) + value
    return found | {name: quantile(buckets, share) for name, share in QUANTILES.items()}


async def past_of(histories: Mapping[str, Any], until: int) -> dict[str, Any]:
    """`{"step": 1, "until", "series": {name: [SECONDS values, the oldest first]}}` of packed histories."""
    first = until - SECONDS + 1
    sampled = bytearray(SECONDS)
    sums: dict[str, list[float]] = {name: [0.0] * SECONDS for name in (*FREQUENT, "outbox_bytes", "lag")}
    alone: dict[str, list[float | None]] = {}
    for worker, packed in histories.items():
        unpacked = Unpacked(packed)
        places = list(unpacked.seconds(first, until))
        for second, _ in places:
            sampled[second] = 1
        for name, ring in unpacked.series.items():
            if name in OF_WORKERS:
                alone[f"{name}.{worker}"] = _shown(ring, places)
            else:
                _add(sums.setdefault(name, [0.0] * SECONDS), ring, places, largest=name == "lag")
        await asyncio.sleep(0)
    buckets = {name: values for name, values in sums.items() if name.startswith(BUCKET)}
    series: dict[str, list[float | None]] = {
        name: [value if there else None for value, there in zip(values, sampled, strict=True)]
        for name, values in sums.items()
        if name not in buckets
    }
    for name, share in QUANTILES.items():
        series[name] = [_quantile_at(buckets, second, share) for second in range(SECONDS)]
    return {"step": 1, "until": until, "series": series | alone}


def _add(into: list[float], ring: array[float], places: Iterable[tuple[int, int]], largest: bool) -> None:
    if largest:
        for second, place in places:
            into[second] = max(into[second], ring[place])
    else:
        for second, place in places:
            into[second] += ring[place]


def _shown(ring: array[float], places: Iterable[tuple[int, int]]) -> list[float | None]:
    values: list[float | None] = [None] * SECONDS
    for second, place in places:
        values[second] = ring[place]
    return values


def _quantile_at(buckets: Mapping[str, list[float]], second: int, share: float) -> float | None:
    counts = [0.0] * (len(BOUNDS) + 1)
    for name, values in buckets.items():
        counts[int(name.removeprefix(BUCKET))] = values[second]
    return quantile(counts, share)


class Overview:
    """Asks all workers once for each reading, and keeps what they said last."""

    def __init__(self, worker: Worker, cluster: Cluster) -> None:
        self._worker = worker
        self._cluster = cluster
        self._last: dict[str, tuple[float, dict[str, Any]]] = {}
        """The last answer of each worker, and when it came."""
        self._pending: dict[str, asyncio.Task[None]] = {}
        self._numbers: dict[str, int] = {}
        """The number of the last event of each worker that was read."""
        self._events: list[dict[str, Any]] = []
        """Events that were read, in the order in which they were: `order` counts them."""
        self._order = 0
        self._asked_at = -math.inf
        self._settings: dict[str, dict[str, str]] = {}

    async def read(self) -> dict[str, Any]:
        """The state now: `at`, `workers`, `totals`, `rates`, `now`, `health`; without the past."""
        ids = await self._cluster.workers()
        if time.monotonic() - self._asked_at >= FRESH_SECONDS:
            self._asked_at = time.monotonic()
            for id in ids:
                if id not in self._pending:
                    self._pending[id] = self._worker.spawn(self._ask(id))
        if self._pending:
            await asyncio.wait(self._pending.values(), timeout=PATIENCE_SECONDS)
        workers = self._workers(ids)
        listed = {one["id"] for one in workers}
        for id in self._last.keys() - listed:
            del self._last[id]
            self._numbers.pop(id, None)
        answers = {id: self._last[id][1] for id in ids if id in self._last}
        now = together({id: self._values(answer) for id, answer in answers.items()})
        return {
            "at": time.time(),
            "workers": workers,
            "totals": _totals(answers.values()),
            "rates": {name: value for name, value in now.items() if _is_rate(name)},
            "now": now,
            "health": self._health(answers.values()),
        }

    def events_after(self, order: int) -> tuple[int, list[dict[str, Any]]]:
        """The order of the last event, and the events after one of that order, the oldest first."""
        found = (one for one in self._events if one["order"] > order)
        return self._order, sorted(({name: one[name] for name in EVENT} for one in found), key=_at)

    async def differences(self, ids: Iterable[str]) -> dict[str, dict[str, str]]:
        """The settings of workers that are not as those of this one. Each worker is asked once."""
        asked = set(ids)
        serving = set(await self._cluster.workers())
        new = (asked & serving) - self._settings.keys()
        self._settings |= await self._cluster.ask_all("monitoring.settings", of=new)
        mine = options.compared()
        for id in self._settings.keys() - asked:
            del self._settings[id]
        return {id: options.differences(mine, other) for id, other in self._settings.items()}

    async def past(self) -> dict[str, Any]:
        """The last 15 minutes of all workers that serve."""
        histories = await self._cluster.ask_all("monitoring.past")
        until = max((int(one["until"]) for one in histories.values()), default=int(time.time()))
        return await past_of(histories, until)

    async def _ask(self, id: str) -> None:
        try:
            answer = await self._cluster.ask(id, "monitoring.now", {"since": self._numbers.get(id, 0)})
            if answer is not None:
                self._last[id] = time.monotonic(), answer
                self._take_events(id, answer.pop("notable"))
        finally:
            self._pending.pop(id, None)

    def _take_events(self, id: str, events: list[dict[str, Any]]) -> None:
        if events:
            self._numbers[id] = events[-1]["number"]
            for event in merged(self._events, events):
                self._order += 1
                self._events.append(event | {"id": f"{id} {event['number']}", "order": self._order})
            del self._events[:-KEPT_EVENTS]

    @staticmethod
    def _values(answer: Mapping[str, Any]) -> dict[str, float]:
        """The last second of a worker; one that was asked long ago has stood still since."""
        fresh = time.time() - answer["second"] < 5
        return dict(answer["values"]) if fresh else {}

    def _workers(self, serving: Sequence[str]) -> list[dict[str, Any]]:
        members, now = self._cluster.members, time.monotonic()
        leases = {one.id: one for one in members.all()}
        rows = []
        for id in dict.fromkeys([*leases, *serving]):
            lease, last = leases.get(id), self._last.get(id)
            row: dict[str, Any] = dict.fromkeys((*GAUGES, "received", "delivered", "published"), 0)
            row |= {"id": id, "version": "", "connections": {}, "state": "serving"}
            if lease is not None:
                row |= {"host": lease.host, "pid": lease.pid, "started_at": lease.started_at}
            if last is not None:
                row |= last[1]["worker"]
            row["lease_age"] = None if lease is None else lease.age
            row["age"] = None if last is None else now - last[0]
            if members.is_gone(id):
                row |= {"state": "gone", "connections": {}, "cpu": 0.0}
            rows.append(row)
        return rows

    def _health(self, answers: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        servers: list[bool] = []
        pool: dict[str, int] = {}
        for answer in answers:
            for number, is_up in enumerate(answer["redis"]):
                if number == len(servers):
                    servers.append(True)
                servers[number] &= is_up
            for state, count in (answer["pool"] or {}).items():
                pool[state] = pool.get(state, 0) + count
        return {
            "redis": [{"server": number, "ok": is_up} for number, is_up in enumerate(servers)],
            "database": {"ok": self._cluster.database_answers, "pool": pool or None},
        }


def _totals(answers: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    sums: dict[str, float] = dict.fromkeys(FREQUENT, 0)
    for answer in answers:
        for name, value in answer["totals"].items():
            sums[name] = sums.get(name, 0) + value
        for protocol, count in answer["worker"]["connections"].items():
            name = f"connections.{protocol}"
            sums[name] = sums.get(name, 0) + count
    return sums


def _at(event: Mapping[str, Any]) -> float:
    return float(event["at"])


def _is_rate(name: str) -> bool:
    return name in FREQUENT or name.partition(".")[0] in ("lost", "refused")
