"""REST: messages are scheduled, listed and withdrawn by those who may, and nothing is half scheduled."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.asgi import get_asgi_application

from routing_app.core.access import keys
from routing_app.core.models import ApiKey, OutboxMessage, ScheduledMessage
from routing_app.core.rest.fast import FastViews
from routing_app.core.scheduled.mover import move_due
from routing_app.core.worker import current_worker, drop_worker
from tests.core.test_fast import ask

pytestmark = pytest.mark.django_db(transaction=True)

ROOM = "room:bus/later"
LISTED = "/api/scheduled/"


@dataclass
class Api:
    """A caller of the REST of this process's worker, which itself moves nothing."""

    fast: FastViews
    key: str

    async def __call__(
        self, method: str, path: str, body: Any = None, key: str = "", **headers: str
    ) -> tuple[int, Any]:
        sent = b"" if body is None else json.dumps(body).encode()
        given = [(b"content-type", b"application/json"), (b"x-api-key", (key or self.key).encode())]
        given += [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        return await ask(self.fast, method, path, sent, given)

    async def schedule(self, *addresses: str, key: str = "", **fields: Any) -> str:
        when = {} if "at" in fields else {"delay": 60}
        body = {"addresses": addresses or [ROOM], "message": "x", **when, **fields}
        status, answer = await self("POST", "/api/publish", body, key)
        assert (status, list(answer)) == (202, ["scheduled"]), answer
        return str(answer["scheduled"])

    async def listed(self, key: str = "") -> list[Any]:
        status, answer = await self("GET", LISTED, key=key)
        assert status == 200, answer
        return list(answer["results"])

    async def ids(self, key: str = "") -> list[str]:
        return [one["id"] for one in await self.listed(key)]


def due() -> str:
    """A time that has come however soon it is looked at; the clock of SQLite has milliseconds."""
    return (datetime.now(UTC) - timedelta(seconds=10)).isoformat()


async def key_of(name: str, *scopes: str, addresses: list[str] | None = None) -> str:
    return (await sync_to_async(keys.issue)(name, list(scopes), addresses=addresses or []))[1]


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    yield Api(
        FastViews(get_asgi_application(), "routing_app.broker.fast_urls"), await key_of("shop", *SCOPES)
    )
    await current_worker().stop()
    drop_worker()


SCOPES = ("read", "publish", "manage")


async def test_a_message_for_later_is_listed_until_it_is_withdrawn(api: Api):
    late = await api.schedule(message={"a": [None, 1]}, delay=600, id="order-17")
    soon = await api.schedule(ROOM, "token:abc1", delay=300)

    assert await api.ids() == [soon, late]
    status, shown = await api("GET", f"{LISTED}{late}/")
    assert status == 200
    assert {name: shown[name] for name in ("id", "addresses", "message", "sender", "publish_id")} == {
        "id": late,
        "addresses": [ROOM],
        "message": {"a": [None, 1]},
        "sender": "shop",
        "publish_id": "order-17",
    }
    assert await api("DELETE", f"{LISTED}{late}/") == (204, None)
    gone = {"detail": "There is no such scheduled message; it was sent or withdrawn."}
    assert await api("DELETE", f"{LISTED}{late}/") == (404, gone)
    assert await api("GET", f"{LISTED}{late}") == (404, gone)
    assert await api.ids() == [soon]


async def test_one_whose_time_has_come_can_be_withdrawn_no_more(api: Api):
    sent = await api.schedule(at=due(), id="kept")
    other = await api.schedule(at=due())

    assert await sync_to_async(move_due)() == 2

    assert [(await api("DELETE", f"{LISTED}{one}/"))[0] for one in (sent, other)] == [404, 404]
    assert await api.listed() == []
    assert await sync_to_async(OutboxMessage.objects.count)() == 2


async def test_the_same_id_of_the_same_caller_is_one_message_also_when_it_was_sent(api: Api):
    other = await key_of("other", "publish")
    first = await api.schedule(at=due(), id="n")
    by_header = await api(
        "POST",
        "/api/publish",
        {"addresses": ["token:b"], "message": "y", "delay": 5},
        idempotency_key="n",
    )
    assert by_header == (202, {"scheduled": first})
    foreign = await api.schedule(key=other, at=due(), id="n")
    assert foreign != first

    assert await sync_to_async(move_due)() == 2

    assert await api.schedule(delay=60, id="n") == first
    assert await sync_to_async(ScheduledMessage.objects.waiting().count)() == 0


async def test_a_caller_that_asks_again_after_the_time_has_the_same_answer(api: Api):
    body = {"addresses": [ROOM], "message": "x", "id": "again"}
    first = await api.schedule(at=due(), id="again")
    assert await sync_to_async(move_due)() == 1

    late = await api("POST", "/api/publish", {**body, "at": "2020-01-01T00:00:00Z"})

    assert late == (202, {"scheduled": first})


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"at": "2030-01-01T00:00:00"}, "at"),
        ({"at": "2020-01-01T00:00:00Z"}, "at"),
        ({"delay": 0}, "delay"),
        ({"delay": "5"}, "delay"),
        ({"at": "2030-01-01T00:00:00Z", "delay": 5}, "delay"),
        ({"delay": 5, "message": {"a": "b\0"}}, "message"),
        ({"delay": 5, "message": "\ud800"}, "message"),
        ({"delay": 5, "id": ""}, "id"),
        ({"delay": 5, "addresses": ["nowhere"]}, "addresses"),
        ({"delay": 5, "addresses": []}, "addresses"),
    ],
    ids=str,
)
async def test_what_cannot_be_scheduled_is_a_400_by_its_field(api: Api, fields: dict[str, Any], named: str):
    status, answer = await api("POST", "/api/publish", {"addresses": [ROOM], "message": "x", **fields})

    assert (status, list(answer)) == (400, [named]), answer
    assert await api.listed() == []


@pytest.mark.parametrize("depth", [50, 400, 1500, 20_000])
async def test_a_message_of_any_depth_is_scheduled_or_refused_in_words(api: Api, depth: int):
    sent = b'{"addresses": ["room:bus/a"], "delay": 5, "message": ' + b"[" * depth + b"]" * depth + b"}"

    status, answer = await ask(
        api.fast,
        "POST",
        "/api/publish",
        sent,
        [(b"content-type", b"application/json"), (b"x-api-key", api.key.encode())],
    )

    assert status in (202, 400), answer
    assert len(await api.listed()) == (status == 202)


async def test_a_number_of_any_size_is_scheduled_or_refused_in_words(api: Api):
    for number in ("1" * 5000, "1e400", "-0.0", "1" + "0" * 400):
        sent = b'{"addresses": ["room:bus/a"], "delay": 5, "message": ' + number.encode() + b"}"
        given = [(b"content-type", b"application/json"), (b"x-api-key", api.key.encode())]
        status, answer = await ask(api.fast, "POST", "/api/publish", sent, given)
        assert status in (202, 400), (number[:10], answer)
    await api.listed()


async def test_a_string_that_spells_a_nul_is_none(api: Api):
    await api.schedule(message=r"\u0000 \\u0000")

    assert [one["message"] for one in await api.listed()] == [r"\u0000 \\u0000"]


async def test_rights_are_looked_at_when_it_is_asked_and_a_revoked_key_takes_nothing_back(api: Api):
    guest = await key_of("guest", "publish", addresses=["room:*"])
    body = {"addresses": ["token:a"], "message": "x", "delay": 60}
    assert (await api("POST", "/api/publish", body, guest))[0] == 403
    lacks = {"detail": "An API key with the scope publish is needed."}
    assert await api("POST", "/api/publish", body, await key_of("reader", "read")) == (403, lacks)
    assert await api.listed() == []

    id = await api.schedule(key=guest)
    await sync_to_async(ApiKey.objects.filter(name="guest").delete)()

    assert await api.ids() == [id]


async def test_a_key_sees_its_own_and_one_that_manages_those_within_its_addresses(api: Api):
    guest, tenant = (
        await key_of("guest", "publish"),
        await key_of("tenant", "manage", addresses=["room:*"]),
    )
    mine = await api.schedule(key=guest, delay=10)
    room = await api.schedule(delay=20)
    both = await api.schedule(ROOM, "token:a", delay=30)

    assert await api.ids() == [mine, room, both]
    assert await api.ids(guest) == [mine]
    assert await api.ids(tenant) == [mine, room]
    assert (await api("DELETE", f"{LISTED}{room}/", key=guest))[0] == 404
    assert (await api("DELETE", f"{LISTED}{both}/", key=tenant))[0] == 404
    assert (await api("DELETE", f"{LISTED}{room}/", key=tenant))[0] == 204
    lacks = {"detail": "An API key with the scope publish or manage is needed."}
    assert await api("GET", LISTED, key=await key_of("reader", "read")) == (403, lacks)
    # It may not read messages of others.
    assert ["message" in one for one in await api.listed(tenant)] == [False]
    assert ["message" in one for one in await api.listed(guest)] == [True]


async def test_a_batch_schedules_some_and_publishes_others(api: Api):
    one = {"addresses": [ROOM], "message": 1}
    given = [{**one, "delay": 5}, one, {**one, "delay": 5, "at": "x"}, {**one, "delay": 6, "id": "a"}]

    status, answer = await api("POST", "/api/publish/batch", {"messages": [*given, given[3]]})

    results = answer["results"]
    assert status == 200
    assert [list(result) for result in results] == [
        ["scheduled"],
        list(results[1]),
        ["error"],
        ["scheduled"],
        ["scheduled"],
    ]
    assert "scheduled" not in results[1]
    assert results[2]["error"].startswith("delay: ")
    assert results[3] == results[4]
    assert await api.ids() == [results[0]["scheduled"], results[3]["scheduled"]]


async def test_no_more_wait_than_may(api: Api, settings: Any):
    settings.MAX_SCHEDULED = 2
    body = {"addresses": [ROOM], "message": 1, "delay": 5}

    _, answer = await api("POST", "/api/publish/batch", {"messages": [body] * 3})
    status, refused = await api("POST", "/api/publish", body)

    assert ["error" in result for result in answer["results"]] == [False, False, True]
    assert status == 503
    assert "MAX_SCHEDULED" in refused["detail"]
    assert len(await api.listed()) == 2
