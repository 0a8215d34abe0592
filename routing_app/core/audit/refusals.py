"""Refused calls in the audit log, and those of nobody: each by itself, but of a flood only the number.

Such a caller costs the server no more than a count, and the database no more than some rows a minute, however
often it calls and from wherever.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from threading import Lock
from time import monotonic
from typing import Final

from routing_app.core.access.seats import counted_as
from routing_app.core.audit.actor import NOBODY, Actor
from routing_app.core.audit.bucket import TokenBucket
from routing_app.core.audit.entries import entry
from routing_app.core.models import AuditEntry

PER_SOURCE: Final = 0.1, 60.0
"""Calls a second of one source that have rows of their own, and how many at once."""
IN_ALL: Final = 0.2, 1000.0
"""The same for all sources of a process together."""
MAX_SOURCES: Final = 1000
"""Sources that are told apart."""
SWEEP_SECONDS: Final = 1.0
"""Between two looks for sources that have gone quiet: in a flood not every call pays for one."""
FLUSH_SECONDS: Final = 60.0
"""Between two times that counts are written."""
FLOOD: Final = "flood"
"""The action of a row that stands for many calls."""

Source = tuple[Actor, str]
"""An actor and its network."""

OTHERS: Final[Source] = NOBODY, ""


class _Sources:
    """Decides which calls have a row, and counts the others. Any thread may call it."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._lock = Lock()
        self._clock = clock
        self._all = TokenBucket(*IN_ALL, clock)
        self._buckets: dict[Source, TokenBucket] = {}
        self._counts: dict[Source, int] = {}
        self._swept_at = -inf

    def take(self, actor: Actor, network: str) -> bool:
        """Count a call; True when it shall have a row of its own."""
        source = actor, counted_as(network)
        with self._lock:
            bucket = self._bucket(source)
            if bucket is not None and bucket.take() and self._all.take():
                return True
            self._count(source, 1)
            return False

    def counted(self) -> list[AuditEntry]:
        """Rows for those that have none; they count as written."""
        with self._lock:
            counts, self._counts = self._counts, {}
            rest = counts.pop(OTHERS, 0)
            rows = []
            for source, number in counts.items():
                if self._all.take():
                    rows.append(_row(source, number))
                else:
                    rest += number
        return [*rows, _row(OTHERS, rest)] if rest else rows

    def _bucket(self, source: Source) -> TokenBucket | None:
        bucket = self._buckets.get(source)
        if bucket is None:
            if len(self._buckets) >= MAX_SOURCES and self._clock() - self._swept_at >= SWEEP_SECONDS:
                self._swept_at = self._clock()
                self._buckets = {one: held for one, held in self._buckets.items() if not held.is_full()}
            if len(self._buckets) >= MAX_SOURCES:
                return None
            bucket = self._buckets[source] = TokenBucket(*PER_SOURCE, self._clock)
        return bucket

    def _count(self, source: Source, number: int) -> None:
        if source not in self._counts and len(self._counts) >= MAX_SOURCES:
            source = OTHERS
        self._counts[source] = self._counts.get(source, 0) + number


class Refusals:
    """The same for callers with a valid credential, and apart from them for nobody: those may come from all
    over the world, and are no reason to count what a known one does.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._known = _Sources(clock)
        self._nobody = _Sources(clock)

    def take(self, actor: Actor, network: str) -> bool:
        """See _Sources."""
        return (self._nobody if actor == NOBODY else self._known).take(actor, network)

    def counted(self) -> list[AuditEntry]:
        """See _Sources."""
        return [*self._known.counted(), *self._nobody.counted()]


def _row(source: Source, number: int) -> AuditEntry:
    actor, network = source
    row = entry(FLOOD, "", f"{number} more", actor, network)
    row.request_id = ""  # of many
    return row


REFUSALS: Final = Refusals()
"""Those of this process."""
