"""The workers of the cluster by their leases: who serves, who has gone, and since when."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from django.db.models import DurationField, ExpressionWrapper, F
from django.db.models.functions import Now

from routing_app.core.database import query
from routing_app.core.models import LEASE_SECONDS, WorkerRecord
from routing_app.core.monitoring.events import Events

LOOK_SECONDS: Final = 5.0
"""Between two looks of a worker that nobody watches."""
GONE_SECONDS: Final = 60.0
"""A worker that is gone is listed for so long."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A row of a worker, with the age of its lease by the database's clock."""

    id: str
    host: str
    pid: int
    started_at: float
    age: float

    @property
    def holds(self) -> bool:
        """False once the worker counts as gone."""
        return self.age <= LEASE_SECONDS


def leases() -> list[Lease]:
    """All workers that have a row. Uses the ORM."""
    age = ExpressionWrapper(Now() - F("renewed_at"), DurationField())
    rows = WorkerRecord.objects.annotate(age=age).values_list("id", "host", "pid", "started_at", "age")
    return [
        Lease(id, host, pid, started_at.timestamp(), age.total_seconds())
        for id, host, pid, started_at, age in rows.order_by("started_at", "id")
    ]


class Watch:
    """Notes which workers come and go, and whether the database answers."""

    def __init__(self, worker_id: str, events: Events, has_left: Callable[[str], bool]) -> None:
        self._worker_id = worker_id
        self._events = events
        self._has_left = has_left
        self.on_died: list[Callable[[], None]] = []
        """Called for each worker whose lease has ended, and that had not said goodbye."""
        self._known: dict[str, Lease] | None = None
        """Workers whose leases held at the last look; None before the first."""
        self._came: set[str] = set()
        """Workers that were heard of, and have not left."""
        self._is_up = True

    async def look(self) -> None:
        """Read the leases, and note what has changed. Never raises."""
        try:
            rows = await query(leases)
        except Exception as error:
            if self._is_up:
                self._events.note("database_down", f"the database does not answer: {type(error).__name__}")
            self._is_up = False
            return
        if not self._is_up:
            self._events.note("database_up", "the database is back")
        self._is_up = True
        alive = {one.id: one for one in rows if one.holds}
        for id in alive.keys() - (alive if self._known is None else self._known).keys() - {self._worker_id}:
            self._events.note("worker_joined", "it serves", about=id)
        for id in (self._known or {}).keys() - alive.keys() - {self._worker_id}:
            self._gone(id)
        self._known = alive

    def came(self, id: str) -> None:
        """Another worker was heard of."""
        self._came.add(id)

    def left(self, id: str) -> None:
        """Another worker has ended in order. One that lived between two looks was seen by none of them."""
        if id in self._came and id not in (self._known or {}):
            self._events.note("worker_joined", "it serves", about=id)
            self._events.note("worker_gone", "it has ended", about=id)
        self._came.discard(id)

    def _gone(self, id: str) -> None:
        self._came.discard(id)
        if self._has_left(id):
            self._events.note("worker_gone", "it has ended", about=id)
            return
        self._events.note("worker_gone", "its lease has ended", about=id)
        for hook in self.on_died:
            hook()


class Members:
    """The workers as somebody who watches sees them: those that are gone stay for a while."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._leases: dict[str, Lease] = {}
        self._gone: dict[str, float] = {}
        """Workers that are gone, and when that was seen."""

    def read(self, rows: list[Lease]) -> None:
        """The rows as they are now."""
        now = self._clock()
        for one in rows:
            self._leases[one.id] = one
            if one.holds:
                self._gone.pop(one.id, None)
            else:
                self._gone.setdefault(one.id, now - (one.age - LEASE_SECONDS))
        for id in self._leases.keys() - {one.id for one in rows}:
            self._gone.setdefault(id, now)
        for id, since in list(self._gone.items()):
            if now - since > GONE_SECONDS:
                del self._gone[id]
                del self._leases[id]

    def all(self) -> list[Lease]:
        """Every worker that is listed, the oldest first."""
        return sorted(self._leases.values(), key=lambda one: (one.started_at, one.id))

    def serving(self) -> list[str]:
        """The ids of the workers that are not gone."""
        return [one.id for one in self.all() if one.id not in self._gone]

    def is_gone(self, id: str) -> bool:
        """True for a worker whose lease is over, or whose row is."""
        return id in self._gone
