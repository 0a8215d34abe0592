"""Sessions: each event of the history is reported with the row of `/api/sessions/`, if it commits."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from routing_app.core.leases import reach
from routing_app.core.models import WorkerRecord
from routing_app.core.models.webhooks import Delivery
from routing_app.core.webhooks.known import webhooks
from sessions_app.commands import Bind, Create, End, Granted, LimitReached, Sweep
from sessions_app.models import EventKind, Limit, Publisher, Session
from sessions_app.rows import STREAM, live_row
from sessions_app.service import operators_view
from sessions_app.store import AccountKey, StoreCommand, StoreEntry, apply_all
from sessions_app.wire import Wanted
from tests.webhook_events.outbox import subscribe, told, told_of

pytestmark = pytest.mark.django_db

KEY = AccountKey("demo", "ann")
FILM = Wanted("TV", "film", "news", "s1e2", "device-1", "Samsung", "tv")


def apply(*commands: StoreCommand) -> list[object]:
    entries = [StoreEntry(command) for command in commands]
    with transaction.atomic():
        apply_all(entries)
    return [entry.outcome for entry in entries]


def create(**fields: str) -> Granted:
    [outcome] = apply(Create(KEY, Wanted(**fields)))
    assert isinstance(outcome, Granted)
    return outcome


@pytest.fixture(autouse=True)
def publisher() -> Publisher:
    return Publisher.objects.create(name="demo")


def listed(id: UUID) -> dict[str, object]:
    """The row as the API shows it."""
    return live_row(operators_view().get(pk=id))


def test_a_created_session_is_reported_as_it_is_listed() -> None:
    subscribe("session.*")
    [granted] = apply(Create(KEY, FILM))
    assert isinstance(granted, Granted)
    row = listed(granted.session.id)
    assert told() == [("session.created", {**row, "by": "customer", "why": ""})]


def test_a_denial_has_what_was_wanted_and_no_session(publisher: Publisher) -> None:
    subscribe("session.denied")
    Limit.objects.create(publisher=publisher, scope="account", maximum=0, policy="block")
    [outcome] = apply(Create(KEY, FILM))
    assert isinstance(outcome, LimitReached)
    [(_, data)] = told()
    assert data == {
        **{name: getattr(FILM, name) for name in STREAM},
        "id": None,
        **dict.fromkeys(("created_at", "bound_at", "seen_at", "expires_at")),
        "connection": "",
        "worker": None,
        "publisher": "demo",
        "customer": "ann",
        "by": "customer",
        "why": outcome.reason,
    }


def test_a_denial_that_was_only_observed_is_not_one(publisher: Publisher) -> None:
    subscribe("*")
    Limit.objects.create(publisher=publisher, scope="account", maximum=0, observe_only=True)
    create(offer_id="film")
    assert [type for type, _ in told()] == ["session.created"]


def test_a_takeover_names_the_one_that_ended_and_by_whom(publisher: Publisher) -> None:
    first = create(name="TV", offer_id="film").session
    subscribe("session.taken_over", "session.created")
    apply(Create(KEY, Wanted(name="phone", offer_id="film"), (first.id,)))
    [ended] = told_of("session.taken_over")
    assert (ended["id"], ended["name"], ended["by"], ended["why"]) == (
        str(first.id),
        "TV",
        "customer",
        "by phone",
    )
    [created] = told_of("session.created")
    assert created["name"] == "phone"


def test_an_eviction_is_reported(publisher: Publisher) -> None:
    Limit.objects.create(publisher=publisher, scope="account", maximum=1, policy="evict_oldest")
    first = create(name="TV", offer_id="film").session
    subscribe("session.evicted")
    create(name="phone", offer_id="film")
    assert [data["id"] for data in told_of("session.evicted")] == [str(first.id)]


@pytest.mark.parametrize(
    ("kind", "by"),
    [(EventKind.FINISHED, "player"), (EventKind.KILLED, "root"), (EventKind.EXPIRED, "server")],
)
def test_an_end_is_reported_with_by_and_why(kind: EventKind, by: str) -> None:
    session = create(offer_id="film").session
    subscribe("session.*")
    apply(End(KEY, session.id, kind, by, "because"))
    [(type, data)] = told()
    assert (type, data["id"], data["by"], data["why"]) == (
        f"session.{kind}",
        str(session.id),
        by,
        "because",
    )


def test_a_session_that_was_never_bound_expires_and_is_reported() -> None:
    session = create(offer_id="film").session
    subscribe("session.expired")
    late = timezone.now() - timedelta(seconds=settings.SESSIONS_BIND_SECONDS)
    Session.objects.filter(pk=session.id).update(expires_at=late)
    apply(Sweep(KEY))
    assert [data["why"] for data in told_of("session.expired")] == ["never bound"]


def test_a_bound_session_is_reported_with_its_connection_and_worker() -> None:
    WorkerRecord.objects.create(id="w" * 16, host="h", pid=1, leased_at=reach.read().witnessed)
    session = create(offer_id="film").session
    apply(Bind(KEY, session.id, "w" * 28, "w" * 16))
    row = listed(session.id)
    subscribe("session.finished", "session.created")
    apply(End(KEY, session.id, EventKind.FINISHED, "player"))
    assert told() == [("session.finished", {**row, "by": "player", "why": ""})]
    assert (row["connection"], row["worker"]) == ("w" * 28, "w" * 16)


@pytest.mark.django_db(transaction=True)
def test_what_is_rolled_back_is_not_reported() -> None:
    subscribe("*")
    with transaction.atomic():
        apply_all([StoreEntry(Create(KEY, FILM))])
        assert Delivery.objects.count() == 1
        transaction.set_rollback(True)
    assert (Session.objects.count(), Delivery.objects.count()) == (0, 0)


@pytest.mark.django_db(transaction=True)
def test_a_webhook_that_is_deleted_meanwhile_fails_no_session() -> None:
    subscribe("*").delete()
    assert webhooks  # this process has not heard of it
    create(offer_id="film")
    assert Session.objects.count() == 1


def test_without_a_webhook_a_create_asks_nothing_more() -> None:
    create(offer_id="film")
    with CaptureQueriesContext(connection) as queries:
        create(offer_id="film")
    assert queries.captured_queries
    assert not [query for query in queries.captured_queries if "webhook" in query["sql"]]
    assert Delivery.objects.count() == 0
