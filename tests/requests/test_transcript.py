"""The frames of the original, as they were recorded: in and out, field by field."""

from __future__ import annotations

from typing import Any

import pytest

from tests.requests.conftest import Connect
from tests.services.server import Server

# (frame to the server, frames from it), recorded from wyre 1.2.1.
TRANSCRIPT: list[tuple[dict[str, Any], list[dict[str, Any]]]] = [
    ({"hello": 1}, []),
    ({"type": "tweet", "t": 1}, []),
    (
        {"direction": "REQUEST", "key": "k1", "question": "q"},
        [
            {"n": 1, "key": "k1", "direction": "PARTIAL"},
            {"n": 2, "key": "k1", "direction": "PARTIAL"},
            {"answer": "ok", "key": "k1", "direction": "REPLY"},
        ],
    ),
    (
        {"direction": "REQUEST", "type": "fail", "key": "k3"},
        [{"message": "nope", "code": 7, "key": "k3", "direction": "ERROR"}],
    ),
    ({"direction": "REQUEST", "type": "echo"}, [{"direction": "REPLY", "type": "echo"}]),
]


def test_transcript_of_the_original_in_one_go(broker: Server, connect: Connect) -> None:
    peer = connect(broker)
    for sent, expected in TRANSCRIPT:
        peer.send(sent)
        assert [peer.next() for _ in expected] == expected
    assert peer.silent() == []


def test_a_client_answers_a_request_of_the_server(broker: Server, connect: Connect) -> None:
    peer = connect(broker)
    peer.send({"direction": "REQUEST", "type": "ask me", "key": "k", "ask": {"key": "s1", "your": "turn"}})

    assert peer.next() == {"your": "turn", "key": "s1", "direction": "REQUEST"}
    peer.send({"n": 1, "key": "s1", "direction": "PARTIAL"})
    peer.send({"mine": 1, "key": "s1", "direction": "REPLY"})

    assert peer.next() == {
        "pieces": [1],
        "got": {"mine": 1, "key": "s1", "direction": "REPLY"},
        "key": "k",
        "direction": "REPLY",
    }


@pytest.mark.parametrize("direction", ["request", "Request", "rEQUEST"])
def test_directions_are_read_in_any_case_and_written_in_upper_case(
    broker: Server, connect: Connect, direction: str
) -> None:
    peer = connect(broker)
    peer.send({"direction": direction, "type": "question", "key": 1})

    assert [frame["direction"] for frame in (peer.next(), peer.next(), peer.next())] == [
        "PARTIAL",
        "PARTIAL",
        "REPLY",
    ]


def test_the_server_gives_a_request_without_a_key_a_version_4_uuid(broker: Server, connect: Connect) -> None:
    import uuid

    peer = connect(broker)
    peer.send({"direction": "REQUEST", "type": "ask me", "key": "k", "ask": {"kind": "ok"}})
    asked = peer.next()

    assert asked["direction"] == "REQUEST"
    assert asked["kind"] == "ok"
    assert uuid.UUID(asked["key"]).version == 4


@pytest.mark.parametrize(
    "key", ["k", "", 0, 7, 1.5, None, False, True, {"a": [1]}, [1], "x" * 60_000, "\ud800é"]
)
def test_any_key_comes_back_as_it_was(broker: Server, connect: Connect, key: Any) -> None:
    peer = connect(broker)
    peer.send({"direction": "REQUEST", "type": "question", "key": key})

    frames = [peer.next(), peer.next(), peer.next()]

    assert [frame["key"] for frame in frames] == [key] * 3
    assert [type(frame["key"]) for frame in frames] == [type(key)] * 3


def test_a_binary_frame_holds_the_same_json(broker: Server, connect: Connect) -> None:
    peer = connect(broker)
    peer.send(b'{"direction":"REQUEST","type":"fail","key":"\xc3\xa9"}')

    assert peer.next() == {"message": "nope", "code": 7, "key": "é", "direction": "ERROR"}


def test_replies_come_as_they_are_ready(broker: Server, connect: Connect) -> None:
    peer = connect(broker)
    peer.send({"direction": "REQUEST", "type": "ask me", "key": "slow", "ask": {"key": "asked"}})
    assert peer.next()["key"] == "asked"
    peer.send({"direction": "REQUEST", "type": "fail", "key": "fast"})

    assert peer.next()["key"] == "fast"
    peer.send({"direction": "REPLY", "key": "asked"})
    assert peer.next()["key"] == "slow"


def test_types_that_are_numbers_are_their_text(broker: Server, connect: Connect) -> None:
    peer = connect(broker)
    for type in (5, 0, False, None, {"a": 1}):
        peer.send({"direction": "REQUEST", "type": type, "key": "k"})
        assert peer.next()["code"] == "unhandled"


def test_subprotocols_without_meaning_are_answered_with_the_first(broker: Server, connect: Connect) -> None:
    from websockets.typing import Subprotocol

    assert connect(broker, subprotocols=[Subprotocol("chat"), Subprotocol("x")]).socket.subprotocol == "chat"
    assert connect(broker).socket.subprotocol is None
