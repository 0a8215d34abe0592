"""Leases and outages: a worker whose lease has lapsed binds nothing, and an outage for all ends nobody."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.conf import settings
from django.db.models.functions import Now

from routing_app.core.leases import reach
from routing_app.core.leases.reach import STEP_SECONDS
from routing_app.core.models import LEASE_SECONDS, Reach, WorkerRecord
from sessions_app.commands import (
    Bind,
    Bound,
    Create,
    Granted,
    HttpHeartbeat,
    Lapsed,
    LimitReached,
    Sweep,
    Unbind,
)
from sessions_app.models import EventKind, Limit, Publisher, Session, SessionEvent
from sessions_app.rows import live_row, shown
from sessions_app.service import operators_view
from sessions_app.store import AccountKey, StoreCommand
from sessions_app.wire import Wanted
from tests.sessions.test_store import apply

ALICE = AccountKey("pub", "alice")
WANTED = Wanted(offer_id="film")
OUTAGE_SECONDS = 3600.0

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def world() -> None:
    """A publisher that allows two streams, and two workers with a lease."""
    Limit.objects.create(publisher=Publisher.objects.create(name="pub"), scope="offer", maximum=2)
    leased_at = reach.read().witnessed
    for id in ("one", "two"):
        WorkerRecord.objects.create(id=id, host="h", pid=1, leased_at=leased_at)


def one(command: StoreCommand) -> object:
    [outcome] = apply(command)
    return outcome


def bound(worker: str, connection: str) -> Session:
    granted = one(Create(ALICE, WANTED))
    assert isinstance(granted, Granted)
    assert one(Bind(ALICE, granted.session.id, connection, worker)) == Bound("")
    return Session.objects.get(pk=granted.session.id)


def renew(worker: str) -> None:
    times = reach.read()
    reach.advance(times, witnessed=True)
    WorkerRecord.objects.filter(id=worker).update(leased_at=times.witnessed)


def out_for_all(seconds: float) -> None:
    """The database comes back after so long: everything in it is so old."""
    ago = Now() - timedelta(seconds=seconds)
    Reach.objects.update(reached_at=ago, witnessed_at=ago)


def cut_off(worker: str, seconds: float) -> None:
    """One worker has not renewed for so long, while the others have."""
    at = reach.read().witnessed - timedelta(seconds=seconds)
    WorkerRecord.objects.filter(id=worker).update(leased_at=at)


def kinds() -> list[str]:
    return list(SessionEvent.objects.order_by("id").values_list("kind", flat=True))


@pytest.mark.parametrize("seconds", [LEASE_SECONDS, LEASE_SECONDS + settings.SESSIONS_GRACE_SECONDS, 3600])
def test_a_worker_whose_lease_has_lapsed_binds_nothing_until_it_has_renewed(seconds: float) -> None:
    granted = one(Create(ALICE, WANTED))
    assert isinstance(granted, Granted)
    bind = Bind(ALICE, granted.session.id, "c", "one")
    cut_off("one", seconds)

    assert one(bind) == Lapsed()
    assert Session.objects.get().connection_id == ""
    renew("one")
    assert one(bind) == Bound("")


def test_a_lapsed_worker_that_binds_adds_no_stream_to_those_of_the_limit() -> None:
    """Its row would count as a dead worker's, and its slot be given to a third."""
    bound("two", "c2")
    granted = one(Create(ALICE, WANTED))
    assert isinstance(granted, Granted)
    cut_off("one", LEASE_SECONDS + settings.SESSIONS_GRACE_SECONDS)

    assert one(Bind(ALICE, granted.session.id, "c1", "one")) == Lapsed()
    assert isinstance(one(Create(ALICE, WANTED)), LimitReached)


def test_a_worker_without_a_row_binds_nothing() -> None:
    granted = one(Create(ALICE, WANTED))
    assert isinstance(granted, Granted)

    assert one(Bind(ALICE, granted.session.id, "c", "nobody")) == Lapsed()


def test_an_outage_for_all_ends_no_survivor() -> None:
    bound("one", "c1")
    bound("two", "c2")
    out_for_all(OUTAGE_SECONDS)

    assert Session.objects.live().count() == 2
    assert Session.objects.lapsed().count() == 0
    assert isinstance(one(Create(ALICE, WANTED)), LimitReached), "the first to come ends nobody"
    renew("one")
    assert isinstance(one(Create(ALICE, WANTED)), LimitReached), "nor when one is back before the other"
    assert EventKind.EXPIRED not in kinds()


def test_a_session_in_grace_when_the_outage_began_has_its_grace_left() -> None:
    session = bound("one", "c1")
    one(Unbind(ALICE, session.pk, "c1"))
    out_for_all(OUTAGE_SECONDS)
    renew("one")

    assert one(Bind(ALICE, session.pk, "c2", "one")) == Bound("")


def test_a_device_that_could_not_beat_in_the_outage_keeps_its_slot() -> None:
    granted = one(Create(ALICE, WANTED))
    assert isinstance(granted, Granted)
    one(HttpHeartbeat(ALICE, granted.session.id))
    out_for_all(OUTAGE_SECONDS)
    renew("one")

    assert one(HttpHeartbeat(ALICE, granted.session.id)) is not None


def test_a_heartbeat_is_told_as_a_time_of_the_clock_on_the_wall() -> None:
    out_for_all(OUTAGE_SECONDS)
    renew("one")
    granted = one(Create(ALICE, WANTED))
    assert isinstance(granted, Granted)
    due = one(HttpHeartbeat(ALICE, granted.session.id))
    seconds = settings.SESSIONS_HEARTBEAT_SECONDS * 2 + settings.SESSIONS_PONG_SECONDS

    assert due == SessionEvent.objects.latest("id").at + timedelta(seconds=seconds)


def test_an_operator_is_told_a_deadline_as_a_time_of_the_clock_on_the_wall(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out_for_all(OUTAGE_SECONDS)
    renew("one")
    # The clock of deadlines would stand still again, some seconds after a renewal.
    times = reach.read()
    monkeypatch.setattr(reach, "read", lambda: times)
    granted = one(Create(ALICE, WANTED))
    assert isinstance(granted, Granted)
    created = SessionEvent.objects.get(kind=EventKind.CREATED)
    row = live_row(operators_view().get(pk=granted.session.id))

    assert created.expires_at is not None
    lifetime = created.expires_at - created.at
    assert round(lifetime.total_seconds()) == settings.SESSIONS_BIND_SECONDS
    assert row["expires_at"] == shown(created.expires_at)


def test_one_worker_cut_off_frees_its_slots_after_lease_and_grace() -> None:
    bound("one", "c1")
    bound("two", "c2")
    # The clock of leases runs on for STEP_SECONDS at most, since nobody renews one.
    cut_off("one", LEASE_SECONDS + settings.SESSIONS_GRACE_SECONDS - STEP_SECONDS - 1)
    assert isinstance(one(Create(ALICE, WANTED)), LimitReached)
    cut_off("one", LEASE_SECONDS + settings.SESSIONS_GRACE_SECONDS)
    assert isinstance(one(Create(ALICE, WANTED)), Granted)
    assert kinds().count(EventKind.EXPIRED) == 1


def test_a_deadline_passes_in_time_that_counts_for_no_lease() -> None:
    """As while Redis is out: leases stand still, and who never came is gone all the same."""
    one(Create(ALICE, WANTED))
    past = reach.read().reached - timedelta(seconds=1)
    Session.objects.update(expires_at=past)
    Reach.objects.update(witnessed_at=Now() - timedelta(seconds=OUTAGE_SECONDS))
    one(Sweep(ALICE))

    assert not Session.objects.exists()
