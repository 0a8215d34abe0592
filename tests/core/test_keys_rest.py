"""`/api/keys/`, and the same keys in the admin."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from routing_app.core.access import keys
from routing_app.core.models import ApiKey, Scope

pytestmark = pytest.mark.django_db(transaction=True)

BODY: dict[str, Any] = {
    "name": "shop",
    "scopes": ["read", "publish", "read"],
    "addresses": ["room:bus/*", "token:shop"],
    "expires_at": "2127-01-01T00:00:00Z",
}


@pytest.fixture
def api() -> Client:
    """A caller whose key has the scope admin alone."""
    _, key = keys.issue("admin", [Scope.ADMIN])
    return Client(headers={"X-API-Key": key})


def send(api: Client, method: str, path: str, **body: Any) -> Any:
    return getattr(api, method)(path, json.dumps(body), content_type="application/json")


def test_a_key_is_made_and_shown_once(api: Client):
    answer = send(api, "post", "/api/keys/", **BODY)
    made = answer.json()
    assert (answer.status_code, answer["Cache-Control"]) == (201, "no-store")
    assert made["key"].startswith(made["prefix"])
    assert made["scopes"] == ["publish", "read"]
    assert (made["addresses"], made["expires_at"]) == (BODY["addresses"], BODY["expires_at"])

    row = keys.find(made["key"])
    assert row is not None
    assert (row.pk, row.expires_at) == (made["id"], datetime(2127, 1, 1, tzinfo=UTC))
    for path in ("/api/keys/", "/api/keys", f"/api/keys/{row.pk}/"):
        shown = api.get(path).content.decode()
        assert made["prefix"] in shown
        assert made["key"] not in shown
        assert row.digest not in shown


def test_what_is_left_out_is_all_addresses_and_no_end(api: Client):
    made = send(api, "post", "/api/keys/", name="all", scopes=["read"]).json()
    assert (made["addresses"], made["expires_at"], made["revoked_at"]) == ([], None, None)
    assert Client(headers={"X-API-Key": made["key"]}).get("/api/clients/").status_code == 200


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", 1),
        ("scopes", []),
        ("scopes", ["everything"]),
        ("scopes", "read"),
        ("addresses", "room:a"),
        ("addresses", ["nonsense"]),
        ("addresses", ["room:*/a"]),
        ("addresses", [1]),
        ("addresses", ["room:a"] * 1001),
        ("addresses", None),
        ("expires_at", "soon"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_wrong_field_is_named(api: Client, field: str, value: Any):
    answer = send(api, "post", "/api/keys/", **{**BODY, field: value})
    assert (answer.status_code, list(answer.json())) == (400, [field])
    assert ApiKey.objects.count() == 1


def test_a_change_holds_at_once_and_the_key_stays_the_same(api: Client):
    made = send(api, "post", "/api/keys/", name="shop", scopes=["read"]).json()
    shop = Client(headers={"X-API-Key": made["key"]})
    assert shop.get("/api/history?address=room:bus/a").status_code == 404
    path = f"/api/keys/{made['id']}/"

    assert send(api, "patch", path, addresses=["room:layout/*"]).status_code == 200
    assert shop.get("/api/history?address=room:bus/a").status_code == 403
    changed = send(api, "patch", path, scopes=["publish"], prefix="x", key="x", revoked_at=None).json()
    assert (changed["prefix"], "key" in changed) == (made["prefix"], False)
    assert shop.get("/api/history?address=room:layout/a").status_code == 403
    assert send(api, "patch", path, expires_at="2001-01-01T00:00:00Z").status_code == 200
    assert shop.get("/api/history?address=room:layout/a").status_code == 401


def test_delete_revokes_and_keeps_the_row(api: Client):
    made = send(api, "post", "/api/keys/", name="shop", scopes=["read"]).json()
    shop = Client(headers={"X-API-Key": made["key"]})
    assert shop.get("/api/history?address=room:bus/a").status_code == 404

    for _ in range(2):
        assert api.delete(f"/api/keys/{made['id']}/").status_code == 204
    assert shop.get("/api/history?address=room:bus/a").status_code == 401
    assert api.get(f"/api/keys/{made['id']}/").json()["revoked_at"]
    assert api.get(f"/api/keys/{2**31 - 1}/").status_code == 404


def test_other_scopes_and_limited_keys_change_no_keys():
    others = keys.issue("others", [Scope.PUBLISH, Scope.READ, Scope.MANAGE])[1]
    limited = keys.issue("limited", addresses=["room:*"])[1]
    for key in (others, limited):
        client = Client(headers={"X-API-Key": key})
        assert client.get("/api/keys/").status_code == 403
        assert send(client, "post", "/api/keys/", **BODY).status_code == 403


@pytest.mark.parametrize("typed", ["room:bus/*\n\n token:shop ", '["room:bus/*", "token:shop"]'])
def test_the_admin_takes_addresses_and_an_end(client: Client, typed: str):
    client.force_login(User.objects.create_superuser("anna"))
    fields = {"name": "shop", "scopes": ["read"], "expires_at_0": "2127-01-01", "expires_at_1": "00:00:00"}
    page = client.post("/admin/core/apikey/add/", {**fields, "addresses": typed}, follow=True)
    plain = next(word for word in page.content.decode().split() if word.startswith("sb_"))
    row = keys.find(plain)
    assert row is not None
    assert row.addresses == ["room:bus/*", "token:shop"]
    assert row.expires_at == datetime(2127, 1, 1, tzinfo=UTC)

    change = f"/admin/core/apikey/{row.pk}/change/"
    assert "room:bus/*\ntoken:shop</textarea>" in client.get(change).content.decode()
    assert client.post(change, {**fields, "addresses": ""}).status_code == 302
    row.refresh_from_db()
    assert row.addresses == []
    refused = client.post(change, {**fields, "addresses": "no address"}).content.decode()
    assert "expected an address" in refused
    assert "room:bus/*" not in client.get("/admin/core/apikey/").content.decode()
