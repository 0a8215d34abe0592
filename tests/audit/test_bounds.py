"""A flood of refused calls costs some rows and a count; old entries go."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from routing_app.core.audit import refusals, upkeep
from routing_app.core.audit.actor import NOBODY, Actor
from routing_app.core.audit.bucket import TokenBucket
from routing_app.core.audit.entries import entry, insert
from routing_app.core.audit.refusals import Refusals
from routing_app.core.models import AuditEntry
from routing_app.core.models.audit import ActorKind


def outcomes(counted: list[AuditEntry]) -> list[tuple[str, str, str]]:
    return [(row.actor, row.network, row.outcome) for row in counted]


@pytest.mark.django_db
def test_a_flood_of_one_caller_is_counted(api: Client, fresh_refusals: Refusals) -> None:
    wrong = Client(headers={"X-API-Key": "wrong-wrong-wrong-wrong"})
    for _ in range(100):
        assert wrong.get("/api/tokens/").status_code == 401
    assert AuditEntry.objects.count() == 60

    counted = fresh_refusals.counted()

    assert outcomes(counted) == [("", "127.0.0.1", "40 more")]
    assert fresh_refusals.counted() == []
    insert(counted)
    assert AuditEntry.objects.latest("id").action == "flood"


@pytest.mark.django_db(transaction=True)
def test_nobody_changes_much_where_the_form_api_is_open(settings: Any, fresh_refusals: Refusals) -> None:
    settings.TOKENS_API_OPEN = True
    for _ in range(70):
        Client().post("/", {"method": "registerToken", "token": "abcdefgh"})

    assert {(row.action, row.outcome) for row in AuditEntry.objects.all()} == {("registerToken", "ok")}
    assert AuditEntry.objects.count() == 60
    assert outcomes(fresh_refusals.counted()) == [("", "127.0.0.1", "10 more")]


def test_a_network_of_version_6_is_one_caller() -> None:
    """As in every limit: its holder has 2**64 addresses."""
    flood = Refusals(lambda: 0.0)
    taken = [flood.take(NOBODY, f"2001:db8::{number:x}") for number in range(100)]

    assert taken.count(True) == 60
    assert outcomes(flood.counted()) == [("", "2001:db8::/64", "40 more")]


def test_callers_without_number_share_what_there_is() -> None:
    flood = Refusals(lambda: 0.0)
    taken = [flood.take(NOBODY, f"10.0.{number // 250}.{number % 250}") for number in range(5000)]

    assert taken.count(True) == 1000
    assert outcomes(flood.counted()) == [("", "", "4000 more")]
    assert len(flood._nobody._buckets) <= refusals.MAX_SOURCES


def test_a_flood_from_everywhere_is_not_searched_at_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    def is_full(bucket: TokenBucket) -> bool:
        nonlocal looks
        looks += 1
        return False

    monkeypatch.setattr(TokenBucket, "is_full", is_full)
    flood = Refusals(lambda: 0.0)
    for number in range(5000):
        flood.take(NOBODY, f"10.0.{number // 250}.{number % 250}")

    assert looks == refusals.MAX_SOURCES


def test_a_known_caller_is_recorded_beside_a_flood_of_nobody() -> None:
    flood = Refusals(lambda: 0.0)
    for number in range(5000):
        flood.take(NOBODY, f"10.0.{number // 250}.{number % 250}")

    assert flood.take(Actor(ActorKind.USER, "ben"), "10.0.0.1")


def test_another_caller_is_recorded_beside_a_flood() -> None:
    flood = Refusals(lambda: 0.0)
    for _ in range(1000):
        flood.take(NOBODY, "10.0.0.1")

    assert flood.take(NOBODY, "10.0.0.2")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("days", "left"), [(365, ["new"]), (0, ["old", "new"]), (500, ["old", "new"])])
async def test_old_entries_go(settings: Any, days: int, left: list[str]) -> None:
    settings.AUDIT_DAYS = days
    await AuditEntry.objects.acreate(
        action="old", actor_kind="nobody", at=timezone.now() - timedelta(days=366)
    )
    await AuditEntry.objects.acreate(
        action="new", actor_kind="nobody", at=timezone.now() - timedelta(days=364)
    )

    await upkeep.purge()

    assert [row.action async for row in AuditEntry.objects.order_by("at")] == left


@pytest.mark.django_db
def test_long_and_strange_words_are_stored() -> None:
    insert(
        [entry("a" * 5000, "line\nend\0 \ud800 \x1b[0m", "ok", Actor(ActorKind.USER, "é" * 600), "x" * 100)]
    )

    row = AuditEntry.objects.get()
    assert row.action == "a" * 100
    assert row.target == "line\ufffdend\ufffd \ufffd \ufffd[0m"
    assert row.actor == "é" * 512
