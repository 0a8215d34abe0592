"""API keys with limits: some addresses alone, and an end, at every path that takes or shows addresses."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from routing_app.core.access import keys, standing
from routing_app.core.access.grants import Grant
from routing_app.core.access.key_changes import revoke
from routing_app.core.access.known_keys import KnownKeys
from routing_app.core.access.patterns import EVERYTHING, NOTHING, Patterns
from routing_app.core.models import AddressRule, ApiKey, ConnectionRecord, Subscription, WorkerRecord
from routing_app.events.models import Channel
from routing_app.rooms.models import Room
from routing_app.tokens.models import RegisteredToken
from sessions_app.models import Account, Publisher, Session

pytestmark = pytest.mark.django_db(transaction=True)

MINE = ["room:bus/mine*", "token:mine", "channel:mine/*", "connection:aaaaaaaaaaaaaaaa*", "customer:p/mine"]
"""The addresses of the key; its rows below are called `mine`, and those of others `Mine` or `yours`."""


@pytest.fixture
def limited() -> Client:
    _, key = keys.issue("limited", addresses=MINE)
    return Client(headers={"X-API-Key": key})


def send(client: Client, method: str, path: str, body: Any) -> Any:
    return getattr(client, method)(path, json.dumps(body), content_type="application/json")


def grant(**fields: Any) -> Grant:
    return keys.grant_of(keys.issue("key", **fields)[0])


# --- grants -----------------------------------------------------------------------------------------------


def test_a_key_grants_its_addresses_to_each_scope():
    both = grant(scopes=["read", "publish"], addresses=["room:*"])
    assert (both.subscribe, both.publish, both.addresses) == (Patterns(["room:*"]),) * 3
    reader = grant(scopes=["read"])
    assert (reader.subscribe, reader.publish, reader.is_limited) == (EVERYTHING, NOTHING, False)
    assert grant(scopes=[]).subscribe == grant(scopes=[]).publish == NOTHING
    assert grant(addresses=["room:a", "*"]).addresses is EVERYTHING
    assert grant(scopes=["manage"]).secrets.everything
    assert not reader.secrets.everything


def test_grants_are_what_their_keys_are_now():
    rows = {name: keys.issue(name)[0] for name in ("kept", "changed", "revoked", "expired", "deleted")}
    held = {name: keys.grant_of(row) for name, row in rows.items()}
    ApiKey.objects.filter(name="changed").update(scopes=["read"], addresses=["room:a"])
    ApiKey.objects.filter(name="expired").update(expires_at=timezone.now() - timedelta(seconds=1))
    ApiKey.objects.filter(name="deleted").delete()
    revoke([rows["revoked"]])

    now = standing.current(set(held.values()))
    assert set(now) == {held["kept"], held["changed"]}
    assert now[held["kept"]] == held["kept"]
    assert now[held["changed"]].subscribe == Patterns(["room:a"])


# --- expiry -----------------------------------------------------------------------------------------------


def test_an_expired_key_is_found_no_more():
    soon, past = timezone.now() + timedelta(hours=1), timezone.now() - timedelta(seconds=1)
    assert keys.find(keys.issue("later", expires_at=soon)[1]) is not None
    _, expired = keys.issue("expired", expires_at=past)
    assert keys.find(expired) is None
    for path in ("/api/clients/", "/api/history?address=room:bus/a", "/?method=get_clients", "/metrics"):
        assert Client(headers={"X-API-Key": expired}).get(path).status_code == 401


async def test_a_remembered_key_is_never_accepted_after_its_end(monkeypatch: pytest.MonkeyPatch):
    wall = [timezone.now().timestamp()]
    ends_at = timezone.now() + timedelta(seconds=1)
    known = KnownKeys(clock=lambda: 0.0, wall=lambda: wall[0])
    row = ApiKey(name="key", pk=1, scopes=["read"], expires_at=ends_at)
    monkeypatch.setattr(keys, "find", lambda plain: row)
    assert await known.find("plain") == keys.grant_of(row)
    monkeypatch.setattr(keys, "find", lambda plain: None)
    assert await known.find("plain") == keys.grant_of(row)
    wall[0] = ends_at.timestamp()
    assert await known.find("plain") is None


# --- REST -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("addresses", "status"),
    [
        (["room:bus/mine"], 200),
        (["room:bus/mine", "token:mine", "channel:mine/1", "connection:aaaaaaaaaaaaaaaa0"], 200),
        (["room:bus/yours"], 403),
        (["room:bus/mine", "token:Mine"], 403),
        (["token:mine/"], 403),
        (["channel:mine"], 403),
    ],
    ids=str,
)
def test_publish_reaches_its_addresses_or_nobody(limited: Client, addresses: list[str], status: int):
    message = {"addresses": addresses, "message": "m"}
    assert send(limited, "post", "/api/publish", message).status_code == status
    batch = send(limited, "post", "/api/publish/batch", {"messages": [message]}).json()["results"]
    assert ["error" in result for result in batch] == [status != 200]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("get", "/api/history?address=room:bus/mine", 404),
        ("get", "/api/history?address=room:bus/yours", 403),
        ("delete", "/api/history?address=room:bus/mine", 404),
        ("delete", "/api/history?address=room:bus/yours", 403),
        ("get", "/api/clients/?address=token:mine", 200),
        ("get", "/api/clients/?address=token:yours", 403),
        ("post", "/api/connections/aaaaaaaaaaaaaaaa0/send", 400),
        ("post", "/api/connections/bbbbbbbbbbbbbbbb0/send", 403),
        ("post", "/api/connections/bbbbbbbbbbbbbbbb0/request", 403),
        ("get", "/?method=registerToken&token=mine", 200),
        ("get", "/?method=registerToken&token=yours", 403),
        ("get", "/?method=unregisterToken&token=yours", 403),
        ("get", "/?method=broadcast&message=mine|x", 200),
        ("get", "/?method=broadcast&message=mine,yours|x", 403),
        ("get", "/metrics", 200),
    ],
)
def test_a_path_with_an_address_holds_to_them(limited: Client, method: str, path: str, status: int):
    answer = send(limited, method, path, {}) if method == "post" else getattr(limited, method)(path)
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("path", "own", "other"),
    [
        ("rules", {"pattern": "room:bus/mine/*"}, {"pattern": "room:*"}),
        ("tokens", {"token": "mine"}, {"token": "yours"}),
        ("rooms", {"namespace": "bus", "name": "mine"}, {"namespace": "layout", "name": "mine"}),
        ("channels", {"channel_id": "mine/1"}, {"channel_id": "mine"}),
    ],
)
def test_rows_are_made_of_its_addresses(limited: Client, path: str, own: Any, other: Any):
    assert send(limited, "post", f"/api/{path}/", other).status_code == 403
    made = send(limited, "post", f"/api/{path}/", own)
    assert made.status_code == 201
    assert limited.get(f"/api/{path}/").json()["count"] == 1
    if path in ("rules", "channels"):
        row = made.json().get("id") or made.json()["channel_id"]
        assert send(limited, "patch", f"/api/{path}/{row}/", other).status_code == 403


@pytest.fixture
def rows() -> None:
    """Rows of others, and one of each kind that is the key's own."""
    for name in ("mine", "Mine", "yours"):
        RegisteredToken.objects.create(token=name)
        Room.objects.create(namespace="bus", name=name)
        AddressRule.objects.create(pattern=f"room:bus/{name}*")
        Channel.objects.create(channel_id=f"{name}/1")
    publisher = Publisher.objects.create(name="p")
    for name in ("mine", "yours"):
        account = Account.objects.create(publisher=publisher, customer=name)
        now = timezone.now()
        later = now + timedelta(days=1)
        Session.objects.create(account=account, name=name, offer_id="o", created_at=now, expires_at=later)
    held = {"a": "room:bus/a", "b": "token:mine", "c": "token:Mine", "d": "room:bus/yours"}
    for letter, address in held.items():
        worker = WorkerRecord.objects.create(id=letter * 16, host="host", pid=1)
        row = ConnectionRecord.objects.create(
            id=letter * 28, worker=worker, protocol="requests", connected_at=timezone.now()
        )
        Subscription.objects.create(connection=row, address=address)
        Subscription.objects.create(connection=row, address="room:bus/shared")


@pytest.mark.parametrize(
    ("path", "field", "shown"),
    [
        ("tokens", "token", {"mine"}),
        ("rooms", "name", {"mine"}),
        ("rules", "pattern", {"room:bus/mine*"}),
        ("channels", "channel_id", {"mine/1"}),
        ("sessions", "customer", {"mine"}),
        ("clients", "id", {"a" * 28, "b" * 28}),
    ],
)
def test_listings_show_the_rows_of_its_addresses(
    limited: Client, rows: None, path: str, field: str, shown: set[str]
):
    listed = limited.get(f"/api/{path}/").json()
    assert {row[field] for row in listed["results"]} == shown
    assert listed["count"] == len(shown)
    _, key = keys.issue("all")
    others = Client(headers={"X-API-Key": key}).get(f"/api/{path}/").json()["results"]
    for row in others:
        one = row.get("id", row.get("channel_id"))
        status = limited.get(f"/api/{path}/{one}/").status_code
        assert status == (200 if row[field] in shown else 404)


def test_the_form_api_lists_the_tokens_of_its_addresses(limited: Client, rows: None):
    assert limited.get("/?method=registeredTokenList").json() == {"mine": True}


def test_a_session_is_reached_by_its_own_address(rows: None):
    session = Session.objects.get(name="yours")
    for addresses, count in (([f"session:{session.pk}"], 1), (["session:*"], 2), (["customer:p/*"], 2)):
        _, key = keys.issue("key", addresses=addresses)
        assert Client(headers={"X-API-Key": key}).get("/api/sessions/").json()["count"] == count
