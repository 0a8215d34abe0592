"""How much a publisher's customers have played: events of the history counted by hour or day, and the most
sessions that lived at once.

The peak is exact. A session lives from its `created_at` until just before its end; where ends and beginnings
share an instant, the ends count first. Sessions that began before the first bucket are those that live, or
whose end is in the history: so it does not matter that their beginnings may be forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from math import ceil
from typing import Any, Final

from django.conf import settings
from django.db import connection
from django.db.models import Case, F, Q, QuerySet, Sum, Value, When, Window
from django.db.models.functions import Trunc
from django.utils import timezone

from routing_app.core.access.patterns import Patterns
from sessions_app.access import covered_by
from sessions_app.models import ENDINGS, EventKind, Session, SessionEvent

COUNTED: Final = (
    EventKind.CREATED,
    EventKind.DENIED,
    EventKind.TAKEN_OVER,
    EventKind.EVICTED,
    EventKind.EXPIRED,
    EventKind.FINISHED,
    EventKind.KILLED,
)
MAX_BUCKETS: Final = 2400
"""Of one answer: 100 days of hours."""
LATE: Final = timedelta(seconds=60)
"""A caller that asks for all days that are kept may have a clock that is behind, or be slow."""


class Step(StrEnum):
    """The length of a bucket."""

    HOUR = "hour"
    DAY = "day"

    @property
    def length(self) -> timedelta:
        """As a time."""
        return timedelta(hours=1) if self is Step.HOUR else timedelta(days=1)


class BadRange(ValueError):
    """A time that cannot be told of; `field` is `from` or `to`."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field


@dataclass(frozen=True, slots=True)
class Bucket:
    """An hour or a day of UTC: its beginning, the events of each kind of COUNTED, the peak."""

    begins: datetime
    counts: Sequence[int]
    peak: int


def starts_of(begin: datetime, end: datetime, step: Step) -> list[datetime]:
    """The beginnings of the buckets that have a part of a time, of UTC. Raises BadRange."""
    days = settings.SESSIONS_HISTORY_DAYS
    longest = MAX_BUCKETS * step.length
    if end <= begin:
        raise BadRange("to", "expected a time after `from`")
    if end - begin > longest:
        raise BadRange("to", f"expected at most {longest.days} days after `from` with step={step}")
    if days and begin < timezone.now() - timedelta(days=days) - LATE:
        raise BadRange(
            "from", f"expected at most {days} days ago: what is older is forgotten (SESSIONS_HISTORY_DAYS)"
        )
    first = begin.replace(minute=0, second=0, microsecond=0)
    first = first.replace(hour=0) if step is Step.DAY else first
    return [first + step.length * number for number in range(ceil((end - first) / step.length))]


def usage(publisher: str | None, starts: Sequence[datetime], step: Step, addresses: Patterns) -> list[Bucket]:
    """The buckets that begin at `starts`, which follow one another, of the sessions that `addresses` cover;
    of one publisher, or of all. Uses the ORM.
    """
    level, activity = _read(publisher, starts[0], starts[-1] + step.length, step, addresses)
    now = timezone.now()
    buckets = []
    for start in starts:
        seen = activity.get(start)
        if seen is None:
            buckets.append(Bucket(start, (0,) * len(COUNTED), level if start <= now else 0))
            continue
        peak = seen.highest if seen.first_at == start else max(level, seen.highest)
        buckets.append(Bucket(start, seen.counts, peak))
        level += seen.change
    return buckets


@dataclass(frozen=True, slots=True)
class _Activity:
    """A bucket in which something happened: the time of its first event, the highest number of sessions after
    an event, the number by which there are more at its end."""

    first_at: datetime
    highest: int
    change: int
    counts: tuple[int, ...]


def _read(
    publisher: str | None, begin: datetime, end: datetime, step: Step, addresses: Patterns
) -> tuple[int, dict[datetime, _Activity]]:
    """The sessions that live just before `begin`, and what happened in each bucket.

    It is one statement: nothing that happens meanwhile is counted in one place and not in another.
    """
    live = Session.objects.filter(_of(publisher, addresses, "pk"), created_at__lt=begin)
    events = SessionEvent.objects.filter(_of(publisher, addresses, "session_id"), at__gte=begin)
    ended = events.filter(kind__in=ENDINGS, created_at__lt=begin)
    change = Case(
        When(kind=EventKind.CREATED, then=Value(1)),
        When(kind=EventKind.DENIED, then=Value(0)),
        default=Value(-1),
    )
    # Such a window ends with all events of its instant, in whatever order they are.
    level = Window(Sum(change), order_by=F("at").asc())
    changes = (
        events.filter(at__lt=end, kind__in=COUNTED, observed=False)
        .annotate(bucket=Trunc("at", step, tzinfo=UTC), moment=F("at"), event=F("kind"))
        .annotate(change=change, level=level)
        .values("bucket", "moment", "event", "change", "level")
    )
    counts = ", ".join(["COUNT(CASE WHEN event = %s THEN 1 END)"] * len(COUNTED))
    (live_sql, live_values), (ended_sql, ended_values) = _sql(live.values("pk")), _sql(ended.values("pk"))
    changes_sql, changes_values = _sql(changes)
    statement = (  # the ORM has made its parts
        f"SELECT began.level, buckets.* FROM (SELECT (SELECT COUNT(*) FROM ({live_sql}) AS live)"  # noqa: S608
        f" + (SELECT COUNT(*) FROM ({ended_sql}) AS ended) AS level) AS began"
        f" LEFT JOIN (SELECT bucket, MIN(moment), MAX(level), SUM(change), {counts}"
        f" FROM ({changes_sql}) AS changes GROUP BY bucket) AS buckets ON 1 = 1"
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, [*live_values, *ended_values, *COUNTED, *changes_values])
        rows = cursor.fetchall()
    began = rows[0][0]
    return began, {
        _time(bucket): _Activity(_time(first_at), began + highest, change, tuple(counts))
        for _, bucket, first_at, highest, change, *counts in rows
        if bucket is not None
    }


def _of(publisher: str | None, addresses: Patterns, id_column: str) -> Q:
    mine = Q() if publisher is None else Q(account__publisher__name=publisher)
    return mine & covered_by(addresses, id_column)


def _sql(rows: QuerySet[Any, Any]) -> tuple[str, tuple[Any, ...]]:
    sql, values = rows.order_by().query.get_compiler(connection=connection).as_sql()
    return sql, values


def _time(value: Any) -> datetime:
    """A time of a statement that the ORM has not read: SQLite has strings, PostgreSQL some without zone."""
    at = datetime.fromisoformat(value) if isinstance(value, str) else value
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
