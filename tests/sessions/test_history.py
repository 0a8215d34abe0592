"""`/api/sessions/history`: what happened to which session, and why."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings
from django.db.models import DateTimeField, Value
from django.utils import timezone

from routing_app.core.leases import reach
from routing_app.core.models import WorkerRecord
from sessions_app import sweep
from sessions_app.commands import Bind, Create, End
from sessions_app.models import EventKind, Limit, Publisher, SessionEvent
from sessions_app.rows import live_row
from sessions_app.service import operators_view
from sessions_app.store import AccountKey
from sessions_app.wire import Wanted
from tests.sessions.operators import apply, caller, create

pytestmark = pytest.mark.django_db

HISTORY = "/api/sessions/history"
ALICE, BOB, ZOE = AccountKey("films", "alice"), AccountKey("films", "bob"), AccountKey("sports", "zoe")
FILM = Wanted("TV", "film", "", "s1e2", "device-1", "Samsung", "tv")


@pytest.fixture(autouse=True)
def publishers() -> None:
    for name in ("films", "sports"):
        Publisher.objects.create(name=name)


def history(query: str = "", **options: Any) -> list[dict[str, Any]]:
    reply = caller(**options).get(HISTORY + query)
    assert reply.status_code == 200, reply.content
    rows: list[dict[str, Any]] = reply.json()["results"]
    return rows


def test_an_end_has_the_row_that_the_session_had_and_its_cause() -> None:
    WorkerRecord.objects.create(id="w" * 16, host="h", pid=1, leased_at=reach.read().witnessed)
    [granted] = apply(Create(ALICE, FILM))
    id = granted.session.id
    apply(Bind(ALICE, id, "w" * 28, "w" * 16))
    row = live_row(operators_view().get(pk=id))
    apply(End(ALICE, id, EventKind.KILLED, "root", "too loud"))

    ended, bound, created = history()

    assert ended == {**row, "kind": "killed", "at": ended["at"], "by": "root", "why": "too loud"}
    assert [one["kind"] for one in (bound, created)] == ["bound", "created"]
    assert (created["worker"], created["expires_at"] is None) == (None, False)
    assert created["at"] == created["created_at"]
    # As times: a whole second is written without a fraction, and "Z" sorts behind ".".
    times = [datetime.fromisoformat(one["at"]) for one in (created, bound, ended)]
    assert times == sorted(times)


def test_a_refusal_has_what_was_wanted_and_no_session() -> None:
    Limit.objects.create(publisher=Publisher.objects.get(name="films"), scope="account", maximum=0)
    [outcome] = apply(Create(ALICE, FILM))

    [row] = history()

    assert (row["id"], row["kind"], row["why"]) == (None, "denied", outcome.reason)
    assert (row["name"], row["offer_id"], row["content_id"]) == ("TV", "film", "s1e2")
    assert {row[name] for name in ("created_at", "bound_at", "seen_at", "expires_at", "worker")} == {None}


def test_refusals_that_were_only_observed_are_told_of_apart() -> None:
    publisher = Publisher.objects.get(name="films")
    Limit.objects.create(publisher=publisher, scope="account", maximum=0, observe_only=True)
    create(ALICE, offer_id="film")

    assert [row["kind"] for row in history()] == ["created"]
    assert [row["kind"] for row in history("?observed=yes")] == ["denied"]


@pytest.fixture
def ids() -> dict[UUID, str]:
    """Sessions by name: three that live, one that a player has finished."""
    made = {
        create(ALICE, offer_id="film"): "alice's film",
        create(ALICE, offer_id="series"): "alice's series",
        create(BOB, offer_id="film"): "bob's film",
        create(ZOE, tag="live"): "zoe's match",
    }
    first = next(iter(made))
    apply(End(ALICE, first, EventKind.FINISHED, "player"))
    return made


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("?publisher=films&kind=created", ["bob's film", "alice's series", "alice's film"]),
        ("?customer=zoe", ["zoe's match"]),
        ("?offer_id=film", ["alice's film", "bob's film", "alice's film"]),
        ("?tag=live", ["zoe's match"]),
        ("?kind=finished", ["alice's film"]),
        ("?by=player", ["alice's film"]),
        ("?kind=denied", []),
        ("?page_size=1&page=2", ["zoe's match"]),
    ],
)
def test_the_history_is_narrowed_by_each_filter(ids: dict[UUID, str], query: str, found: list[str]) -> None:
    assert [ids[UUID(row["id"])] for row in history(query)] == found


def test_the_history_is_narrowed_by_session_and_by_time(ids: dict[UUID, str]) -> None:
    at = {id: SessionEvent.objects.get(session_id=id, kind="created").at for id in ids}
    first, second, third, fourth = ids
    zulu = {id: time.isoformat().replace("+00:00", "Z") for id, time in at.items()}

    assert [row["kind"] for row in history(f"?session={first}")] == ["finished", "created"]
    some = history(f"?kind=created&from={zulu[second]}&to={zulu[fourth]}")
    assert {row["id"] for row in some} == {str(second), str(third)}
    offset = at[fourth].astimezone().isoformat()
    assert [row["id"] for row in history(f"?kind=created&from={offset}")] == [str(fourth)]


@pytest.mark.parametrize("query", ["?kind=nothing", "?from=yesterday", "?to=0001-01-01", "?session=x"])
def test_a_filter_that_makes_no_sense_is_400_and_named(query: str) -> None:
    reply = caller().get(HISTORY + query)

    assert (reply.status_code, list(reply.json())) == (400, [query[1:].partition("=")[0]])


def test_a_key_sees_the_history_of_its_own_addresses(ids: dict[UUID, str]) -> None:
    first, second, *_ = ids

    def seen(*addresses: str) -> list[str]:
        return [ids[UUID(row["id"])] for row in history("?kind=created", addresses=addresses)]

    assert seen("customer:films/bob") == ["bob's film"]
    assert seen("customer:films/*") == ["bob's film", "alice's series", "alice's film"]
    assert seen(f"session:{second}", "customer:sports/*") == ["zoe's match", "alice's series"]
    assert seen("room:bus/*") == []
    assert seen(f"session:{str(first)[:8]}*") == []


def test_the_purge_keeps_the_whole_day_in_which_the_history_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    create(ALICE, offer_id="film")
    [event] = SessionEvent.objects.all()
    oldest = timezone.now() - timedelta(days=settings.SESSIONS_HISTORY_DAYS)
    asked: list[float] = []

    def seconds_ago(seconds: float) -> Value:
        """That of the line above, whose day may have ended since."""
        asked.append(seconds)
        return Value(oldest, DateTimeField())

    monkeypatch.setattr(sweep, "seconds_ago", seconds_ago)
    midnight = oldest.replace(hour=0, minute=0, second=0, microsecond=0)
    for at in (midnight - timedelta(microseconds=1), midnight):
        SessionEvent.objects.create(at=at, kind="finished", account=event.account, by="player")

    sweep._purge_some()

    assert asked == [settings.SESSIONS_HISTORY_DAYS * 86400]
    assert set(SessionEvent.objects.values_list("at", flat=True)) == {event.at, midnight}
