"""Time in which the database could be reached: the measure of deadlines and leases.

A deadline that passes while nobody can reach the database is nobody's fault. So one row keeps two clocks,
which go with the database's own but stand still in outages: each is set forward by every renewal of every
worker, and runs on for STEP_SECONDS after it at most.

- `reached` counts the time in which any worker could reach the database. Deadlines are times of it: a player
  whom the outage kept from coming back has its whole grace left.
- `witnessed` counts the time in which a worker could reach database *and* witness (`witness.py`). Leases are
  times of it. Before it is set forward the witness is told; so a worker without the database can see that it
  stands still (`lease.py`).

To set a clock forward takes three steps: read the database's time, tell the witness, write. The time of the
first step is written, within STALL_SECONDS of reading it or not at all. So between
any two moments a clock goes STALL_SECONDS further than a clock on the wall at most, and the witness is told
at most so long after the moment that is written. Each step is a statement of its own: nobody holds the row
while waiting for anything.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models.functions import Now

from routing_app.core.models import Reach

STEP_SECONDS: Final = 7.0
"""The time by which the clocks run on after a renewal; a worker renews every five seconds."""
STALL_SECONDS: Final = 3.0
"""Longest time from reading the database's time until it is written as the time of an advance."""
TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class Times:
    """The database's time, and the row at that moment."""

    now: datetime
    row: Reach

    @property
    def mark(self) -> str:
        """Names this database to the witness."""
        return self.row.mark

    @property
    def reached(self) -> datetime:
        """The clock of deadlines."""
        return _shown(self.now, self.row.reached_at, self.row.reached_lost)

    @property
    def witnessed(self) -> datetime:
        """The clock of leases."""
        return _shown(self.now, self.row.witnessed_at, self.row.witnessed_lost)


def read() -> Times:
    """The times now; the row is made if there is none."""
    rows: Any = Reach.objects.annotate(now=Now())
    row = rows.first()
    if row is None:
        Reach.objects.bulk_create([Reach(pk=1, mark=secrets.token_hex(8))], ignore_conflicts=True)
        row = rows.get()
    return Times(row.now, row)


def advance(times: Times, witnessed: bool) -> None:
    """Set the clocks forward to the moment of `times`; `witnessed` says that the witness was told after it.

    Another worker may do the same at the same time: then it is tried again on what that one has written.
    """
    latest = times.now + timedelta(seconds=STALL_SECONDS)
    current = times
    # An update with a condition instead of a lock: `version` finds out a worker that was quicker, and the
    # database's own time in `now__lte` refuses an advance whose worker was suspended between the steps.
    for _ in range(TRIES):
        row = current.row
        changes = forward(times.now, witnessed, row)
        rows: Any = Reach.objects.annotate(now=Now())
        if rows.filter(pk=row.pk, version=row.version, now__lte=latest).update(**changes):
            return
        current = read()
        if current.now > latest:
            return


def forward(now: datetime, witnessed: bool, row: Reach) -> dict[str, object]:
    """The fields to write when both clocks, or `reached` alone, are set to the moment `now`."""
    changes: dict[str, object] = {"version": row.version + 1, **_set("reached", now, row)}
    return changes | _set("witnessed", now, row) if witnessed else changes


def _shown(now: datetime, at: datetime, lost: float) -> datetime:
    return min(now, at + timedelta(seconds=STEP_SECONDS)) - timedelta(seconds=lost)


def _set(clock: str, now: datetime, row: Reach) -> dict[str, object]:
    at, lost = getattr(row, f"{clock}_at"), getattr(row, f"{clock}_lost")
    # Up to STEP_SECONDS after the last advance the clock went on by itself; for the rest it stood still.
    stood_still = (now - at).total_seconds() - STEP_SECONDS
    return {f"{clock}_at": max(at, now), f"{clock}_lost": lost + max(0.0, stood_still)}
