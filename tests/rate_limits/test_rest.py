"""Rows of rate limits, by REST and in the admin."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from routing_app.core.access import keys
from routing_app.core.models import RateLimit

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def operator() -> Client:
    _, key = keys.issue("operator")
    return Client(headers={"X-API-Key": key})


LIMIT = {
    "protocol": "tokens",
    "command": "publish",
    "per": "identity",
    "rate": 2.5,
    "burst": 10,
    "then": "refuse",
    "note": "n",
}


def test_limits_are_made_changed_and_deleted(operator: Client):
    made = operator.post("/api/limits/", LIMIT, "application/json")
    assert made.status_code == 201
    path = f"/api/limits/{made.json()['id']}/"
    assert made.json() == {"id": made.json()["id"], **LIMIT}
    assert operator.get(path).json()["per"] == "identity"
    assert operator.patch(path, {"then": "close"}, "application/json").json()["then"] == "close"
    assert operator.get("/api/limits/").json()["results"][0]["then"] == "close"
    assert operator.put(path, {**LIMIT, "rate": 3}, "application/json").json()["rate"] == 3.0
    assert operator.delete(path).status_code == 204
    assert not RateLimit.objects.exists()


def test_what_is_left_out_is_everything_and_per_connection_and_refused(operator: Client):
    made = operator.post("/api/limits/", {"rate": 1, "burst": 1}, "application/json").json()
    assert [made[name] for name in ("protocol", "command", "per", "then", "note")] == [
        "*",
        "*",
        "connection",
        "refuse",
        "",
    ]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"protocol": "nope"}, "protocol"),
        ({"protocol": ""}, "protocol"),
        ({"protocol": 5}, "protocol"),
        ({"command": "fly"}, "command"),
        ({"per": "planet"}, "per"),
        ({"then": "shout"}, "then"),
        ({"rate": 0}, "rate"),
        ({"rate": -1}, "rate"),
        ({"rate": "2"}, "rate"),
        ({"rate": True}, "rate"),
        ({"rate": 1e10}, "rate"),
        ({"rate": None}, "rate"),
        ({"burst": 0}, "burst"),
        ({"burst": 1.5}, "burst"),
        ({"burst": "3"}, "burst"),
        ({"burst": False}, "burst"),
        ({"burst": 10**10}, "burst"),
        ({"note": 5}, "note"),
        ({"command": "login"}, "command"),
        ({"command": "request"}, "command"),
        ({"protocol": "sessions"}, "command"),
        ({"protocol": "stream"}, "command"),
        ({"protocol": "tokens", "command": "api"}, "command"),
        ({"protocol": "api"}, "command"),
        ({"command": "connect", "per": "connection"}, "per"),
        ({"protocol": "*", "command": "api", "per": "connection"}, "per"),
        ({"protocol": "api", "command": "*", "per": "connection"}, "per"),
        ({"protocol": "events", "command": "login", "per": "connection"}, "per"),
        ({"protocol": "events", "command": "login", "per": "key"}, "per"),
        ({"protocol": "sessions", "command": "create", "per": "key"}, "per"),
        ({"protocol": "sessions", "command": "create", "then": "close"}, "then"),
        ({"protocol": "events", "command": "login", "then": "close"}, "then"),
        ({"protocol": "events", "command": "login", "then": "wait"}, "then"),
        ({"protocol": "*", "command": "api", "then": "close"}, "then"),
        ({"rate": 0.01, "then": "wait"}, "then"),
    ],
    ids=str,
)
def test_a_limit_without_sense_is_a_400(operator: Client, change: dict[str, Any], field: str):
    answer = operator.post("/api/limits/", {**LIMIT, **change}, "application/json")

    assert (answer.status_code, list(answer.json())) == (400, [field])


def test_a_change_is_checked_with_what_stays(operator: Client):
    made = operator.post("/api/limits/", {**LIMIT, "per": "connection"}, "application/json").json()
    path = f"/api/limits/{made['id']}/"

    assert operator.patch(path, {"command": "connect"}, "application/json").status_code == 400
    change = {"command": "connect", "per": "network"}
    assert operator.patch(path, change, "application/json").status_code == 200


@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete"])
def test_limits_need_the_scope_manage(method: str):
    row = RateLimit.objects.create(rate=1, burst=1)
    _, key = keys.issue("reader", ["read", "publish"])
    path = "/api/limits/" if method == "post" else f"/api/limits/{row.pk}/"

    answer = getattr(Client(headers={"X-API-Key": key}), method)(path)

    assert answer.status_code == 403


def test_the_admin_makes_limits_by_the_same_rules(admin_client: Client, admin_user: User):
    wrong = admin_client.post("/admin/core/ratelimit/add/", {**LIMIT, "command": "login"})
    assert "tokens has no `login`" in wrong.content.decode()
    assert not RateLimit.objects.exists()

    assert admin_client.post("/admin/core/ratelimit/add/", LIMIT).status_code == 302
    row = RateLimit.objects.get()
    assert "tokens" in admin_client.get("/admin/core/ratelimit/").content.decode()
    delete = {"post": "yes"}
    assert admin_client.post(f"/admin/core/ratelimit/{row.pk}/delete/", delete).status_code == 302
    assert not RateLimit.objects.exists()
