"""The workers of the cluster by their leases: who serves, who has gone, and since when."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Container
from dataclasses import dataclass, replace
from typing import Final

from django.db.models import DurationField, ExpressionWrapper, F
from django.db.models.functions import Now

from routing_app.core.database import query
from routing_app.core.leases.reach import read
from routing_app.core.models import LEASE_SECONDS, WorkerRecord
from routing_app.core.monitoring.events import Events

logger = logging.getLogger(__name__)

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
    stood_still: bool = False
    """True where it is so old only because nobody could renew: the database was out."""

    def holds(self, before: Container[str]) -> bool:
        """False once the worker counts as gone; `before` are the workers that did not.

        One that did not may live, as long as only an outage speaks against it. Any other has renewed for the
        last time before somebody looked.
        """
        return self.age <= LEASE_SECONDS or (self.stood_still and self.id in before)


def leases() -> list[Lease]:
    """All workers that have a row. Uses the ORM."""
    age = ExpressionWrapper(Now() - F("renewed_at"), DurationField())
    found = WorkerRecord.objects.annotate(age=age).values_list("id", "host", "pid", "started_at", "age")
    rows = [
        Lease(id, host, pid, started_at.timestamp(), age.total_seconds())
        for id, host, pid, started_at, age in found.order_by("started_at", "id")
    ]
    if all(one.age <= LEASE_SECONDS for one in rows):
        return rows
    gone = set(WorkerRecord.objects.gone_for(LEASE_SECONDS, read().witnessed).values_list("id", flat=True))
    return [replace(one, stood_still=one.age > LEASE_SECONDS and one.id not in gone) for one in rows]


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
        before = self._known or {}
        alive = {one.id: one for one in rows if one.holds(before)}
        for id in alive.keys() - (alive if self._known is None else before).keys() - {self._worker_id}:
            self._events.note("worker_joined", "it serves", about=id)
        for id in before.keys() - alive.keys() - {self._worker_id}:
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
            try:
                hook()
            except Exception:
                logger.exception("monitoring: the end of worker %s could not be told", id)


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
        before = self._leases.keys() - self._gone.keys()
        for one in rows:
            self._leases[one.id] = one
            if one.holds(before):
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
