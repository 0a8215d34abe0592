"""The closing handshake of the WebSocket's state machine, from both sides, by a given clock."""

from __future__ import annotations

import pytest

from switchboard_server.frames import BINARY, CLOSE, PING, TEXT
from switchboard_server.websocket import (
    CLOSE_LIMIT,
    CLOSE_TIMEOUT,
    SocketState,
)
from tests.server.driven import LEFT, Driven, client_close, turn
from tests.server.plain import client_frame

pytestmark = pytest.mark.once


# --- closing ----------------------------------------------------------------------------------------------


async def test_close_by_the_application():
    driven = Driven().opened()
    driven.send(type="websocket.close", code=4000, reason="enough")
    assert driven.sent() == [(CLOSE, b"\x0f\xa0enough")]
    assert (driven.received(), driven.connection.calls) == ([], [])

    driven.feed(client_frame(TEXT, b"under way") + client_close(4000))
    await turn()
    assert driven.received() == [(4000, "")]
    assert driven.connection.calls == ["close"]

    driven.websocket.connection_lost()
    assert (driven.websocket.state, driven.losses) == (SocketState.CLOSED, 1)
    assert driven.received() == [(4000, "")], "the disconnect is the same as often as it is asked for"
    assert driven.actions[-1] == "disconnected"


@pytest.mark.parametrize(
    ("frame", "received", "answer"),
    [
        pytest.param(client_close(1001, b"away"), (1001, "away"), b"\x03\xe9away", id="code and reason"),
        pytest.param(client_close(4999), (4999, ""), b"\x13\x87", id="own code"),
        pytest.param(client_frame(CLOSE), (1005, ""), b"", id="no status"),
    ],
)
async def test_close_by_the_peer_is_answered_with_its_code(
    frame: bytes, received: tuple[int, str], answer: bytes
):
    driven = Driven().opened()
    driven.feed(frame)
    await turn()

    assert driven.received() == [received]
    assert driven.sent() == [(CLOSE, answer)]
    assert driven.connection.calls == ["close"]


async def test_both_close_at_the_same_time():
    driven = Driven().opened()
    driven.send(type="websocket.close", code=4000)
    driven.feed(client_close(1001))
    driven.send(type="websocket.close", code=4001)
    await turn()

    assert driven.close_codes() == [4000]
    assert driven.received() == [(1001, "")]
    assert driven.connection.calls == ["close"]


@pytest.mark.parametrize(("error", "code"), [(None, 1000), (RuntimeError(), 1011)])
async def test_an_application_that_ends(error: Exception | None, code: int):
    driven = Driven().opened()
    driven.websocket.application_ended(error)

    assert driven.close_codes() == [code]


async def test_a_connection_that_just_ends():
    driven = Driven().opened()
    driven.feed(client_frame(TEXT, b"last") + b"\x81")
    driven.websocket.connection_lost()
    driven.send(type="websocket.send", text="dropped")
    driven.send(type="websocket.close")

    assert driven.received() == ["last", LEFT]
    assert (driven.sent(), driven.losses) == ([], 1)


async def test_nothing_is_sent_behind_the_close_frame():
    driven = Driven().opened()
    driven.send(type="websocket.close")
    driven.send(type="websocket.send", text="late")
    driven.feed(client_frame(PING))

    assert [opcode for opcode, _ in driven.sent()] == [CLOSE]


@pytest.mark.parametrize("secure", [False, True])
async def test_a_peer_that_does_not_answer_the_close_frame_is_dropped(secure: bool):
    driven = Driven(secure=secure).opened()
    driven.send(type="websocket.close", code=4000)
    driven.pass_time(CLOSE_TIMEOUT - 0.1)
    assert driven.connection.calls == []
    driven.pass_time(0.1)

    assert driven.connection.calls == ["end"]
    assert (driven.received(), driven.losses) == ([LEFT], 1)


async def test_a_peer_that_reads_nothing_is_reset():
    driven = Driven().opened()
    driven.connection.room = 0
    driven.send(type="websocket.close", code=4000)
    driven.pass_time(CLOSE_TIMEOUT)

    assert driven.connection.calls == ["abort"]


async def test_a_slow_peer_gets_the_close_frame():
    driven = Driven().opened()
    driven.connection.room = 10
    driven.send(type="websocket.send", bytes=bytes(100))
    driven.send(type="websocket.close", code=4000)
    driven.connection.acked = 5
    driven.pass_time(CLOSE_TIMEOUT)
    assert driven.connection.calls == [], "it reads on"

    driven.connection.acked = 10
    driven.connection.make_room(1000)
    driven.pass_time(CLOSE_TIMEOUT)
    assert driven.connection.calls == ["end"]
    assert driven.close_codes() == [4000]


async def test_a_peer_that_reads_on_and_on_is_reset_at_the_limit():
    driven = Driven().opened()
    driven.connection.room = 0
    driven.send(type="websocket.send", bytes=bytes(1000))
    driven.send(type="websocket.close", code=4000)
    waited = 0.0
    while not driven.connection.calls:
        driven.connection.acked += 1
        driven.pass_time(CLOSE_TIMEOUT)
        waited += CLOSE_TIMEOUT

    assert driven.connection.calls == ["abort"]
    assert CLOSE_LIMIT <= waited < CLOSE_LIMIT + CLOSE_TIMEOUT


async def test_an_abort_resets_and_counts_the_frames_thrown_away():
    driven = Driven().opened()
    driven.connection.room = 10
    for _ in range(3):
        driven.send(type="websocket.send", bytes=bytes(100))

    assert driven.websocket.writer.abort() == 2, "the first has begun"
    assert driven.connection.calls == ["abort"]
    driven.websocket.connection_lost()
    assert driven.websocket.writer.abort() == 0


async def test_an_abort_behind_a_close_keeps_the_close_frame():
    driven = Driven().opened()
    driven.connection.room = 10
    for _ in range(3):
        driven.send(type="websocket.send", bytes=bytes(100))
    driven.websocket.writer.close(4100, "reader too slow")

    assert driven.websocket.writer.abort() == 2
    assert driven.connection.calls == []
    driven.connection.make_room(1000)
    assert driven.sent() == [(BINARY, bytes(100)), (CLOSE, b"\x10\x04reader too slow")]
