"""Event streams of a server: live, recovered, refused, and as operators see them."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from typing import Any

import pytest

from routing_app.core.delivery.publication import Position
from routing_app.stream import wire
from tests.requests.peer import Peer, call
from tests.services.ports import LOOPBACK
from tests.services.server import Server
from tests.services.waiting import wait_until
from tests.stream.conftest import SITE, publish
from tests.stream.reader import Reader, reading

LARGEST = 2**53 - 1


def get(server: Server, path: str) -> Any:
    connection = http.client.HTTPConnection(LOOPBACK, server.port, timeout=60)
    connection.request("GET", path, headers={"X-API-Key": server.api_key})
    text = connection.getresponse().read().decode()
    connection.close()
    return text if path == "/metrics" else json.loads(text)


def metric(server: Server, name: str) -> float:
    lines = get(server, "/metrics").splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


# --- live -------------------------------------------------------------------------------------------------


def test_a_publication_is_an_event(broker: Server, a: str):
    with reading(broker, a) as reader:
        headers = {
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",
            "Content-Encoding": None,
        }
        assert {name: reader.header(name) for name in headers} == headers
        assert reader.parser.retry == 1000
        place = publish(broker, {"text": "grüße\n"}, a)[a]
        event = reader.next()
    assert event.name == "message"
    assert event.data == {"address": a, "message": {"text": "grüße\n"}, **place, "sender": "first run"}
    assert place["offset"] == 1
    assert event.id == wire.encode({a: Position(**place)}) == reader.last_event_id


def test_without_history_there_is_no_place(broker: Server, c: str):
    with reading(broker, c) as reader:
        publish(broker, 1, c)
        event = reader.next()
    assert event.data == {"address": c, "message": 1, "offset": None, "epoch": None, "sender": "first run"}
    assert event.id == reader.last_event_id != ""


def test_a_message_to_several_addresses_comes_once_and_moves_all(broker: Server, a: str, b: str, c: str):
    with reading(broker, a, c, b) as reader:
        places = publish(broker, "all", b, a, c)
        publish(broker, "c", c)
        first, second = reader.some(2)
    assert (first.place, second.data["message"]) == ((b, 1), "c")
    known = {one: Position(**place) for one, place in places.items()}
    assert first.id == second.id == wire.encode({a: known[a], c: None, b: known[b]})


def test_what_clients_of_other_protocols_send_comes_too(broker: Server):
    room = "room:bus/stream"
    with reading(broker, room) as reader, closing(Peer(broker, f"?key={broker.api_key}")) as peer:
        peer.ask("publish", addresses=[room], message="asked")
        assert reader.messages(1) == ["asked"]


def test_comments_keep_it_open(broker: Server, a: str):
    with reading(broker, a) as reader:
        first = reader.until_comment()
        assert reader.until_comment() == first + 1


# --- recovery ---------------------------------------------------------------------------------------------


def test_the_last_messages_come_first(broker: Server, a: str, b: str, c: str):
    for number in range(5):
        publish(broker, number, a)
    publish(broker, "b", b)
    publish(broker, "c", c)
    with reading(broker, a, b, c, last=2) as reader:
        found = reader.messages(3)
        publish(broker, "live", a)
        assert reader.messages(1) == ["live"]
    assert sorted(map(str, found)) == ["3", "4", "b"]
    assert [one for one in found if one != "b"] == [3, 4]


@pytest.mark.parametrize("by_header", [True, False], ids=["header", "query"])
def test_what_was_missed_comes_once_and_in_order(broker: Server, a: str, b: str, by_header: bool):
    with reading(broker, a, b) as reader:
        publish(broker, 1, a, b)
        publish(broker, 2, a)
        assert reader.messages(2) == [1, 2]
        id = reader.last_event_id
    for number, addresses in enumerate([(a,), (b, a), (b,), (a, b)], 3):
        publish(broker, number, *addresses)

    given: dict[str, Any] = {"last_event_id": "another" if by_header else id}
    if by_header:
        given["headers"] = {"Last-Event-ID": id, "X-API-Key": broker.api_key}
    with reading(broker, a, b, last=50, **given) as again:
        assert again.last_event_id == id
        publish(broker, 7, b)
        events = again.some(5)
    assert [event.data["message"] for event in events] == [3, 4, 5, 6, 7]
    for address in (a, b):
        offsets = [offset for one, offset in (event.place for event in events) if one == address]
        assert offsets == sorted(set(offsets))


def test_every_id_is_a_place_to_go_on_from(broker: Server, a: str, b: str):
    with reading(broker, a, b) as reader:
        for number, addresses in enumerate([(a,), (b, a), (b,), (a, b), (b,)]):
            publish(broker, number, *addresses)
        ids = [event.id for event in reader.some(5)]
    for number, id in enumerate(ids[:-1]):
        with reading(broker, a, b, last_event_id=id) as again:
            assert again.messages(4 - number) == list(range(number + 1, 5))


def test_a_client_that_is_cut_before_its_first_message_recovers(broker: Server, a: str):
    publish(broker, "before", a)
    with reading(broker, a) as reader:
        id = reader.last_event_id
    publish(broker, "missed", a)
    with reading(broker, a, last_event_id=id) as again:
        assert again.messages(1) == ["missed"]


def test_the_last_messages_that_a_client_was_not_sent_are_not_lost(broker: Server, a: str):
    for number in range(5):
        publish(broker, number, a)
    with reading(broker, a, last=3) as reader:
        id = reader.last_event_id
    with reading(broker, a, last=3, last_event_id=id) as again:
        assert again.messages(3) == [2, 3, 4]


UNKNOWN = {
    "nonsense": "nonsense",
    "no characters of an id": "é ;'\"",
    "a position of another address": "OTHER:EPOCH:1",
    "an unknown epoch": "A:unknown:1",
    "an offset of the future": "A:EPOCH:99",
    "the last of all offsets": f"A:EPOCH:{LARGEST}",
    "an offset beyond 2^53": "A:EPOCH:9007199254740992",
    "a negative offset": "A:EPOCH:-1",
    "an address that had no history then": "A",
    "eight thousand characters": "A:EPOCH:1," * 300,
}


@pytest.mark.parametrize("by_header", [True, False], ids=["header", "query"])
@pytest.mark.parametrize("id", UNKNOWN.values(), ids=UNKNOWN)
def test_a_position_that_makes_no_sense_is_a_gap(broker: Server, a: str, b: str, id: str, by_header: bool):
    epoch = publish(broker, "old", a)[a]["epoch"]
    id = id.replace("OTHER", wire.hash_of(b)).replace("A", wire.hash_of(a)).replace("EPOCH", epoch)
    given: dict[str, Any] = {"last_event_id": id}
    if by_header:
        given = {"headers": {"Last-Event-ID": id, "X-API-Key": broker.api_key}}
    with reading(broker, a, last=10, **given) as reader:
        publish(broker, "new", a)
        gap, event = reader.first(), reader.next()
    assert (gap.name, gap.data) == ("gap", {"addresses": [a]})
    assert gap.id == wire.encode({a: Position(epoch, 1)})
    assert (event.name, event.data["message"]) == ("message", "new")


def test_a_gap_names_what_cannot_be_had_and_the_rest_is_recovered(broker: Server, a: str, c: str):
    with reading(broker, a, c) as reader:
        id = reader.last_event_id
    publish(broker, "lost", c)
    publish(broker, "missed", a)
    with reading(broker, a, c, last_event_id=id) as again:
        assert again.first().data == {"addresses": [c]}
        assert again.messages(1) == ["missed"]


def test_history_that_was_deleted_is_a_gap(broker: Server, a: str):
    publish(broker, 1, a)
    with reading(broker, a) as reader:
        id = reader.last_event_id
    connection = http.client.HTTPConnection(LOOPBACK, broker.port, timeout=60)
    connection.request("DELETE", f"/api/history?address={a}", headers={"X-API-Key": broker.api_key})
    assert connection.getresponse().status == 204
    connection.close()
    publish(broker, 2, a)
    with reading(broker, a, last_event_id=id) as again:
        assert again.first().data == {"addresses": [a]}


# --- what is refused --------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "no address": ({"addresses": []}, 400, "required"),
    "an empty address": ({"addresses": [""]}, 400, "kind:name"),
    "a kind that is unknown": ({"addresses": ["nonsense:a"]}, 400, "unknown kind"),
    "a kind without messages": ({"addresses": ["session:a"]}, 400, "carry no messages"),
    "a pattern": ({"addresses": ["*"]}, 400, "kind:name"),
    "an address that is too long": ({"addresses": ["token:" + "a" * 512]}, 400, "at most 512"),
    "a control character": ({"addresses": ["token:a\0"]}, 400, "control characters"),
    "another's own address": ({"addresses": ["connection:0123456789abcdef0123"]}, 400, "itself alone"),
    "101 addresses": ({"addresses": [f"token:{n}" for n in range(101)]}, 400, "at most 100"),
    "more fields than Django reads": ({"addresses": ["token:a"] * 1001}, 400, "cannot be read"),
    "a last that is no number": ({"last": "x"}, 400, "from 0 to 1000"),
    "a negative last": ({"last": "-1"}, 400, "from 0 to 1000"),
    "a last over a thousand": ({"last": "1001"}, 400, "from 0 to 1000"),
    "an endless last": ({"last": "9" * 5000}, 400, "from 0 to 1000"),
    "no key": ({"headers": {}}, 401, "not provided"),
    "a wrong key": ({"headers": {"X-API-Key": "wrong"}}, 401, "wrong or revoked"),
    "a wrong key in the query": ({"headers": {}, "key": "wrong\0"}, 401, "wrong or revoked"),
    "a wrong session": ({"headers": {"Cookie": "sessionid=x"}}, 401, "not provided"),
    "HEAD": ({"method": "HEAD"}, 405, ""),
    "POST": ({"method": "POST"}, 405, "not allowed"),
    "OPTIONS that is no preflight": ({"method": "OPTIONS"}, 405, "not allowed"),
    "another site": (
        {"headers": {"Origin": "https://evil.example", "Last-Event-ID": "x", "Accept": "text/event-stream"}},
        403,
        "Origin not allowed.",
    ),
}


@pytest.mark.parametrize(("options", "status", "words"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_is_in_the_words_of_the_api(
    broker: Server, options: dict[str, Any], status: int, words: str
):
    options = {"addresses": ["token:a"], **options}
    reader = Reader(broker, *options.pop("addresses"), **options)
    assert reader.status == status
    assert reader.header("Content-Type") == "application/json"
    if options.get("method") != "HEAD":
        assert words in json.dumps(reader.body())
    assert (reader.header("Allow") == "GET") is (status == 405)
    assert (reader.header("WWW-Authenticate") == "Bearer") is (status == 401)
    reader.close()
    assert "Traceback" not in broker.log_text()


def test_a_hundred_addresses_are_one_stream(broker: Server):
    addresses = [f"token:many{number}" for number in range(100)]
    with reading(broker, *addresses) as reader:
        publish(broker, "x", *addresses)
        event = reader.next()
    assert len(event.id.split(",")) == 100
    publish(broker, "missed", *addresses[50:])
    headers = {"Last-Event-ID": event.id, "X-API-Key": broker.api_key}
    with reading(broker, *addresses, headers=headers) as again:
        assert again.next().place[0] == "token:many50"


# --- keys and pages ---------------------------------------------------------------------------------------

KEYS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "X-API-Key": ({"X-API-Key": "KEY"}, {}),
    "Authorization": ({"Authorization": "Bearer KEY"}, {}),
    "the query": ({}, {"key": "KEY"}),
}


@pytest.mark.parametrize(("headers", "query"), KEYS.values(), ids=KEYS)
def test_a_key_is_taken_as_at_the_api(broker: Server, a: str, headers: dict[str, str], query: dict[str, str]):
    named, asked = (
        {name: value.replace("KEY", broker.api_key) for name, value in given.items()}
        for given in (headers, query)
    )
    with reading(broker, a, headers=named, **asked) as reader:
        publish(broker, 1, a)
        assert reader.messages(1) == [1]


def test_a_page_that_is_admitted_may_read(broker: Server, a: str):
    headers = {"Origin": SITE, "X-API-Key": broker.api_key}
    with reading(broker, a, headers=headers) as reader:
        assert reader.header("Access-Control-Allow-Origin") == SITE
        assert reader.header("Vary") == "Origin"
        assert reader.header("Access-Control-Allow-Credentials") is None


def test_a_page_that_is_admitted_reads_refusals_too(broker: Server, a: str):
    reader = Reader(broker, a, headers={"Origin": SITE})
    assert (reader.status, reader.header("Access-Control-Allow-Origin")) == (401, SITE)
    reader.close()


@pytest.mark.parametrize(("site", "status"), [(SITE, 204), ("https://evil.example", 403)])
def test_a_preflight_is_answered_to_pages_that_are_admitted(broker: Server, site: str, status: int):
    headers = {"Origin": site, "Access-Control-Request-Method": "GET"}
    reader = Reader(broker, "token:a", headers=headers, method="OPTIONS")
    assert reader.status == status
    allowed = reader.header("Access-Control-Allow-Headers") or ""
    assert ("X-API-Key" in allowed) is (status == 204)
    reader.close()


# --- operators --------------------------------------------------------------------------------------------


def listed(broker: Server, address: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = get(broker, f"/api/clients/?protocol=stream&address={address}")["results"]
    return found


def test_operators_see_count_and_end_it(broker: Server, a: str):
    opened = metric(broker, 'switchboard_opened_total{protocol="stream"}')
    kicked = metric(broker, 'switchboard_closed_total{close="kicked",protocol="stream"}')
    with reading(broker, a) as reader:
        [row] = wait_until(lambda: listed(broker, a))
        assert (row["protocol"], row["identity"]) == ("stream", "first run")
        assert metric(broker, 'switchboard_connections{protocol="stream"}') >= 1
        assert metric(broker, 'switchboard_opened_total{protocol="stream"}') == opened + 1
        assert call(broker, f"/api/clients/{row['id']}/disconnect", None)[0] == 202
        assert reader.rest() == []
    wait_until(lambda: not listed(broker, a))
    assert metric(broker, 'switchboard_closed_total{close="kicked",protocol="stream"}') == kicked + 1


def test_a_client_that_leaves_is_gone(broker: Server, a: str):
    with reading(broker, a):
        wait_until(lambda: listed(broker, a))
    wait_until(lambda: not listed(broker, a))


def test_the_document_describes_it(broker: Server):
    operation = get(broker, "/api/schema/?format=json")["paths"]["/api/stream"]["get"]
    assert "text/event-stream" in operation["responses"]["200"]["content"]
    names = {parameter["name"] for parameter in operation["parameters"]}
    assert names == {"address", "last", "last_event_id", "Last-Event-ID", "key", "access_token"}
