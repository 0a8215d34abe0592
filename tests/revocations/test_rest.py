"""REST and the admin: revocations are made, listed and lifted."""

from __future__ import annotations

import json
from datetime import timedelta
from math import inf
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from routing_app.core.access import keys
from routing_app.core.models import Revocation, Scope
from routing_app.core.revocations import lookup
from routing_app.core.revocations.known import is_revoked
from routing_app.core.revocations.names import Carried, Kind, Name

pytestmark = pytest.mark.django_db(transaction=True)

PATH = "/api/revocations/"
ADMIN = "/admin/core/revocation/"
LATER = "2099-01-01T00:00:00Z"
"""The same in every process of a run, whose names of tests hold it."""


@pytest.fixture
def key() -> str:
    """A key that may manage."""
    return keys.issue("manager", [Scope.MANAGE])[1]


@pytest.fixture
def operator(client: Client) -> Client:
    """Somebody who may do everything."""
    client.force_login(User.objects.create(username="anna", is_staff=True, is_superuser=True))
    return client


def call(method: str, path: str, key: str, body: Any = None) -> tuple[int, Any]:
    sent = {} if body is None else {"data": json.dumps(body), "content_type": "application/json"}
    answer = getattr(Client(), method.lower())(path, headers={"X-API-Key": key}, **sent)
    return answer.status_code, json.loads(answer.content) if answer.content else None


def test_a_revocation_is_made_shown_and_lifted(key: str):
    body = {"subject": "alice", "until": LATER, "reason": "blocked"}
    status, made = call("POST", PATH.rstrip("/"), key, body)
    assert (status, made["subject"], made["reason"], made["issued_before"]) == (201, "alice", "blocked", None)
    assert is_revoked([Carried(Kind.SUBJECT, "alice")])
    assert call("GET", f"{PATH}{made['id']}/", key) == (200, made)

    assert call("DELETE", f"{PATH}{made['id']}", key) == (204, None)
    assert not is_revoked([Carried(Kind.SUBJECT, "alice")])
    assert call("GET", f"{PATH}{made['id']}/", key)[0] == 404


def test_a_network_is_kept_in_its_one_form(key: str):
    assert call("POST", PATH, key, {"network": "::ffff:10.1.2.3/104"})[1]["network"] == "10.0.0.0/8"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "non_field_errors"),
        ({"reason": "nothing named"}, "non_field_errors"),
        ({"subject": "a", "jti": "b"}, "non_field_errors"),
        ({"subject": ""}, "non_field_errors"),
        ({"jti": "a", "issued_before": LATER}, "issued_before"),
        ({"subject": "a", "until": "2020-01-01T00:00:00Z"}, "until"),
        ({"subject": "a", "until": "tomorrow"}, "until"),
        ({"subject": 17}, "subject"),
        ({"subject": "a\u0007b"}, "subject"),
        ({"subject": "a" * 513}, "subject"),
        ({"jti": "a" * 256}, "jti"),
        ({"token": "a" * 256}, "token"),
        ({"key": "a" * 17}, "key"),
        ({"network": "10.0.0.0/33"}, "network"),
        ({"network": ["10.0.0.0/8"]}, "network"),
        ({"subject": "a", "user": "b"}, "user"),
        ({"subject": "a", "reason": "a" * 256}, "reason"),
        ([], "non_field_errors"),
        (["subject"], "non_field_errors"),
    ],
    ids=lambda value: json.dumps(value)[:40] if not isinstance(value, str) else "",
)
def test_what_makes_no_sense_is_refused_by_field(key: str, body: Any, field: str):
    status, answer = call("POST", PATH, key, body)
    assert (status, list(answer)) == (400, [field])
    assert not Revocation.objects.exists()


def test_a_list_is_narrowed(key: str):
    Revocation.objects.create(subject="alice")
    Revocation.objects.create(subject="bob", until=timezone.now() - timedelta(hours=1))
    Revocation.objects.create(network="10.0.0.0/8", until=timezone.now() + timedelta(hours=1))

    def listed(query: str) -> list[str]:
        status, answer = call("GET", f"{PATH}{query}", key)
        assert status == 200
        return [row["subject"] or row["network"] for row in answer["results"]]

    assert listed("") == ["10.0.0.0/8", "bob", "alice"]
    assert listed("?subject=alice") == ["alice"]
    assert listed("?network=10.0.0.0/8") == ["10.0.0.0/8"]
    assert listed("?active=true") == ["10.0.0.0/8", "alice"]
    assert listed("?active=false&page_size=5") == ["bob"]
    assert listed("?subject=alice&jti=x") == []
    assert call("GET", f"{PATH}?active=perhaps", key)[0] == 400


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("scopes", [[Scope.READ], [Scope.PUBLISH], []])
def test_it_needs_the_scope_manage(method: str, scopes: list[str]):
    key = keys.issue("other", scopes)[1]
    assert call(method, PATH, key, {"subject": "alice"} if method == "POST" else None)[0] == 403


def test_a_row_is_not_changed_over_rest(key: str):
    row = Revocation.objects.create(subject="alice")
    assert call("PUT", f"{PATH}{row.pk}/", key, {"subject": "bob"})[0] == 405
    assert call("PATCH", f"{PATH}{row.pk}/", key, {"reason": "b"})[0] == 405


def test_a_revoked_key_is_refused_until_it_is_lifted(key: str):
    row, plain = keys.issue("reader", [Scope.READ])
    made = call("POST", PATH, key, {"key": row.prefix})[1]
    assert call("GET", "/api/clients/", plain)[0] == 401
    call("DELETE", f"{PATH}{made['id']}/", key)
    assert call("GET", "/api/clients/", plain)[0] == 200


# --- the admin --------------------------------------------------------------------------------------------


def test_the_admin_makes_changes_and_lifts(operator: Client):
    assert operator.post(f"{ADMIN}add/", {"network": "10.1.2.3/8"}).status_code == 302
    row = Revocation.objects.get()
    assert row.network == "10.0.0.0/8"

    page = operator.get(f"{ADMIN}{row.pk}/change/").content.decode()
    assert 'name="network"' not in page
    later = {"until_0": "2099-01-01", "until_1": "00:00:00", "reason": "scanner"}
    assert operator.post(f"{ADMIN}{row.pk}/change/", {**later, "subject": "alice"}).status_code == 302
    row.refresh_from_db()
    assert (row.network, row.subject, row.reason, row.until is None) == ("10.0.0.0/8", "", "scanner", False)

    assert operator.post(f"{ADMIN}{row.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not Revocation.objects.exists()


def test_the_admin_lifts_many_at_once(operator: Client):
    rows = [Revocation.objects.create(subject=name) for name in ("alice", "bob")]
    chosen = {"action": "delete_selected", "_selected_action": [row.pk for row in rows], "post": "yes"}
    assert operator.post(ADMIN, chosen).status_code == 302
    assert not Revocation.objects.exists()


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"subject": "a", "key": "b"},
        {"network": "x"},
        {"subject": "a", "until_0": "2020-01-01", "until_1": "0:00"},
    ],
)
def test_the_admin_refuses_what_makes_no_sense(operator: Client, fields: dict[str, str]):
    page = operator.post(f"{ADMIN}add/", fields)
    assert (page.status_code, "errorlist" in page.content.decode()) == (200, True)
    assert not Revocation.objects.exists()


def test_a_row_that_is_over_can_still_be_given_a_reason(operator: Client):
    row = Revocation.objects.create(subject="alice", until="2020-01-01T00:00:00Z")
    same = {"until_0": "2020-01-01", "until_1": "00:00:00", "reason": "spam"}
    assert operator.post(f"{ADMIN}{row.pk}/change/", same).status_code == 302
    row.refresh_from_db()
    assert row.reason == "spam"


def test_a_row_that_was_over_and_is_extended_is_read_by_workers_that_have_read_it(operator: Client):
    """Where they miss the message, they read what is behind the last row that they know."""
    over = Revocation.objects.create(subject="alice", until=timezone.now() - timedelta(hours=1))
    last = Revocation.objects.create(subject="bob")
    over.refresh_from_db()

    later = {"until_0": "", "until_1": "", "reason": "spam", "_continue": "yes"}
    answer = operator.post(f"{ADMIN}{over.pk}/change/", later)
    [row] = lookup.rows_after(last.pk)
    assert (row.name, row.until) == (Name(Kind.SUBJECT, "alice"), inf)
    assert answer.headers["location"] == f"{ADMIN}{row.id}/change/"
    extended = Revocation.objects.exclude(pk=last.pk).get()
    assert (extended.pk, extended.reason, extended.created_at) == (row.id, "spam", over.created_at)


def test_a_row_that_is_not_over_keeps_its_id_when_it_is_extended(operator: Client):
    """Who has made it may lift it by that."""
    row = Revocation.objects.create(subject="alice", until=timezone.now() + timedelta(hours=1))
    assert operator.post(f"{ADMIN}{row.pk}/change/", {"until_0": "", "until_1": ""}).status_code == 302
    row.refresh_from_db()
    assert row.until is None


def test_a_token_is_masked_in_the_admin(client: Client):
    viewer = User.objects.create(username="eve", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_revocation"))
    client.force_login(viewer)
    row = Revocation.objects.create(token="credential")
    for path in (ADMIN, f"{ADMIN}{row.pk}/change/"):
        assert "credential" not in client.get(path).content.decode()
    assert client.get(f"{ADMIN}?token__startswith=c").status_code == 400
    assert client.post(f"{ADMIN}add/", {"subject": "x"}).status_code == 403
