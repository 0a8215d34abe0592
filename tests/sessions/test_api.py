"""Operators' REST, `/api/sessions/`."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.db import transaction
from django.test import Client

from routing_app.core.access import keys
from routing_app.core.database import Overloaded
from routing_app.core.models import Scope
from sessions_app import service
from sessions_app.commands import Create, Granted
from sessions_app.models import Publisher, Session
from sessions_app.store import AccountKey, StoreEntry, apply_all
from sessions_app.wire import Wanted
from tests.sessions.conftest import OK, Customer, Play
from tests.sessions.http import Reply

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
    assert row["created_at"] <= row["last_seen_at"]
    assert (await ask(customer, "GET", f"{LIST}{id}/")).json["id"] == id
    token = created.json["endpoint"].partition("token=")[2]
    assert token.encode() not in listed.body


async def test_an_operator_ends_a_session_and_its_player_is_told(customer: Customer, play: Play) -> None:
    created, other = await customer.create(), await customer.create(offerId="series")
    player, spared = await play(created), await play(other)
    path = f"{LIST}{created.json['sessionId']}/"

    ended = await ask(customer, "POST", f"{path}end/")

    assert (ended.status, ended.body) == (204, b"")
    assert await player.receives() == {"action": "TAKE_OVER", "sessionName": "operator"}
    assert await player.receives() == ("closed", 4003)
    assert await spared.requested() == OK
    assert customer.events("killed") == ["killed"]
    assert (await ask(customer, "GET", path)).status == 404
    assert (await ask(customer, "POST", f"{path}end/")).status == 404


async def test_the_history_names_the_key_that_ended_a_session(customer: Customer) -> None:
    created = await customer.create()
    await ask(customer, "POST", f"{LIST}{created.json['sessionId']}/end/")

    [[by]] = customer.broker.sql(
        "SELECT e.by FROM sessions_app_sessionevent e JOIN sessions_app_account a ON a.id = e.account_id"
        " WHERE e.kind = 'killed' AND a.customer = %s",
        customer.id,
    )
    [[name]] = customer.broker.sql("SELECT name FROM core_apikey")
    assert by == name


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


@pytest.mark.parametrize("query", ["?connected=maybe", "?customer=%00"])
def test_a_filter_that_makes_no_sense_is_400(transactional_db: None, query: str) -> None:
    assert caller().get(LIST + query).status_code == 400


def test_reading_needs_the_scope_read_and_ending_manage(sessions: dict[str, str]) -> None:
    path = f"{LIST}{sessions['film']}/"
    reader, writer = caller("read"), caller("manage")

    assert [reader.get(LIST).status_code, reader.get(path).status_code] == [200, 200]
    assert [writer.get(LIST).status_code, writer.get(path).status_code] == [403, 403]
    assert reader.post(f"{path}end/").status_code == 403
    assert Session.objects.filter(pk=sessions["film"]).exists()
    assert writer.post(f"{path}end/").status_code == 204
    assert not Session.objects.filter(pk=sessions["film"]).exists()
    assert Client().get(LIST).status_code == 401


def test_a_session_that_does_not_live_is_404(sessions: dict[str, str]) -> None:
    for id in (sessions["over"], uuid4(), "0", "-"):
        assert caller().get(f"{LIST}{id}/").status_code == 404
        assert caller().post(f"{LIST}{id}/end/").status_code == 404


@pytest.mark.parametrize("error", [TimeoutError(), Overloaded("busy")], ids=repr)
def test_an_outage_is_503(
    sessions: dict[str, str], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any) -> int:
        raise error

    monkeypatch.setattr(service, "kill_sync", fail)
    reply = caller().post(f"{LIST}{sessions['film']}/end/")

    assert reply.status_code == 503
    assert reply.headers["Retry-After"]
