"""Operators' REST, `/api/sessions/`."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.db import transaction
from django.test import Client

from routing_app.core.access import keys
from routing_app.core.database import Overloaded
from routing_app.core.models import AuditEntry, Scope
from sessions_app import service
from sessions_app.commands import Create, Granted
from sessions_app.models import Publisher, Session
from sessions_app.store import AccountKey, StoreEntry, apply_all
from sessions_app.wire import Wanted
from tests.sessions.conftest import OK, Customer, Play
from tests.sessions.http import Reply
from tests.sessions.operators import let_a_millisecond_begin

LIST = "/api/sessions/"


async def ask(customer: Customer, method: str, path: str) -> Reply:
    key = customer.broker.server.api_key
    return await customer.http.request(method, path, X_API_Key=key)


async def test_an_operator_lists_and_reads_sessions(customer: Customer, play: Play) -> None:
    created = await customer.create(sessionName="TV", deviceName="Samsung", deviceType="tv")
    id = created.json["sessionId"]
    await play(created)

    listed = await ask(customer, "GET", f"{LIST}?customer={customer.id}")

    [row] = listed.json["results"]
    assert row == {
        **row,
        "id": id,
        "publisher": "demo",
        "customer": customer.id,
        "name": "TV",
        "offer_id": "film",
        "tag": "",
        "device_name": "Samsung",
        "device_type": "tv",
    }
    assert row["connection"].startswith(row["worker"])
    # As times: a whole second is written without a fraction, and "Z" sorts behind ".".
    times = [datetime.fromisoformat(row[name]) for name in ("created_at", "bound_at", "seen_at")]
    assert times == sorted(times)
    assert row["expires_at"] is None
    assert (await ask(customer, "GET", f"{LIST}{id}/")).json["id"] == id
    token = created.json["endpoint"].partition("token=")[2]
    assert token.encode() not in listed.body


async def test_an_operator_ends_a_session_and_its_player_is_told(customer: Customer, play: Play) -> None:
    created, other = await customer.create(), await customer.create(offerId="series")
    player, spared = await play(created), await play(other)
    path = f"{LIST}{created.json['sessionId']}/"

    ended = await ask(customer, "DELETE", path)

    assert (ended.status, ended.body) == (204, b"")
    assert await player.receives() == {"action": "TAKE_OVER", "sessionName": "operator"}
    assert await player.receives() == ("closed", 4003)
    assert await spared.requested() == OK
    assert customer.events("killed") == ["killed"]
    assert (await ask(customer, "GET", path)).status == 404
    assert (await ask(customer, "DELETE", path)).status == 404


async def test_the_history_names_the_key_that_ended_a_session(customer: Customer) -> None:
    created = await customer.create()
    await ask(customer, "DELETE", f"{LIST}{created.json['sessionId']}")

    history = await ask(customer, "GET", f"{LIST}history?kind=killed&customer={customer.id}")
    [[name]] = customer.broker.sql("SELECT name FROM core_apikey")
    assert [row["by"] for row in history.json["results"]] == [name]


# --- in this process -------------------------------------------------------------------------------------


@pytest.fixture
def sessions(transactional_db: None) -> dict[str, str]:
    """Ids of sessions of two publishers, by a name for each; one of them is over."""
    for name in ("films", "sports"):
        Publisher.objects.create(name=name)
    wanted = {
        "film": (AccountKey("films", "alice"), Wanted(offer_id="film")),
        "series": (AccountKey("films", "alice"), Wanted(offer_id="series")),
        "bob's": (AccountKey("films", "bob"), Wanted(offer_id="film")),
        "match": (AccountKey("sports", "alice"), Wanted(tag="live")),
        "over": (AccountKey("sports", "carol"), Wanted(tag="live")),
    }
    ids = {}
    for name, one in wanted.items():
        entry = StoreEntry(Create(*one))
        with transaction.atomic():
            apply_all([entry])
        assert isinstance(entry.outcome, Granted)
        ids[name] = str(entry.outcome.session.id)
        let_a_millisecond_begin()
    Session.objects.filter(pk=ids["over"]).update(expires_at="2020-01-01T00:00:00Z")
    return ids


def caller(*scopes: str) -> Client:
    _, key = keys.issue("operator", scopes or Scope.values)
    return Client(headers={"X-API-Key": key})


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["film", "series", "bob's", "match"]),
        ("?publisher=films", ["film", "series", "bob's"]),
        ("?customer=alice", ["film", "series", "match"]),
        ("?publisher=films&customer=alice", ["film", "series"]),
        ("?offer_id=film", ["film", "bob's"]),
        ("?tag=live", ["match"]),
        ("?connected=no", ["film", "series", "bob's", "match"]),
        ("?connected=yes", []),
        ("?customer=nobody", []),
        ("?customer=", ["film", "series", "bob's", "match"]),
        ("?page_size=2&page=2", ["bob's", "match"]),
    ],
)
def test_a_list_is_narrowed_and_leaves_out_ended_sessions(
    sessions: dict[str, str], query: str, found: list[str]
) -> None:
    names = {id: name for name, id in sessions.items()}

    listed = caller().get(LIST + query).json()["results"]

    assert [names[row["id"]] for row in listed] == found


def test_a_row_has_the_fields_of_the_contract(sessions: dict[str, str]) -> None:
    row = caller().get(f"{LIST}{sessions['match']}/").json()

    assert row == {
        "id": sessions["match"],
        "publisher": "sports",
        "customer": "alice",
        "name": "",
        "offer_id": "",
        "tag": "live",
        "content_id": "",
        "device_name": "",
        "device_type": "",
        "connection": "",
        "worker": None,
        "created_at": row["created_at"],
        "bound_at": None,
        "seen_at": row["created_at"],
        "expires_at": row["expires_at"],
    }
    lifetime = datetime.fromisoformat(row["expires_at"]) - datetime.fromisoformat(row["created_at"])
    assert round(lifetime.total_seconds()) == settings.SESSIONS_BIND_SECONDS


@pytest.mark.parametrize("query", ["?connected=maybe", "?customer=%00"])
def test_a_filter_that_makes_no_sense_is_400(transactional_db: None, query: str) -> None:
    assert caller().get(LIST + query).status_code == 400


def test_reading_needs_the_scope_read_and_ending_manage(sessions: dict[str, str]) -> None:
    path = f"{LIST}{sessions['film']}/"
    reader, writer = caller("read"), caller("manage")

    assert [reader.get(LIST).status_code, reader.get(path).status_code] == [200, 200]
    assert [writer.get(LIST).status_code, writer.get(path).status_code] == [403, 403]
    assert reader.delete(path).status_code == 403
    assert Session.objects.filter(pk=sessions["film"]).exists()
    assert writer.delete(path).status_code == 204
    assert not Session.objects.filter(pk=sessions["film"]).exists()
    assert Client().get(LIST).status_code == 401


def test_an_end_by_rest_is_in_the_audit_log_once(sessions: dict[str, str]) -> None:
    operator = caller()
    for _ in range(2):
        operator.delete(f"{LIST}{sessions['film']}/")

    entries = AuditEntry.objects.order_by("id").values_list("action", "target", "outcome")
    target = f"sessions_app.session {sessions['film']}"
    assert list(entries) == [("delete", target, "ok"), ("delete", target, "refused: 404")]


def test_a_key_ends_sessions_of_its_own_addresses_alone(sessions: dict[str, str]) -> None:
    key = keys.issue("shop", Scope.values, addresses=["customer:films/alice"])[1]
    shop = Client(headers={"X-API-Key": key})

    assert shop.delete(f"{LIST}{sessions['match']}/").status_code == 404
    assert shop.delete(f"{LIST}{sessions['film']}/").status_code == 204
    assert Session.objects.filter(pk=sessions["match"]).exists()


def test_a_session_that_does_not_live_is_404(sessions: dict[str, str]) -> None:
    gone = {"detail": "There is no such session."}
    for id in (sessions["over"], uuid4()):
        assert caller().get(f"{LIST}{id}/").json() == caller().delete(f"{LIST}{id}/").json() == gone
    for id in (sessions["over"], uuid4(), "0", "-"):
        assert caller().get(f"{LIST}{id}/").status_code == 404
        assert caller().delete(f"{LIST}{id}/").status_code == 404


@pytest.mark.parametrize("error", [TimeoutError(), Overloaded("busy")], ids=repr)
def test_an_outage_is_503(
    sessions: dict[str, str], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any) -> int:
        raise error

    monkeypatch.setattr(service, "kill_sync", fail)
    reply = caller().delete(f"{LIST}{sessions['film']}/")

    assert reply.status_code == 503
    assert reply.headers["Retry-After"]


@pytest.mark.parametrize("kind", ["session", "customer"])
async def test_a_disconnect_ends_the_socket_and_leaves_the_session(
    customer: Customer, play: Play, kind: str
) -> None:
    created = await customer.create()
    id = created.json["sessionId"]
    player = await play(created)
    address = f"session:{id}" if kind == "session" else f"customer:demo/{customer.id}"

    answer = await customer.http.request(
        "POST",
        "/api/disconnect",
        {"addresses": [address], "code": 4700, "reason": "bye"},
        content_type="application/json",
        X_API_Key=customer.broker.server.api_key,
    )
    assert (answer.status, list(answer.json)) in [(200, ["disconnected"]), (200, ["accepted"])]
    await player.socket.wait_closed()
    assert (player.socket.close_code, player.socket.close_reason) == (4700, "bye")
    assert (await ask(customer, "GET", f"{LIST}{id}/")).status == 200
