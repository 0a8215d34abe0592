"""REST: history, messages that are published once, and batches."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from asgiref.sync import sync_to_async
from django.core.asgi import get_asgi_application
from django.test import Client

from routing_app.core.access import keys
from routing_app.core.codes import Loss
from routing_app.core.delivery.connection import Connection, new_id
from routing_app.core.delivery.publication import Publication
from routing_app.core.models import AddressRule
from routing_app.core.rest.fast import FastViews
from routing_app.core.streams.store import Append, Done, StoreUnavailable
from routing_app.core.worker import Worker, current_worker, drop_worker
from tests.core.harness import PLAIN, Recorder, lost, received, until_received
from tests.core.test_fast import ask
from tests.services.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)


@dataclass
class Api:
    """A caller of the REST of this process's worker."""

    worker: Worker
    fast: FastViews
    key: str

    async def __call__(
        self, method: str, path: str, body: Any = None, key: str | None = None, **headers: str
    ) -> tuple[int, Any]:
        sent = b"" if body is None else json.dumps(body).encode()
        given = [(b"content-type", b"application/json"), (b"x-api-key", (key or self.key).encode())]
        given += [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        return await ask(self.fast, method, path, sent, given)

    async def publish(self, message: Any, *addresses: str, **fields: Any) -> Any:
        status, answer = await self(
            "POST", "/api/publish", {"addresses": addresses, "message": message, **fields}
        )
        assert status == 200, answer
        return answer

    async def history(self, address: str, **query: Any) -> Any:
        status, answer = await self("GET", f"/api/history?{urlencode({'address': address, **query})}")
        assert status == 200, answer
        return answer

    async def subscriber(self, *addresses: str) -> Connection:
        worker = self.worker
        connection = Connection(new_id(worker.id), "test", Recorder(), worker.flusher, PLAIN)
        worker.hub.add(connection)
        await worker.hub.subscribe(connection, *addresses)
        return connection


@pytest.fixture
async def api(settings, tmp_path: Path) -> AsyncIterator[Api]:
    """The REST of a worker; tokens of `kept/` have a history of five messages."""
    settings.VAR_DIR = tmp_path
    await sync_to_async(AddressRule.objects.create)(
        pattern="token:kept/*", history_size=5, history_seconds=300
    )
    _, key = await sync_to_async(keys.issue)("tester")
    worker = current_worker()
    yield Api(worker, FastViews(get_asgi_application(), "routing_app.broker.fast_urls"), key)
    await worker.stop()
    drop_worker()


@pytest.fixture
def kept() -> str:
    """An address with history that no other test uses."""
    return f"token:kept/{secrets.token_hex(6)}"


# --- history ------------------------------------------------------------------------------------------------


async def test_what_was_published_can_be_read(api: Api, kept: str):
    await api.publish({"a": 1}, kept)
    answer = await api.publish("two", kept, "token:other", id="mine")
    assert answer["positions"][kept]["offset"] == 2
    assert set(answer["positions"]) == {kept}

    history = await api.history(kept)

    assert (history["address"], history["epoch"], history["offset"]) == (
        kept,
        answer["positions"][kept]["epoch"],
        2,
    )
    assert "recovered" not in history
    assert [one["message"] for one in history["messages"]] == [{"a": 1}, "two"]
    assert set(history["messages"][1]) == {"offset", "id", "message", "sender", "at"}
    assert [history["messages"][1][name] for name in ("offset", "id", "sender")] == [2, "mine", "tester"]
    assert history["messages"][1]["at"].endswith("Z")


async def test_history_is_read_since_a_position(api: Api, kept: str):
    for number in range(1, 8):
        answer = await api.publish(number, kept)
    epoch = answer["positions"][kept]["epoch"]

    async def since(offset: int, **query: Any) -> Any:
        history = await api.history(kept, since=f"{epoch}:{offset}", **query)
        return history["recovered"], [one["message"] for one in history["messages"]], history.get("more")

    assert await since(4) == (True, [5, 6, 7], None)
    assert await since(2) == (True, [3, 4, 5, 6, 7], None)
    assert await since(7) == (True, [], None)
    assert await since(1) == (False, [], None)
    assert await since(8) == (False, [], None)
    assert await since(2, limit=2) == (True, [3, 4], True)
    other = await api.history(kept, since="other:4")
    assert (other["recovered"], other["messages"], other["offset"]) == (False, [], 7)


async def test_the_newest_come_in_either_order(api: Api, kept: str):
    for number in range(1, 8):
        await api.publish(number, kept)

    async def messages(**query: Any) -> list[Any]:
        return [one["message"] for one in (await api.history(kept, **query))["messages"]]

    assert await messages() == [3, 4, 5, 6, 7]
    assert await messages(limit=2) == [6, 7]
    assert await messages(limit=2, reverse=1) == [7, 6]
    assert await messages(limit=0) == []


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"address": "nonsense"},
        {"address": "customer:a/b"},
        {"address": ""},
        {"since": "5"},
        {"since": ":5"},
        {"since": "e:"},
        {"since": "e:-1"},
        {"since": "e:1.5"},
        {"since": "e:٣"},
        {"since": f"e:{2**53}"},
        {"since": "e:" + "9" * 400},
        {"since": "e" * 65 + ":1"},
        {"since": ""},
        {"limit": "-1"},
        {"limit": "1001"},
        {"limit": "many"},
        {"limit": ""},
        {"reverse": "2"},
        {"since": "e:1", "reverse": "1"},
    ],
    ids=str,
)
async def test_a_wrong_question_is_a_400(api: Api, kept: str, query: dict[str, str]):
    if query and "address" not in query:
        query = {"address": kept, **query}
    status, answer = await api("GET", f"/api/history?{urlencode(query)}")
    assert (status, len(answer)) == (400, 1)


async def test_a_largest_offset_is_a_position(api: Api, kept: str):
    history = await api.history(kept, since=f"e:{2**53 - 1}")
    assert history["recovered"] is False


@pytest.mark.parametrize("address", ["token:plain", "connection:0123456789abcdef0123456789ab"])
async def test_an_address_without_history_is_a_404(api: Api, address: str):
    for method in ("GET", "DELETE"):
        assert (await api(method, f"/api/history?address={address}"))[0] == 404


async def test_a_deleted_history_begins_a_new_epoch(api: Api, kept: str):
    before = (await api.publish(1, kept))["positions"][kept]

    assert await api("DELETE", f"/api/history?address={kept}") == (204, None)

    history = await api.history(kept, since=f"{before['epoch']}:{before['offset']}")
    assert (history["recovered"], history["offset"]) == (False, 0)
    assert history["epoch"] != before["epoch"]
    after = (await api.publish(2, kept))["positions"][kept]
    assert after == {"epoch": history["epoch"], "offset": 1}


async def test_scopes_of_history(api: Api, kept: str):
    _, reader = await sync_to_async(keys.issue)("reader", ["read"])
    _, publisher = await sync_to_async(keys.issue)("publisher", ["publish"])

    assert (await api("GET", f"/api/history?address={kept}", key=reader))[0] == 200
    assert (await api("GET", f"/api/history?address={kept}", key=publisher))[0] == 403
    assert (await api("DELETE", f"/api/history?address={kept}", key=reader))[0] == 403
    assert (await api("POST", f"/api/history?address={kept}"))[0] == 405


# --- once ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("history", [True, False])
async def test_an_id_is_published_once(api: Api, kept: str, history: bool):
    address = kept if history else kept.replace("kept", "plain")
    one = await api.subscriber(address)
    id = secrets.token_hex(8)

    first = await api.publish("first", address, id=id)
    again = await api.publish("other", address, "token:elsewhere", id=id)
    await api.publish("end", address)

    assert again == {**first, "repeated": True}
    assert ("positions" in first) == history
    assert await until_received(one, 2) == ["first", "end"]


async def test_an_id_that_comes_twice_at_once_is_published_once(api: Api, kept: str):
    one = await api.subscriber(kept)

    answers = await asyncio.gather(*(api.publish(number, kept, id="n") for number in range(10)))

    assert sorted(answer.get("repeated", False) for answer in answers) == [False] + [True] * 9
    assert len({json.dumps(answer["positions"]) for answer in answers}) == 1
    await api.publish("end", kept)
    assert len(await until_received(one, 2)) == 2


async def test_the_header_is_an_id(api: Api, kept: str):
    body = {"addresses": [kept], "message": 1}

    first = await api("POST", "/api/publish", body, idempotency_key="a key")
    again = await api("POST", "/api/publish", {**body, "id": "a key"}, idempotency_key="a key")
    differs = await api("POST", "/api/publish", {**body, "id": "other"}, idempotency_key="a key")

    assert first[0] == again[0] == 200
    assert again[1]["repeated"] is True
    assert differs[0] == 400


async def test_ids_of_two_callers_are_two(api: Api, kept: str):
    _, other = await sync_to_async(keys.issue)("tester")
    body = {"addresses": [kept], "message": 1, "id": "n"}

    assert "repeated" not in (await api("POST", "/api/publish", body))[1]
    assert "repeated" not in (await api("POST", "/api/publish", body, key=other))[1]


@pytest.mark.parametrize("id", ["", "x" * 65, "a\n", 5, None, ["n"], "\ud800"], ids=ascii)
async def test_a_wrong_id_is_a_400(api: Api, kept: str, id: Any):
    status, _ = await api("POST", "/api/publish", {"addresses": [kept], "message": 1, "id": id})
    assert status == 400


@pytest.mark.parametrize("key", ["x" * 65, "\x7f"], ids=ascii)
async def test_a_wrong_header_is_a_400(api: Api, kept: str, key: str):
    body = {"addresses": [kept], "message": 1}
    assert (await api("POST", "/api/publish", body, idempotency_key=key))[0] == 400


async def test_a_publish_that_was_refused_leaves_the_id_free(api: Api, kept: str):
    assert (await api("POST", "/api/publish", {"addresses": ["nonsense"], "message": 1, "id": "n"}))[0] == 400

    assert "repeated" not in await api.publish(1, kept, id="n")


async def test_while_the_store_is_out_history_and_publishing_to_it_are_a_503(
    api: Api, kept: str, monkeypatch: pytest.MonkeyPatch
):
    one = await api.subscriber(kept, "token:plain")
    store = api.worker.streams._stores.each[0]

    def refuse(append: Append, done: Done) -> None:
        done(StoreUnavailable("down"))

    async def fail(*args: Any, **options: Any) -> None:
        raise StoreUnavailable("down")

    with monkeypatch.context() as broken:
        broken.setattr(store, "append", refuse)
        broken.setattr(store, "read", fail)
        counted = lost(Loss.STORE_DOWN)
        body = {"addresses": [kept], "message": 1, "id": "n"}
        assert (await api("POST", "/api/publish", body))[0] == 503
        assert (await api("GET", f"/api/history?address={kept}"))[0] == 503
        status, answer = await api("POST", "/api/publish/batch", {"messages": [body]})
        assert (status, list(answer["results"][0])) == (200, ["error"])
        await api.publish("plain", "token:plain")
        assert "repeated" not in await api.publish("named", "token:plain", id="m")
        assert counted.grown == 0  # they were told

    assert await until_received(one, 2) == ["plain", "named"]
    assert "repeated" not in await api.publish(1, kept, id="n")


# --- batches ------------------------------------------------------------------------------------------------


async def test_a_batch_is_published_in_order_and_one_bad_message_spoils_no_other(api: Api, kept: str):
    one = await api.subscriber(kept)
    messages = [
        {"addresses": [kept], "message": 1, "id": "n"},
        {"addresses": [], "message": 2},
        {"addresses": ["nonsense"], "message": 3},
        "text",
        None,
        {"addresses": [kept]},
        {"addresses": [kept], "message": 4, "id": ""},
        {"addresses": [kept], "message": 5},
        {"addresses": [kept], "message": 6, "id": "n"},
        {"addresses": [kept], "message": 7},
    ]

    status, answer = await api("POST", "/api/publish/batch", {"messages": messages})

    results = answer["results"]
    assert status == 200
    assert [sorted(result) for result in results[1:7]] == [["error"]] * 6
    assert [result["positions"][kept]["offset"] for result in (results[0], *results[7:])] == [1, 2, 1, 3]
    assert results[8]["repeated"] is True
    assert await until_received(one, 3) == [1, 5, 7]


async def test_a_large_batch_keeps_its_order(api: Api, kept: str):
    messages = [{"addresses": [kept], "message": number} for number in range(1000)]
    one = await api.subscriber(kept)

    status, answer = await api("POST", "/api/publish/batch", {"messages": messages})

    assert status == 200
    assert [result["positions"][kept]["offset"] for result in answer["results"]] == list(range(1, 1001))
    assert await until_received(one, 1000) == list(range(1000))


@pytest.mark.parametrize(
    "body",
    [{}, [], {"messages": {}}, {"messages": [{}] * 1001}, {"messages": None}],
    ids=lambda b: str(b)[:30],
)
async def test_a_wrong_batch_is_a_400(api: Api, body: Any):
    assert (await api("POST", "/api/publish/batch", body))[0] == 400


async def test_an_empty_batch_has_no_results(api: Api):
    assert await api("POST", "/api/publish/batch", {"messages": []}) == (200, {"results": []})


async def test_a_rule_holds_at_once_in_a_worker_that_serves(api: Api):
    await api.worker.start()
    address = f"token:fresh/{secrets.token_hex(4)}"
    assert "positions" not in await api.publish(1, address)
    _, key = await sync_to_async(keys.issue)("operator")
    rule = {"pattern": "token:fresh/*", "history_size": 5}

    def change(method: str, path: str, body: Any = None) -> Any:
        client = Client(headers={"X-API-Key": key})
        return getattr(client, method)(path, body, "application/json")

    made = await sync_to_async(change)("post", "/api/rules/", rule)
    await until(lambda: api.worker.streams.bounds(address))
    assert (await api.publish(2, address))["positions"][address]["offset"] == 1

    await sync_to_async(change)("delete", f"/api/rules/{made.json()['id']}/")
    await until(lambda: api.worker.streams.bounds(address) is None)
    assert "positions" not in await api.publish(3, address)
    assert (await api("GET", f"/api/history?address={address}"))[0] == 404


# --- settings -----------------------------------------------------------------------------------------------


async def test_a_setting_holds_where_no_rule_matches(api: Api, settings):
    settings.HISTORY_SIZE, settings.HISTORY_SECONDS = 2, 60
    await api.worker.streams.read_rules()
    address = f"token:none/{secrets.token_hex(4)}"

    for number in range(4):
        await api.publish(number, address)

    assert [one["message"] for one in (await api.history(address))["messages"]] == [2, 3]
    assert (await api("GET", "/api/history?address=connection:0123456789abcdef0123456789ab"))[0] == 404


async def test_what_clients_send_is_kept_too(api: Api, kept: str):
    """Every protocol publishes by the hub."""
    await api.worker.streams.read_rules()
    one = await api.subscriber(kept)
    await api.worker.hub.publish(Publication((kept,), "waiting"))
    api.worker.hub.publish_soon(Publication((kept,), "soon", "UPDATES"))
    await until_received(one, 2)

    entries = (await api.history(kept))["messages"]

    assert [(entry["message"], entry.get("event")) for entry in entries] == [
        ("waiting", None),
        ("soon", "UPDATES"),
    ]
    assert received(one) == ["waiting", "soon"]


async def test_a_message_without_history_leaves_no_position_that_recovers(api: Api, kept: str):
    """While the rule is away, or says that nothing is kept, messages are not in the stream."""
    await api.worker.streams.start()
    rules = AddressRule.objects.filter(pattern="token:kept/*")
    rule = await sync_to_async(rules.get)()
    for away in (rules.delete, lambda: rules.update(history_size=0)):
        position = (await api.publish("kept", kept))["positions"][kept]

        await sync_to_async(away)()
        await api.worker.streams.read_rules()
        assert "positions" not in await api.publish("missed", kept)
        await sync_to_async(rule.save)()
        await api.worker.streams.read_rules()

        after = await api.history(kept, since=f"{position['epoch']}:{position['offset']}")
        assert (after["recovered"], after["offset"]) == (False, 0)
