"""`GET /api/audit`: filters that match exactly, pages, and who may read it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Permission, User
from django.test import AsyncClient, Client

from routing_app.core.access import keys
from routing_app.core.audit.actor import NOBODY, actor_of
from routing_app.core.audit.entries import record
from routing_app.core.models import ApiKey, AuditEntry
from tests.audit.conftest import CANARY

pytestmark = pytest.mark.django_db

FIELDS = ["id", "at", "actor", "actor_kind", "action", "target", "outcome", "network", "request_id"]


def results(api: Client, query: str = "") -> list[dict[str, Any]]:
    answer = api.get(f"/api/audit{query}")
    assert answer.status_code == 200, answer.content
    rows: list[dict[str, Any]] = answer.json()["results"]
    return rows


def test_the_newest_comes_first_with_its_fields(api: Client) -> None:
    record("create", "rooms.room 1")
    record("delete", "rooms.room 1")

    found = results(api)

    assert [row["action"] for row in found] == ["delete", "create"]
    assert list(found[0]) == FIELDS
    assert list(api.get("/api/audit/").json()) == ["count", "next", "previous", "results"]


def test_filters_match_exactly(api: Client, key: ApiKey) -> None:
    record("create", "rooms.room 1", actor=actor_of(key))
    record("create", "rooms.room 12", actor=NOBODY)
    record("creates", "rooms.room 1")

    def found(query: str) -> int:
        return len(results(api, query))

    assert found("?action=create") == 2
    assert found("?target=rooms.room+1") == 2
    assert found("?target=rooms.room+1&action=create") == 1
    assert found("?actor=shop+(sb_1f9Qx)") == found("?actor=shop") == found("?actor=sb_1f9Qx") == 1
    assert found("?actor=sho") == found("?action=creat") == found("?target=rooms.room") == 0


def test_a_day_has_a_beginning_and_an_end(api: Client) -> None:
    for day in (28, 29, 30):
        record("create", f"rooms.room {day}")
        AuditEntry.objects.filter(target=f"rooms.room {day}").update(at=datetime(2026, 11, day, tzinfo=UTC))

    found = results(api, "?since=2026-11-29&until=2026-11-30")

    assert [row["target"] for row in found] == ["rooms.room 29"]
    assert api.get("/api/audit?until=soon").json().keys() == {"until"}


@pytest.mark.django_db(transaction=True)
async def test_it_is_a_file_of_lines_with_the_same_filters(key: ApiKey) -> None:
    for number in range(3):
        await sync_to_async(record)("create" if number else "delete", f"rooms.room {number}")
    api = AsyncClient()

    given = {"X-API-Key": f"sb_1f9Qx{CANARY}"}
    answer: Any = await api.get("/api/audit/download?action=create&as=jsonl", headers=given)
    assert answer.status_code == 200, answer.content
    lines = [json.loads(line) async for piece in answer for line in piece.splitlines()]

    assert answer["Content-Type"] == "application/x-ndjson"
    assert [row["target"] for row in lines] == ["rooms.room 2", "rooms.room 1"]
    assert list(lines[0]) == FIELDS
    assert (await api.get("/api/audit/download?as=xml", headers=given)).json() == {
        "as": ["expected csv or jsonl"]
    }


@pytest.mark.parametrize(
    "written",
    [
        "2026-11-29T06:00:00Z",
        "2026-11-29T07:00:00%2B01:00",
        "2026-11-29T07:00:00+01:00",
        "2026-11-29T06:00:00",
        "20261129T060000Z",
        "2026-11-29T06:00:00.000000Z",
    ],
)
def test_since_is_a_time(api: Client, written: str) -> None:
    six = datetime(2026, 11, 29, 6, tzinfo=UTC)
    for minute in (-1, 0, 1):
        at = six + timedelta(minutes=minute)
        AuditEntry.objects.create(at=at, action="create", target=f"rooms.room {minute}", actor_kind="nobody")

    assert [row["target"] for row in results(api, f"?since={written}")] == ["rooms.room 1", "rooms.room 0"]


@pytest.mark.parametrize(
    "written", ["yesterday", "1", "2026-13-01T00:00:00Z", "0001-01-01T00:00:00%2B23:00", "%2B"]
)
def test_a_since_that_is_no_time_is_refused(api: Client, written: str) -> None:
    answer = api.get(f"/api/audit?since={written}")

    assert answer.status_code == 400
    assert list(answer.json()) == ["since"]


def test_it_comes_in_pages(api: Client) -> None:
    for number in range(5):
        record("create", f"rooms.room {number}")

    assert [row["target"] for row in results(api, "?page_size=2&page=2")] == ["rooms.room 2", "rooms.room 1"]
    assert api.get("/api/audit?page_size=2").json()["count"] == 5


@pytest.mark.parametrize(
    ("scopes", "status"), [(["admin"], 200), (["read", "manage", "publish"], 403), ([], 403)]
)
def test_it_needs_the_scope_admin(scopes: list[str], status: int) -> None:
    _, plain = keys.issue("any", scopes)

    assert Client(headers={"X-API-Key": plain}).get("/api/audit").status_code == status
    assert Client().get("/api/audit").status_code == 401


@pytest.mark.parametrize("rights", [[], ["view_apikey"], ["view_auditentry"]])
def test_staff_needs_the_permission(client: Client, rights: list[str]) -> None:
    ben = User.objects.create(username="ben", is_staff=True)
    ben.user_permissions.set(Permission.objects.filter(codename__in=rights))
    client.force_login(ben)

    assert client.get("/api/audit").status_code == (200 if "view_auditentry" in rights else 403)


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_nobody_writes_it(api: Client, method: str) -> None:
    record("create", "rooms.room 1")
    pk = AuditEntry.objects.get().pk

    assert getattr(api, method)("/api/audit").status_code == 405
    assert getattr(api, method)(f"/api/audit/{pk}/").status_code == 404
    assert AuditEntry.objects.filter(pk=pk, action="create").exists()
