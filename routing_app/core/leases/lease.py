"""The time for which a worker that cannot renew its lease may still count on it, by its own clock.

A lease is judged in the time of `reach`: time in which some worker could be sure of the database. Another
worker that sees `reached - leased_at >= LEASE_SECONDS + grace` gives away what hung on the lease. So the
owner itself has to stop before, without a database that would tell it the time:

- That time goes STALL_SECONDS further than a clock at most. Of the last renewal that succeeded, the moment
  *before* it began counts.
- It stands still STEP_SECONDS after an advance, and nobody advances it without having told the witness first.
  A worker that finds the witness unchanged since an earlier look knows that no advance has begun between the
  two: the database is out for all, and nobody can have given anything away. So an outage of the database for
  all ends nobody.
- A worker that reaches neither database nor witness has to assume that it alone is cut off.

Each fact is a point `as_of` of our clock from which the time may have run on; the latest one counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from routing_app.core.leases.reach import STALL_SECONDS, STEP_SECONDS
from routing_app.core.models import LEASE_SECONDS

MARGIN_SECONDS: Final = 2.0
"""For what lies between looking at the clock and the client's having been told."""


def running_time() -> float:
    """Seconds of a clock that nobody sets and that goes on while the machine is suspended, where there is
    one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Lease:
    """One worker's lease as that worker may count on it."""

    def __init__(self, clock: Callable[[], float] = running_time) -> None:
        self.clock = clock
        self._renewal = float("-inf")
        """When the last renewal that succeeded began."""
        self._as_of = float("-inf")
        self._spent = 0.0
        """The longest that the time may have run since that renewal, if the witness is unchanged."""
        self._seen: str | None = None
        self._seen_at = 0.0
        self._leased_at: datetime | None = None

    @property
    def age(self) -> float:
        """Seconds since the last renewal that succeeded began."""
        return self.clock() - self._renewal

    def renewed(self, began: float, reached: datetime) -> timedelta:
        """A renewal has succeeded that began at `began` and found the time `reached`; how far it is from the
        last.

        Clocks stop in a machine that is paused; the database's does not, and tells by this.
        """
        gap = reached - (self._leased_at or reached)
        self._leased_at = reached
        self._renewal = began
        self._as_of = began - STALL_SECONDS
        self._seen = None
        return gap

    def looked(self, began: float, ended: float, witness: str) -> None:
        """The witness said `witness` to a question asked at `began` and answered at `ended`."""
        unknown = ended - self._renewal + STALL_SECONDS + STEP_SECONDS
        # `_spent` grows only by what another worker may have advanced: everything up to this look when it
        # is the first one, the time since the look before when the word has changed, nothing when it is the
        # same. A look lasts from `began` to `ended`; each side of a comparison takes the end that is worse
        # for us.
        if self._seen is None:
            self._spent = unknown
        elif witness != self._seen:
            advanced = ended - self._seen_at + STALL_SECONDS + STEP_SECONDS
            self._spent = min(self._spent + advanced, unknown)
        self._seen, self._seen_at = witness, began
        self._as_of = max(self._as_of, began - STALL_SECONDS - self._spent)

    def not_seen(self) -> None:
        """The witness gave no answer: what it says next proves nothing about the time before."""
        self._seen = None

    def holds(self, grace: float = 0.0) -> bool:
        """True while nobody can have given away yet what ends `grace` seconds after the lease."""
        return self.clock() < self._as_of + LEASE_SECONDS + grace - MARGIN_SECONDS
