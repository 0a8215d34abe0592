"""`/api/sessions/usage`: events by hour or day, and the exact peak, as a simple model has them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from routing_app.core.access.patterns import EVERYTHING
from sessions_app.commands import Create, End, Sweep
from sessions_app.models import ENDINGS, Account, EventKind, Limit, Publisher, Session, SessionEvent
from sessions_app.store import AccountKey
from sessions_app.usage import COUNTED, Bucket, Step, starts_of, usage
from sessions_app.wire import Wanted
from tests.sessions.operators import apply, caller, create

pytestmark = pytest.mark.django_db

USAGE = "/api/sessions/usage"
ALICE = AccountKey("films", "alice")
NOON = (timezone.now() - timedelta(days=3)).replace(hour=12, minute=0, second=0, microsecond=0)
KINDS = [kind.value for kind in COUNTED]


@dataclass(frozen=True)
class Life:
    """A session: its beginning and its end, in ticks; None while it lives."""

    began: int
    ended: int | None
    kind: str


TICK = timedelta(minutes=20)
"""Three of an hour, so that many events share an instant with one another, and with a bucket's beginning."""
TICKS = st.integers(-6, 12)
LIVES = st.lists(
    st.builds(
        lambda began, length, kind: Life(began, None if length is None else began + length, kind),
        TICKS,
        st.none() | st.integers(0, 9),
        st.sampled_from(sorted(ENDINGS)),
    ),
    max_size=12,
)


def at(tick: int) -> datetime:
    return NOON + tick * TICK


def write(lives: list[Life], forgotten: int) -> None:
    """Rows of these sessions; what happened before the tick `forgotten` is purged."""
    account = Account.objects.create(publisher=Publisher.objects.create(name="films"), customer="alice")
    live, events = [], []
    for life in lives:
        id = uuid4()
        events.append(event(account, id, EventKind.CREATED, at(life.began), at(life.began)))
        if life.ended is None:
            expires_at = timezone.now() + timedelta(days=1)
            live.append(Session(id=id, account=account, created_at=at(life.began), expires_at=expires_at))
        else:
            events.append(event(account, id, life.kind, at(life.began), at(life.ended)))
    Session.objects.bulk_create(live)
    SessionEvent.objects.bulk_create([event for event in events if event.at >= at(forgotten)])


def event(account: Account, id: UUID, kind: str, created_at: datetime, time: datetime) -> SessionEvent:
    return SessionEvent(
        account=account, session_id=id, kind=kind, created_at=created_at, at=time, by="server"
    )


def model_peak(lives: list[Life], first: int, last: int) -> int:
    """The most sessions that live at one of the ticks from `first` to before `last`."""
    return max(
        sum(life.began <= tick and (life.ended is None or tick < life.ended) for life in lives)
        for tick in range(first, last)
    )


def model_counts(lives: list[Life], first: int, last: int) -> list[int]:
    events = Counter(life.kind for life in lives if life.ended is not None and first <= life.ended < last)
    events[EventKind.CREATED] = sum(first <= life.began < last for life in lives)
    return [events[kind] for kind in KINDS]


@contextmanager
def undone() -> Iterator[None]:
    """Leave no row to the next example."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


@given(LIVES, st.integers(-6, 0))
@examples(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_counts_and_peaks_are_those_of_a_simple_model(lives: list[Life], forgotten: int) -> None:
    with undone():
        write(lives, forgotten)
        starts = [NOON + timedelta(hours=hour) for hour in range(5)]
        buckets = usage("films", starts, Step.HOUR, EVERYTHING)

    expected = [
        Bucket(at(tick), tuple(model_counts(lives, tick, tick + 3)), model_peak(lives, tick, tick + 3))
        for tick in range(0, 15, 3)
    ]
    assert buckets == expected


def test_a_day_has_the_peak_of_its_hours() -> None:
    write([Life(-50, None, ""), Life(0, 30, "finished"), Life(1, 2, "killed"), Life(35, 37, "expired")], -99)
    midnight = NOON.replace(hour=0)
    days = usage("films", [midnight, midnight + timedelta(days=1)], Step.DAY, EVERYTHING)

    assert [day.peak for day in days] == [3, 2]
    assert [sum(day.counts) for day in days] == [5, 1]


def test_what_one_transaction_does_counts_once() -> None:
    publisher = Publisher.objects.create(name="films")
    Limit.objects.create(publisher=publisher, scope="account", maximum=1, policy="evict_oldest")
    apply(*[Create(ALICE, Wanted(offer_id=str(number))) for number in range(3)])

    [bucket] = now_used()

    assert bucket == {"created": 3, "evicted": 2, "peak": 1}
    assert not SessionEvent.objects.filter(at__lt=F("created_at")).exists()


def now_used(query: str = "&publisher=films") -> list[dict[str, Any]]:
    """What is not zero in the buckets of today and of the day before, in one: it may have begun meanwhile."""
    now = timezone.now()
    of = f"from={zulu(now - timedelta(days=1))}&to={zulu(now + timedelta(minutes=1))}&step=day"
    reply = caller().get(f"{USAGE}?{of}{query}")
    assert reply.status_code == 200, reply.content
    days = reply.json()["buckets"]
    total = {name: sum(day[name] for day in days) for name in KINDS} | {
        "peak": max(day["peak"] for day in days)
    }
    return [{name: value for name, value in total.items() if value}]


def zulu(time: datetime) -> str:
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def test_each_kind_of_event_is_counted_and_observed_refusals_are_not() -> None:
    films = Publisher.objects.create(name="films")
    Limit.objects.create(publisher=films, scope="account", maximum=3, policy="ask")
    Limit.objects.create(publisher=films, scope="account", maximum=0, observe_only=True)
    first, second, third = (create(ALICE, offer_id=offer) for offer in "abc")
    apply(Create(ALICE, Wanted(offer_id="d")))
    apply(Create(ALICE, Wanted(offer_id="e"), (first,)))
    apply(End(ALICE, second, EventKind.FINISHED, "player"), End(ALICE, third, EventKind.KILLED, "root"))
    Session.objects.update(expires_at=timezone.now() - timedelta(hours=1))
    apply(Sweep(ALICE))

    expected = {"created": 4, "denied": 1, "taken_over": 1, "finished": 1, "killed": 1, "expired": 1}
    assert now_used() == [{**expected, "peak": 3}]


def test_a_session_that_is_over_and_not_swept_yet_counts_until_it_is() -> None:
    Publisher.objects.create(name="films")
    id = create(ALICE, offer_id="film")
    Session.objects.filter(pk=id).update(expires_at=timezone.now() - timedelta(hours=1))

    assert now_used() == [{"created": 1, "peak": 1}]


def test_publishers_are_told_of_apart_or_all_together() -> None:
    for name in ("films", "sports"):
        Publisher.objects.create(name=name)
    create(ALICE, offer_id="film")
    create(AccountKey("sports", "zoe"), tag="live")

    assert now_used() == [{"created": 1, "peak": 1}]
    assert now_used("") == [{"created": 2, "peak": 2}]


def test_a_key_is_told_of_its_own_addresses() -> None:
    Publisher.objects.create(name="films")
    first = create(ALICE, offer_id="film")
    create(AccountKey("films", "bob"), offer_id="film")
    today = zulu(timezone.now().replace(hour=0, minute=0))
    query = f"{USAGE}?publisher=films&from={today}&to={zulu(timezone.now())}&step=day"

    def peak(*addresses: str) -> int:
        found: int = caller(addresses=addresses).get(query).json()["buckets"][0]["peak"]
        return found

    assert [peak("customer:films/*"), peak("customer:films/bob"), peak(f"session:{first}")] == [2, 1, 1]
    assert peak("customer:sports/*") == 0


def test_buckets_are_aligned_to_utc_and_empty_ones_are_there() -> None:
    Publisher.objects.create(name="films")
    query = f"?publisher=films&from={NOON:%Y-%m-%dT%H:30:00}%2B00:00&to={NOON:%Y-%m-%d}T16:10:00%2B01:00"

    body = caller().get(USAGE + query).json()

    assert (body["publisher"], body["step"]) == ("films", "hour")
    empty = {**dict.fromkeys(KINDS, 0), "peak": 0}
    hours = [NOON + timedelta(hours=hour) for hour in range(4)]
    assert body["buckets"] == [{"from": zulu(hour), **empty} for hour in hours]
    days = caller().get(f"{USAGE}{query}&step=day").json()["buckets"]
    assert [day["from"] for day in days] == [zulu(NOON.replace(hour=0))]


def test_a_bucket_that_has_not_begun_has_no_peak() -> None:
    Publisher.objects.create(name="films")
    create(ALICE, offer_id="film")
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    starts = starts_of(hour, hour + timedelta(hours=4), Step.HOUR)

    # Of four, because the second one may begin meanwhile.
    peaks = [bucket.peak for bucket in usage("films", starts, Step.HOUR, EVERYTHING)]
    assert peaks in ([1, 0, 0, 0], [1, 1, 0, 0])


def asked(begin: datetime | str, end: datetime | str, step: str = "hour", publisher: str = "films") -> Any:
    shown = [time if isinstance(time, str) else zulu(time) for time in (begin, end)]
    query = "&".join(f"{name}={value}" for name, value in zip(("from", "to"), shown, strict=True) if value)
    return caller().get(f"{USAGE}?publisher={publisher}&step={step}&{query}")


def test_what_is_older_than_the_history_is_refused(settings: Any) -> None:
    Publisher.objects.create(name="films")
    settings.SESSIONS_HISTORY_DAYS = 3
    now = timezone.now()
    older = asked(now - timedelta(days=3, hours=1), now)

    assert (older.status_code, list(older.json())) == (400, ["from"])
    assert "SESSIONS_HISTORY_DAYS" in older.json()["from"][0]
    for step in Step:
        assert asked(now - timedelta(days=3), now, step).status_code == 200
    settings.SESSIONS_HISTORY_DAYS = 0
    assert asked(now - timedelta(days=99), now).status_code == 200


def test_one_answer_has_at_most_100_days_of_hours(settings: Any) -> None:
    Publisher.objects.create(name="films")
    settings.SESSIONS_HISTORY_DAYS = 0
    assert len(asked(NOON - timedelta(days=100), NOON).json()["buckets"]) == 2400
    longer = asked(NOON - timedelta(days=100, seconds=1), NOON)
    assert (longer.status_code, list(longer.json())) == (400, ["to"])
    assert asked(NOON - timedelta(days=100, seconds=1), NOON, "day").status_code == 200
    assert asked(NOON - timedelta(days=2401), NOON, "day").status_code == 400


@pytest.mark.parametrize(
    ("begin", "end", "step", "publisher", "wrong"),
    [
        ("", NOON, "hour", "films", "from"),
        (NOON, "", "hour", "films", "to"),
        (NOON, NOON, "hour", "films", "to"),
        (NOON, NOON - timedelta(hours=1), "hour", "films", "to"),
        ("yesterday", NOON, "hour", "films", "from"),
        (NOON, "9999-12-31T23:59:59Z", "hour", "films", "to"),
        (NOON, NOON + timedelta(hours=1), "week", "films", "step"),
        (NOON, NOON + timedelta(hours=1), "hour", "nobody", "publisher"),
    ],
)
def test_what_makes_no_sense_is_400_and_named(
    begin: datetime | str, end: datetime | str, step: str, publisher: str, wrong: str
) -> None:
    Publisher.objects.create(name="films")
    reply = asked(begin, end, step, publisher)

    assert (reply.status_code, list(reply.json())) == (400, [wrong])


def test_usage_asks_the_database_once_whatever_the_number_of_buckets(
    django_assert_num_queries: Any,
) -> None:
    starts = starts_of(NOON - timedelta(days=settings.SESSIONS_HISTORY_DAYS - 4), NOON, Step.HOUR)
    with django_assert_num_queries(1):
        assert len(usage("films", starts, Step.HOUR, EVERYTHING)) > 2000


def test_an_empty_name_is_not_everybody() -> None:
    reply = caller().get(f"{USAGE}?from=2026-11-28T00:00:00Z&to=2026-11-29T00:00:00Z&publisher=")

    assert (reply.status_code, list(reply.json())) == (400, ["publisher"])
