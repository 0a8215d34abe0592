"""Rows of hooks, by REST and in the admin."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from routing_app.core.access import keys
from routing_app.core.hooks.table import read_rows
from routing_app.core.models import AuditEntry, Hook
from routing_app.core.models.hooks import MAX_HEADERS

pytestmark = pytest.mark.django_db(transaction=True)

HOOK = {
    "protocol": "rooms",
    "on": "publish",
    "pattern": "room:bus/*",
    "url": "http://backend:8080/hooks?shop=7",
    "timeout": 500,
    "fail": "open",
    "headers": ["User-Agent"],
    "enabled": False,
}


@pytest.fixture
def operator() -> Client:
    _, key = keys.issue("operator")
    return Client(headers={"X-API-Key": key})


def test_a_hook_is_made_changed_and_deleted_and_its_secret_shown_once(operator: Client):
    made = operator.post("/api/hooks/", HOOK, "application/json")
    assert (made.status_code, made["Cache-Control"]) == (201, "no-store")
    id, secret = made.json()["id"], made.json()["secret"]
    assert made.json() == {"id": id, **HOOK, "secret": secret}
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", secret)
    path = f"/api/hooks/{id}/"
    assert operator.get(path).json() == {"id": id, **HOOK}
    assert operator.get("/api/hooks/").json()["results"] == [{"id": id, **HOOK}]
    assert read_rows() == []
    assert operator.patch(path, {"enabled": True}, "application/json").json() == {
        "id": id,
        **HOOK,
        "enabled": True,
    }
    assert [(row.headers, row.secret) for row in read_rows()] == [(("user-agent",), secret)]
    assert "secret" not in operator.put(path, {**HOOK, "url": "http://b/"}, "application/json").json()
    assert operator.delete(path).status_code == 204
    assert not Hook.objects.exists()
    assert secret not in "".join(map(str, AuditEntry.objects.values()))


def test_what_is_left_out_is_every_protocol_all_names_a_second_and_refused(operator: Client):
    body = {"on": "publish", "url": "https://[::1]:1/"}
    expected = ["*", "*", 1000, "closed", [], True]
    names = ("protocol", "pattern", "timeout", "fail", "headers", "enabled")
    for row in (body, {**body, "pattern": ""}):
        made = operator.post("/api/hooks/", row, "application/json").json()
        assert [made[name] for name in names] == expected


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"protocol": "smtp"}, "protocol"),
    ({"protocol": "console", "on": "connect"}, "protocol"),
    ({"on": "login"}, "on"),
    ({"protocol": "tokens", "on": "request"}, "on"),
    ({"protocol": "stream", "on": "publish"}, "on"),
    ({"protocol": "api", "on": "connect"}, "on"),
    ({"pattern": "room:bus/*x"}, "pattern"),
    ({"pattern": "room"}, "pattern"),
    ({"on": "connect", "pattern": "room:bus/*"}, "pattern"),
    ({"protocol": "requests", "on": "request", "pattern": "a*b"}, "pattern"),
    ({"protocol": "requests", "on": "request", "pattern": "subscribe"}, "pattern"),
    ({"url": "backend:8080"}, "url"),
    ({"url": "ftp://backend/"}, "url"),
    ({"url": "http://"}, "url"),
    ({"url": "http://user:word@backend/"}, "url"),
    ({"url": "http://backend:99999/"}, "url"),
    ({"url": "http://backend:0/"}, "url"),
    ({"url": "http://[::1/"}, "url"),
    ({"url": "http://backend/ x"}, "url"),
    ({"url": "http://backend/a\r\nX-A: b"}, "url"),
    ({"url": "http://backend/\u00e9"}, "url"),
    ({"url": "http://backend/#part"}, "url"),
    ({"url": "http://back end/"}, "url"),
    ({"timeout": 0}, "timeout"),
    ({"timeout": 60_001}, "timeout"),
    ({"timeout": "500"}, "timeout"),
    ({"timeout": True}, "timeout"),
    ({"fail": "maybe"}, "fail"),
    ({"headers": "Origin"}, "headers"),
    ({"headers": ["A B"]}, "headers"),
    ({"headers": [7]}, "headers"),
    ({"headers": ["A"] * (MAX_HEADERS + 1)}, "headers"),
]


@pytest.mark.once
def test_a_hook_that_could_never_be_asked_is_refused_by_its_field(operator: Client):
    for change, field in REFUSED:
        answer = operator.post("/api/hooks/", {**HOOK, **change}, "application/json")
        assert (answer.status_code, list(answer.json())) == (400, [field]), change
    assert not Hook.objects.exists()


@pytest.mark.once
def test_a_change_is_checked_with_what_stays(operator: Client):
    path = f"/api/hooks/{operator.post('/api/hooks/', HOOK, 'application/json').json()['id']}/"
    assert operator.patch(path, {"on": "connect"}, "application/json").json() == {
        "pattern": ["a connection has no address yet: use *"]
    }
    assert operator.patch(path, {"on": "connect", "pattern": "*"}, "application/json").status_code == 200


@pytest.mark.once
def test_all_of_it_needs_the_scope_admin():
    _, key = keys.issue("shop", ["publish", "read", "manage"])
    client = Client(headers={"X-API-Key": key})
    assert client.get("/api/hooks/").status_code == 403
    assert client.post("/api/hooks/", HOOK, "application/json").status_code == 403
    assert Client().get("/api/hooks/").status_code == 401


@pytest.mark.once
def test_the_admin_makes_one_by_the_same_rules_and_shows_its_secret_once(
    admin_client: Client, admin_user: User
):
    fields = {**HOOK, "headers": "User-Agent\nOrigin", "enabled": "on"}
    page = admin_client.post("/admin/core/hook/add/", {**fields, "pattern": "room"}).content.decode()
    assert "expected an address, a prefix such as" in page
    page = admin_client.post("/admin/core/hook/add/", {**fields, "headers": "A:B"}).content.decode()
    assert "expected names of headers" in page
    page = admin_client.post("/admin/core/hook/add/", fields, follow=True).content.decode()
    row = Hook.objects.get()
    assert row.headers == ["User-Agent", "Origin"]
    assert row.secret in unescape(page)
    change = f"/admin/core/hook/{row.pk}/change/"
    assert row.secret not in admin_client.get(change).content.decode()
    admin_client.post(change, {**fields, "timeout": 7})
    after = Hook.objects.get()
    assert (after.timeout, after.secret) == (7, row.secret)
