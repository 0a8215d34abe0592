"""Streams by the requests protocol: recovery, the last messages, history, batches."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from tests.requests.peer import Peer, call
from tests.services.databases import Databases
from tests.services.running import running
from tests.services.server import Server
from tests.services.waiting import wait_until


@pytest.fixture(scope="module")
def broker(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose every address has history, but for channels."""
    with running(databases, tmp_path_factory.mktemp("streams"), HISTORY_SIZE="50") as server:
        rule = {"pattern": "channel:*", "history_size": 0, "history_seconds": 1}
        assert call(server, "/api/rules/", rule)[0] == 201
        wait_until(lambda: "positions" not in publish(server, 0, "channel:1"))
        yield server


@pytest.fixture
def a() -> str:
    return f"token:{secrets.token_hex(4)}"


@pytest.fixture
def peer(broker: Server) -> Iterator[Peer]:
    """A client that may do everything."""
    one = Peer(broker, f"?key={broker.api_key}")
    yield one
    one.close()


def publish(server: Server, message: Any, *addresses: str, **fields: Any) -> Any:
    status, answer = call(server, "/api/publish", {"addresses": addresses, "message": message, **fields})
    assert status == 200, answer
    return answer


def deliveries(peer: Peer, count: int) -> list[dict[str, Any]]:
    return [peer.next() for _ in range(count)]


def test_a_delivery_has_its_position(peer: Peer, broker: Server, a: str):
    answer = peer.ask("subscribe", addresses=[a])
    epoch = answer["positions"][a]["epoch"]
    assert answer["positions"] == {a: {"epoch": epoch, "offset": 0}}

    positions = publish(broker, "hello", a)["positions"]

    assert positions == {a: {"epoch": epoch, "offset": 1}}
    assert peer.next() == {"type": "delivery", "address": a, "message": "hello", "epoch": epoch, "offset": 1}


def test_without_history_nothing_is_new(peer: Peer, broker: Server, a: str):
    address = a.replace("token:", "channel:")
    assert peer.ask("subscribe", addresses=[address]) == {"direction": "REPLY", "addresses": [address]}
    assert "positions" not in publish(broker, 1, address)
    assert peer.next() == {"type": "delivery", "address": address, "message": 1}


def test_missed_messages_follow_the_reply(peer: Peer, broker: Server, a: str):
    since = publish(broker, 1, a)["positions"]
    for number in (2, 3):
        publish(broker, number, a)

    answer = peer.ask("subscribe", addresses=[a], since=since)
    publish(broker, 4, a)

    assert answer["positions"] == {a: {"epoch": since[a]["epoch"], "offset": 3, "recovered": True}}
    assert [(one["message"], one["offset"]) for one in deliveries(peer, 3)] == [(2, 2), (3, 3), (4, 4)]


def test_the_last_messages_follow_the_reply(peer: Peer, broker: Server, a: str):
    for number in range(5):
        publish(broker, number, a)
    answer = peer.ask("subscribe", addresses=[a], last=2)
    assert answer["positions"][a]["offset"] == 5
    assert "recovered" not in answer["positions"][a]
    assert [one["message"] for one in deliveries(peer, 2)] == [3, 4]


def test_since_goes_before_last(peer: Peer, broker: Server, a: str):
    publish(broker, 1, a)
    since = publish(broker, 2, a)["positions"]
    publish(broker, 3, a)
    peer.ask("subscribe", addresses=[a], since=since, last=10)
    publish(broker, 4, a)
    assert [one["message"] for one in deliveries(peer, 2)] == [3, 4]


@pytest.mark.parametrize("offset", [0, 9, 2**53 - 1])
def test_a_position_that_is_not_known_brings_none_of_the_old_ones(
    peer: Peer, broker: Server, a: str, offset: int
):
    epoch = publish(broker, 1, a)["positions"][a]["epoch"]
    since = {a: {"epoch": epoch if offset else "unknown", "offset": offset}}
    answer = peer.ask("subscribe", addresses=[a], since=since)
    publish(broker, 2, a)
    assert answer["positions"] == {a: {"epoch": epoch, "offset": 1, "recovered": False}}
    assert peer.next()["message"] == 2


def test_a_position_of_an_address_without_history_is_not_recovered(peer: Peer, broker: Server, a: str):
    address = a.replace("token:", "channel:")
    answer = peer.ask("subscribe", addresses=[address], since={address: {"epoch": "e", "offset": 1}})
    assert answer["positions"] == {address: {"epoch": "", "offset": 0, "recovered": False}}


def test_a_message_to_several_addresses_comes_once_with_all_positions_that_are_followed(
    peer: Peer, broker: Server, a: str
):
    b, c = f"{a}b", f"{a}c"
    peer.ask("subscribe", addresses=[b, c])
    positions = publish(broker, "x", a, b, c)["positions"]
    assert peer.next() == {
        "type": "delivery",
        "address": b,
        "message": "x",
        **positions[b],
        "positions": {b: positions[b], c: positions[c]},
    }
    peer.ask("subscribe", addresses=[a])
    publish(broker, "y", a, b, c)
    second = peer.next()
    assert (second["address"], second["offset"]) == (a, 2)
    assert {one: place["offset"] for one, place in second["positions"].items()} == {a: 2, b: 2, c: 2}


def test_messages_missed_on_several_addresses_come_once(peer: Peer, broker: Server, a: str):
    b = f"{a}b"
    since = publish(broker, 0, a, b)["positions"]
    publish(broker, 1, b, a)
    publish(broker, 2, a)
    publish(broker, 3, a, b)
    peer.ask("subscribe", addresses=[a, b], since=since)
    publish(broker, "end", a)
    assert [one["message"] for one in deliveries(peer, 4)] == [1, 2, 3, "end"]


def test_history_answers_as_rest_does(peer: Peer, broker: Server, a: str):
    first = publish(broker, 1, a)["positions"][a]
    publish(broker, 2, a, id=f"of {a}")

    answer = peer.ask("history", address=a)
    assert [one["message"] for one in answer["messages"]] == [1, 2]
    assert answer["messages"][1]["id"] == f"of {a}"
    assert (answer["epoch"], answer["offset"]) == (first["epoch"], 2)
    assert "recovered" not in answer
    assert [one["message"] for one in peer.ask("history", address=a, reverse=True)["messages"]] == [2, 1]
    since = peer.ask("history", address=a, since=first)
    assert ([one["message"] for one in since["messages"]], since["recovered"]) == ([2], True)
    cut = peer.ask("history", address=a, since={**first, "offset": 0}, limit=1)
    assert ([one["message"] for one in cut["messages"]], cut["more"]) == ([1], True)


def test_a_batch_answers_for_each(peer: Peer, a: str):
    messages = [
        {"addresses": [a], "message": 1, "id": a},
        {"addresses": ["nonsense"], "message": 2},
        {"addresses": [a], "message": 1, "id": a},
        "nothing",
    ]
    first, second, third, fourth = peer.ask("publish_batch", messages=messages)["results"]
    assert first["positions"][a]["offset"] == 1
    assert third["repeated"] is True
    assert "error" in second
    assert "error" in fourth


POSITION = {"epoch": "e", "offset": 1}
WRONG = {
    "positions that are no object": {"since": [1]},
    "a position that is no object": {"since": {"A": "e:1"}},
    "a position without an epoch": {"since": {"A": {"offset": 1}}},
    "a negative offset": {"since": {"A": {"epoch": "e", "offset": -1}}},
    "an offset beyond 2^53": {"since": {"A": {"epoch": "e", "offset": 2**53}}},
    "an offset that is true": {"since": {"A": {"epoch": "e", "offset": True}}},
    "an epoch that is too long": {"since": {"A": {"epoch": "e" * 65, "offset": 1}}},
    "a position of another address": {"since": {"token:other": POSITION}},
    "more than a thousand": {"last": 1001},
    "fewer than none": {"last": -1},
    "a number that is a string": {"last": "5"},
}


@pytest.mark.parametrize("fields", WRONG.values(), ids=WRONG)
def test_what_makes_no_sense_subscribes_to_nothing(peer: Peer, fields: dict[str, Any], a: str):
    given = json.loads(json.dumps(fields).replace('"A"', json.dumps(a)))
    answer = peer.ask("subscribe", addresses=[a], **given)
    assert (answer["direction"], answer["code"]) == ("ERROR", "invalid")
    assert peer.ask("whoami")["addresses"] == []


HISTORIES = {
    "no address": ({}, "invalid"),
    "a kind that is unknown": ({"address": "nonsense:a"}, "invalid"),
    "no history": ({"address": "channel:1"}, "not_found"),
    "a position and the newest first": ({"address": "A", "since": POSITION, "reverse": True}, "invalid"),
    "too many": ({"address": "A", "limit": 1001}, "invalid"),
    "a position that is a string": ({"address": "A", "since": "e:1"}, "invalid"),
    "an order that is a number": ({"address": "A", "reverse": 1}, "invalid"),
}


@pytest.mark.parametrize(("fields", "code"), HISTORIES.values(), ids=HISTORIES)
def test_a_history_that_cannot_be_read_says_why(peer: Peer, fields: dict[str, Any], code: str, a: str):
    given = {name: a if value == "A" else value for name, value in fields.items()}
    answer = peer.ask("history", **given)
    assert (answer["direction"], answer["code"]) == ("ERROR", code)


@pytest.mark.parametrize(
    ("messages", "code"), [(None, "invalid"), ([{}] * 1001, "too_many")], ids=["none", "too many"]
)
def test_a_batch_that_is_none_says_why(peer: Peer, messages: Any, code: str):
    answer = peer.ask("publish_batch", messages=messages)
    assert (answer["direction"], answer["code"]) == ("ERROR", code)
