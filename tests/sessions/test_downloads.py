"""Sessions as files, CSV and JSON lines; and the end of all that a customer plays."""

from __future__ import annotations

import asyncio
import csv
import http.client
import io
import json
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from asgiref.sync import sync_to_async
from django.test import Client
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from routing_app.core.models import AuditEntry
from routing_app.core.rest.download import FORMULA, ROWS_AT_ONCE, cell, csv_of, in_pieces
from sessions_app import service
from sessions_app.models import Account, EventKind, Publisher, Session, SessionEvent
from sessions_app.store import AccountKey
from tests.sessions.conftest import OK, Broker, Customer, Play
from tests.sessions.operators import caller, create

MARKUP = '=HYPERLINK("https://evil.example","x")'


async def file(broker: Broker, path: str) -> tuple[http.client.HTTPMessage, str]:
    """The headers and the text of a file."""

    def load() -> tuple[http.client.HTTPMessage, str]:
        connection = http.client.HTTPConnection(urlsplit(broker.server.url).netloc, timeout=60)
        headers = {"X-API-Key": broker.server.api_key, "Accept": "text/csv"}
        connection.request("GET", path, headers=headers)
        reply = connection.getresponse()
        text = reply.read().decode()
        connection.close()
        assert reply.status == 200, text
        return reply.headers, text

    return await asyncio.to_thread(load)


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


async def test_live_sessions_and_the_history_are_files(customer: Customer) -> None:
    for name in (MARKUP, "TV"):
        assert (await customer.create(sessionName=name)).status == 200
    of = f"customer={customer.id}"

    headers, text = await file(customer.broker, f"/api/sessions/download?{of}")
    _, lines = await file(customer.broker, f"/api/sessions/download?{of}&as=jsonl")
    _, past = await file(customer.broker, f"/api/sessions/history/download?{of}&kind=created")

    assert headers["Content-Type"] == "text/csv; charset=utf-8"
    assert headers["Content-Disposition"].startswith('attachment; filename="sessions-')
    assert [row["name"] for row in table(text)] == [f"'{MARKUP}", "TV"]
    listed = await customer.http.request(
        "GET", f"/api/sessions/?{of}", X_API_Key=customer.broker.server.api_key
    )
    assert [json.loads(line) for line in lines.splitlines()] == listed.json["results"]
    assert [(row["kind"], row["name"]) for row in table(past)] == [
        ("created", "TV"),
        ("created", f"'{MARKUP}"),
    ]


@pytest.mark.django_db(transaction=True)
async def test_a_list_of_several_pieces_is_whole_and_in_order() -> None:
    account = await sync_to_async(_many_events)(2 * ROWS_AT_ONCE + 7)
    sizes, seen = [], []

    async for piece in in_pieces(service.history(), lambda rows: [{"pk": row.pk} for row in rows]):
        sizes.append(len(piece))
        seen += [row["pk"] for row in piece]
        # One that is written meanwhile is the newest, and belongs to no piece that comes.
        await SessionEvent.objects.acreate(account=account, kind=EventKind.DENIED, at=timezone.now())

    assert sizes == [ROWS_AT_ONCE, ROWS_AT_ONCE, 7]
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) == len(seen)


def _many_events(number: int) -> Account:
    """The account of so many events of few instants."""
    account = Account.objects.create(publisher=Publisher.objects.create(name="films"), customer="alice")
    began = timezone.now() - timedelta(hours=1)
    events = [
        SessionEvent(account=account, kind=EventKind.DENIED, at=began + timedelta(seconds=one // 700))
        for one in range(number)
    ]
    SessionEvent.objects.bulk_create(events)
    return account


async def test_usage_is_a_file(customer: Customer) -> None:
    begin = (timezone.now() - timedelta(days=3)).date()
    of = f"publisher=demo&from={begin}&to={begin + timedelta(days=2)}&step=day"

    _, text = await file(customer.broker, f"/api/sessions/usage/download?{of}")

    assert [(row["from"], row["peak"]) for row in table(text)] == [
        (f"{begin + timedelta(days=day)}T00:00:00Z", "0") for day in range(2)
    ]


async def test_an_operator_ends_all_that_a_customer_plays(customer: Customer, play: Play) -> None:
    created = [await customer.create(offerId=offer) for offer in ("film", "series", "news")]
    players = [await play(one) for one in created[:2]]
    other = Customer(customer.broker, customer.http)
    spared = await play(await other.create())

    ended = await customer.http.request(
        "POST",
        "/api/sessions/end",
        {"publisher": "demo", "customer": customer.id},
        content_type="application/json",
        X_API_Key=customer.broker.server.api_key,
    )

    assert (ended.status, ended.json) == (200, {"ended": 3})
    for player in players:
        assert await player.receives() == {"action": "TAKE_OVER", "sessionName": "operator"}
        assert await player.receives() == ("closed", 4003)
    assert customer.rows() == 0
    assert customer.events("killed") == ["killed"] * 3
    assert await spared.requested() == OK


@pytest.mark.django_db(transaction=True)
def test_a_key_ends_what_its_addresses_cover_and_the_log_names_the_customer() -> None:
    Publisher.objects.create(name="films")
    for key in (AccountKey("films", "alice"), AccountKey("films", "bob")):
        create(key, tag="live")
    limited = caller("manage", addresses=("customer:films/bob",))

    def end(client: Client, customer: str) -> Any:
        body = json.dumps({"publisher": "films", "customer": customer})
        return client.post("/api/sessions/end", body, "application/json").json()

    assert end(limited, "alice") == {"ended": 0}
    assert end(limited, "bob") == {"ended": 1}
    assert end(caller("manage"), "alice") == {"ended": 1}
    assert not Session.objects.exists()
    entries = AuditEntry.objects.filter(action="end", outcome="ok").order_by("id")
    assert [entry.target for entry in entries] == [
        "customer:films/alice",
        "customer:films/bob",
        "customer:films/alice",
    ]


def test_a_file_is_of_a_kind_that_there_is() -> None:
    assert [cell(one) for one in (None, True, 3, -3, "", {"a": [1]})] == [
        "",
        "true",
        "3",
        "-3",
        "",
        '{"a":[1]}',
    ]


@given(st.text(alphabet='=+-@\t\r\n ",;a|', max_size=6))
def test_no_string_is_a_formula(text: str) -> None:
    line = csv_of(["a"], [{"a": text}]).decode()

    [[read]] = list(csv.reader(io.StringIO(line, newline=""))) or [[""]]

    assert not read.lstrip(" ").startswith(FORMULA)
    assert read in (text, f"'{text}")
