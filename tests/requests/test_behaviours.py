"""Wrong behaviour of a peer, and the server's answer to it (README, "Behaviours")."""

from __future__ import annotations

import json
import socket
import struct
from contextlib import suppress
from pathlib import Path

import pytest

from tests.requests.conftest import Connect
from tests.requests.peer import Peer, call
from tests.services.server import Server
from tests.services.waiting import wait_until

MALFORMED: list[str | bytes] = [
    "",
    "{",
    "null",
    "[]",
    "5",
    '"text"',
    '{"direction": 5}',
    '{"direction": {}}',
    '{"direction": "ACK", "key": "k"}',
    '{"n": NaN}',
    '{"n": 1e999}',
    '{"a":' * 5000,
    b"\xff\xfe",
]


@pytest.fixture
def log(broker: Server, connect: Connect) -> Peer:
    """Somebody who reads what the handlers have noted, from now on."""
    peer = connect(broker)
    peer.ask("clear log")
    return peer


def noted(log: Peer) -> list[object]:
    """What it reads, but for peers that came and left: those of the test before may have left late."""
    entries: list[object] = log.ask("log")["log"]
    return [one for one in entries if one != "came" and not (isinstance(one, list) and one[0] == "left")]


def test_malformed_frames_are_counted_and_get_no_answer(broker: Server, connect: Connect, log: Peer) -> None:
    peer = connect(broker)
    for frame in MALFORMED:
        peer.send(frame)

    assert peer.silent() == []
    assert noted(log).count(["error", "RequestWireError"]) == len(MALFORMED)


def test_too_many_malformed_frames_end_the_connection(strict: Server, connect: Connect) -> None:
    peer = connect(strict)
    for _ in range(4):
        peer.send("null")
    assert peer.silent() == []
    peer.send("null")

    assert peer.close_code() == (1008, "not allowed")


def test_a_frame_over_the_bound_is_refused(strict: Server, connect: Connect) -> None:
    peer = connect(strict)
    peer.send({"text": "x" * 5000})

    assert peer.close_code()[0] == 1009


def test_only_one_answer_is_sent(broker: Server, connect: Connect, log: Peer) -> None:
    peer = connect(broker)
    peer.send({"direction": "REQUEST", "type": "twice", "key": "k"})

    assert peer.next() == {"n": 1, "key": "k", "direction": "REPLY"}
    assert peer.silent() == []
    assert noted(log)[-1] == ["reply", "error", "partial"]


def test_a_handler_that_fails_is_an_error_without_detail(broker: Server, connect: Connect) -> None:
    peer = connect(broker)

    assert peer.ask("boom") == {"direction": "ERROR", "code": "internal", "message": "Internal error"}
    assert peer.ask("fail")["code"] == 7, "the connection goes on"
    assert "a handler failed" in broker.log_text()


def test_a_handler_that_meets_an_outage_says_that_it_may_pass(broker: Server, connect: Connect) -> None:
    answer = connect(broker).ask("outage")

    assert (answer["direction"], answer["code"]) == ("ERROR", "unavailable")
    assert "secret" not in answer["message"]


def test_a_request_that_nobody_answers_is_an_error(broker: Server, connect: Connect) -> None:
    peer = connect(broker)

    assert peer.ask("silent")["code"] == "unanswered"


def test_a_request_without_handler_is_an_error(server: object, broker: Server, connect: Connect) -> None:
    peer = connect(broker)

    assert peer.ask("no such type")["code"] == "unhandled"


def test_messages_go_to_the_handler_of_their_type_or_to_the_untyped_one(
    broker: Server, connect: Connect, log: Peer
) -> None:
    peer = connect(broker)
    peer.send({"type": "note", "text": "a"})
    peer.send({"direction": "MESSAGE", "type": "note", "text": "b"})
    peer.send({"direction": None, "type": "note", "text": "c"})
    peer.send({"type": "else", "x": 1})
    peer.silent()

    assert noted(log) == ["a", "b", "c", ["untyped", {"type": "else", "x": 1}]]


def test_a_message_sent_right_before_the_close_is_handled(
    broker: Server, connect: Connect, log: Peer
) -> None:
    peer = connect(broker)
    peer.send({"type": "note", "text": "last words"})
    peer.socket.close(4321, "enough")

    wait_until(lambda: ["left", 4321, "enough"] in log.ask("log")["log"])
    assert "last words" in log.ask("log")["log"]


@pytest.mark.parametrize("key", ["unknown", 5, None, {"a": 1}, "x" * 1000])
def test_answers_to_no_request_are_ignored(broker: Server, connect: Connect, key: object) -> None:
    peer = connect(broker)
    for direction in ("REPLY", "PARTIAL", "ERROR"):
        peer.send(json.dumps({"direction": direction, "key": key}))
        peer.send(json.dumps({"direction": direction}))

    assert peer.silent() == []


def test_frames_after_the_end_of_an_answer_are_ignored(broker: Server, connect: Connect) -> None:
    peer = connect(broker)
    peer.send({"direction": "REQUEST", "type": "ask me", "key": "k", "ask": {"key": "s"}})
    peer.next()
    for frame in ({"n": 1, "direction": "REPLY"}, {"n": 2, "direction": "PARTIAL"}, {"direction": "ERROR"}):
        peer.send({"key": "s", **frame})

    assert peer.next()["got"]["n"] == 1
    assert peer.silent() == []


def test_an_error_of_the_client_reaches_the_asking_handler(broker: Server, connect: Connect) -> None:
    peer = connect(broker)
    peer.send({"direction": "REQUEST", "type": "ask me", "key": "k", "ask": {"key": 5}})
    assert peer.next()["key"] == 5, "a key that the caller has set is kept"
    peer.send({"key": 5, "direction": "error", "code": "mine"})

    assert peer.next()["error"]["code"] == "mine"


def test_a_request_of_the_server_may_time_out(broker: Server, connect: Connect) -> None:
    peer = connect(broker)
    peer.send({"direction": "REQUEST", "type": "ask me", "key": "k", "ask": {"key": "s"}, "timeout": 0.1})
    peer.next()

    assert peer.next() == {"timeout": True, "key": "k", "direction": "REPLY"}
    peer.send({"key": "s", "direction": "REPLY"})
    assert peer.silent() == []


def test_requests_of_the_server_fail_when_the_client_leaves(
    broker: Server, connect: Connect, log: Peer
) -> None:
    peer = connect(broker)
    peer.send({"direction": "REQUEST", "type": "ask me", "key": "k", "ask": {}})
    peer.next()
    peer.socket.close(4000, "gone fishing")

    wait_until(lambda: [4000, "gone fishing"] in log.ask("log")["log"])


def test_a_handler_closes_with_code_and_reason(broker: Server, connect: Connect) -> None:
    peer = connect(broker)
    peer.send({"direction": "REQUEST", "type": "close me", "key": "k", "code": 3999, "reason": "é" * 61})

    assert peer.next()["bye"] is True
    assert peer.close_code() == (3999, "é" * 61)


@pytest.mark.parametrize(("code", "reason"), [(1001, ""), (999, ""), (5000, ""), (4000, "é" * 62)])
def test_a_code_that_may_not_be_sent_is_refused(
    broker: Server, connect: Connect, code: int, reason: str
) -> None:
    peer = connect(broker)
    peer.ask("close me", code=code, reason=reason)

    assert peer.silent() == []


def test_reading_pauses_while_many_handlers_run_but_not_for_those_that_wait_for_this_client(
    strict: Server, connect: Connect
) -> None:
    peer, others = connect(strict), [connect(strict) for _ in range(2)]
    asked = [(number % 2, f"o{number}") for number in range(4)]  # each may be asked three times
    for place, key in asked:
        ask = {"id": others[place].id, "ask": {"key": key}}
        peer.send({"direction": "REQUEST", "type": "ask other", "key": key, **ask})
        assert others[place].next()["key"] == key
    peer.send({"direction": "REQUEST", "type": "fail", "key": "fifth"})
    assert connect(strict).ask("fail")["code"] == 7  # as the fifth would have been by now
    for place, key in asked:
        others[place].send({"direction": "REPLY", "key": key})
        others[place].silent()
    keys = [peer.next()["key"] for _ in range(5)]
    assert keys[0] == "o0"
    assert sorted(keys) == ["fifth", *(key for _, key in asked)]

    for n in range(3):
        peer.send({"direction": "REQUEST", "type": "ask me", "key": f"k{n}", "ask": {"key": f"s{n}"}})
    for n in range(20):
        peer.send({"direction": "REQUEST", "type": "late", "key": f"late{n}", "seconds": 0.02})
    for n in range(3):
        peer.send({"direction": "REPLY", "key": f"s{n}", "n": n})

    frames = [peer.next() for _ in range(26)]

    assert sorted(frame["got"]["n"] for frame in frames if "got" in frame) == [0, 1, 2]
    assert sum(frame.get("late", False) for frame in frames) == 20


def test_requests_that_wait_for_one_client_are_bounded(strict: Server, connect: Connect) -> None:
    peer = connect(strict)
    for n in range(4):
        peer.send({"direction": "REQUEST", "type": "ask me", "key": n, "ask": {"key": f"s{n}"}})
    frames = [peer.next() for _ in range(4)]

    assert [frame["key"] for frame in frames if frame["direction"] == "REQUEST"] == ["s0", "s1", "s2"]
    assert [frame["code"] for frame in frames if frame["direction"] == "ERROR"] == ["internal"]


def memory(server: Server) -> int:
    """Resident bytes of the server's processes."""
    from bench.machine import family

    total = 0
    for pid in family([server.pid]):
        total += int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * 4096
    return total


def taken(raw: socket.socket, data: bytes) -> int:
    """How many bytes the other end takes, until it takes none for 10 s or ends the connection."""
    view, sent = memoryview(data), 0
    raw.settimeout(10)
    with suppress(TimeoutError, ConnectionError):
        while sent < len(data):
            sent += raw.send(view[sent : sent + 65536])
    return sent


def test_a_peer_that_asks_10_000_times_and_never_reads_costs_little_and_slows_nobody(
    strict: Server, connect: Connect
) -> None:
    raw = socket.create_connection(("127.0.0.1", strict.port))
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.sendall(
        b"GET /connection HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    assert b"101" in raw.recv(12)
    before = memory(strict)
    request = json.dumps({"direction": "REQUEST", "type": "echo", "key": "k", "text": "x" * 3000}).encode()
    frame = b"\x81\xfe" + struct.pack("!H", len(request)) + b"\0\0\0\0" + request
    # The server stops reading, or ends it; the system keeps some for a server that does not read.
    assert taken(raw, frame * 10_000) < 15 * 2**20

    good = connect(strict)
    assert good.ask("fail")["code"] == 7
    assert memory(strict) - before < 40 * 2**20
    raw.close()


def test_a_peer_that_stops_reading_in_the_middle_of_an_endless_answer_is_forgotten_when_it_leaves(
    broker: Server, connect: Connect
) -> None:
    peer = connect(broker, max_queue=4)
    gone = peer.id
    peer.send(
        {"direction": "REQUEST", "type": "partials", "key": "k", "count": 10**9, "padding": "x" * 50_000}
    )
    peer.next()
    before = memory(broker)
    other = connect(broker)
    for _ in range(1000):  # in as many turns there would be more parts of the answer than may be kept
        other.ask("fail")
    assert memory(broker) - before < 20 * 2**20
    peer.socket.socket.close()

    wait_until(lambda: call(broker, f"/api/connections/{gone}/send", {"message": {}})[0] == 404)


def test_10_000_pipelined_requests_are_all_answered_in_order(broker: Server, connect: Connect) -> None:
    import threading

    peer = connect(broker)

    def write() -> None:
        for n in range(10_000):
            peer.send({"direction": "REQUEST", "type": "whoami", "key": n})

    writer = threading.Thread(target=write)
    writer.start()
    keys = [peer.next()["key"] for _ in range(10_000)]
    writer.join()

    assert keys == list(range(10_000))


def test_no_body_and_no_key_is_in_the_log(broker: Server, connect: Connect) -> None:
    peer = connect(broker, f"?key={broker.api_key}")
    peer.send({"direction": "REQUEST", "type": "boom", "key": "k", "body": "a body of a message"})
    peer.next()
    peer.ask("authenticate", api_key="swk_wrong_key_that_nobody_has")
    peer.close()

    text = broker.log_text()
    assert broker.api_key not in text
    assert "a body of a message" not in text
    assert "swk_wrong_key" not in text


def test_a_page_of_another_site_is_refused(broker: Server, connect: Connect) -> None:
    from websockets.exceptions import InvalidStatus

    with pytest.raises(InvalidStatus, match="403"):
        connect(broker, origin="https://evil.example")
    connect(broker, origin=broker.url)


def test_a_wrong_key_is_refused_at_the_door(broker: Server, connect: Connect) -> None:
    from websockets.exceptions import InvalidStatus

    with pytest.raises(InvalidStatus, match="403"):
        connect(broker, "?key=swk_wrong_key_that_nobody_has")
