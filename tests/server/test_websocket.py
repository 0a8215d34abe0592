"""The WebSocket's state machine, fed by hand: no process, no reactor, a given clock."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard_server.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from switchboard_server.websocket import (
    MAX_MESSAGE,
    SocketLimits,
    SocketState,
)
from tests.server.driven import LEFT, Driven, client_close, turn
from tests.server.plain import client_frame

pytestmark = pytest.mark.once


# --- the handshake ----------------------------------------------------------------------------------------


async def test_an_accept_answers_101_and_opens():
    driven = Driven().opened()

    assert bytes(driven.connection.taken).startswith(b"HTTP/1.1 101 ")
    assert driven.websocket.state is SocketState.OPEN
    assert driven.websocket.deadline == 0.0
    assert driven.actions == ["connecting", "connected"]


async def test_bytes_behind_the_handshake_request_are_the_first_frames():
    driven = Driven(early=client_frame(TEXT, b"early")).opened()

    assert driven.received() == ["early"]


async def test_a_close_before_the_accept_is_403():
    driven = Driven()
    driven.send(type="websocket.close", code=4000)

    assert driven.http == [(403, "Forbidden")]
    assert driven.received() == [LEFT]
    assert (driven.websocket.state, driven.losses) == (SocketState.CLOSED, 1)
    assert driven.actions == ["connecting", "rejected"]


async def test_a_denial_is_passed_on_as_http():
    driven = Driven()
    driven.send(type="websocket.http.response.start", status=409, headers=[])
    assert (driven.websocket.state, driven.losses) == (SocketState.HANDSHAKE, 0)
    driven.send(type="websocket.http.response.body", body=b"no ", more_body=True)
    driven.send(type="websocket.http.response.body", body=b"seat")

    assert [message["type"] for message in driven.http] == [
        "http.response.start",
        "http.response.body",
        "http.response.body",
    ]
    assert (driven.websocket.state, driven.losses) == (SocketState.CLOSED, 1)


async def test_a_denial_that_has_begun_leaves_no_other_answer():
    driven = Driven()
    driven.send(type="websocket.http.response.start", status=409, headers=[])
    driven.send(type="websocket.close")

    assert len(driven.http) == 1
    with pytest.raises(ValueError, match="after the handshake"):
        driven.send(type="websocket.accept")


async def test_an_accept_that_is_not_allowed_leaves_the_handshake_open():
    driven = Driven()
    driven.rejects = ValueError("not offered")
    with pytest.raises(ValueError, match="not offered") as error:
        driven.send(type="websocket.accept", subprotocol="x")
    driven.websocket.application_ended(error.value)

    assert driven.http == [(500, "Internal Server Error")]
    assert (driven.websocket.state, driven.losses) == (SocketState.CLOSED, 1)


async def test_an_application_that_does_not_answer_in_time_is_503():
    driven = Driven(SocketLimits(connect_timeout=5))
    driven.pass_time(4.9)
    assert driven.http == []
    driven.pass_time(0.1)

    assert driven.http == [(503, "No answer from the application", (b"retry-after", b"5"))]
    assert driven.received() == [LEFT]
    driven.send(type="websocket.accept")  # too late, and no fault of the application's
    assert (driven.losses, bytes(driven.connection.taken)) == (1, b"")


async def test_an_answer_that_the_application_has_begun_and_does_not_end_is_cut_off_in_time():
    driven = Driven(SocketLimits(connect_timeout=5))
    driven.send(type="websocket.http.response.start", status=409)
    driven.pass_time(5)

    # Behind the beginning of another answer this one ends the connection.
    assert driven.http[-1] == (503, "No answer from the application", (b"retry-after", b"5"))
    assert driven.received() == [LEFT]


async def test_without_a_limit_the_application_may_take_its_time():
    driven = Driven(SocketLimits(connect_timeout=-1))
    driven.pass_time(10**6)

    assert driven.opened().http == []


async def test_a_client_that_leaves_before_the_accept():
    driven = Driven()
    driven.websocket.connection_lost()
    driven.send(type="websocket.accept")
    driven.send(type="websocket.http.response.start", status=409)

    assert driven.received() == [LEFT]
    assert (driven.losses, driven.http) == (1, [])


@pytest.mark.parametrize(
    ("before", "message"),
    [
        pytest.param([], {"type": "websocket.send", "text": "x"}, id="send before accept"),
        pytest.param(["accept"], {"type": "websocket.accept"}, id="second accept"),
        pytest.param(["accept"], {"type": "websocket.http.response.start", "status": 200}, id="late denial"),
        pytest.param(["accept"], {"type": "websocket.send"}, id="neither text nor bytes"),
        pytest.param(["accept"], {"type": "websocket.close", "code": 1005}, id="close 1005"),
        pytest.param(["accept"], {"type": "websocket.close", "code": 1006}, id="close 1006"),
        pytest.param(["accept"], {"type": "websocket.close", "code": 999}, id="close 999"),
        pytest.param(["accept"], {"type": "websocket.close", "code": 5000}, id="close 5000"),
        pytest.param([], {"type": "http.response.start"}, id="message of HTTP"),
    ],
)
async def test_a_wrong_message_is_an_error_and_changes_nothing(before: list[str], message: dict[str, Any]):
    driven = Driven()
    for kind in before:
        driven.send(type=f"websocket.{kind}")
    state = driven.websocket.state

    with pytest.raises(ValueError, match=r".+"):
        driven.send(**message)
    assert (driven.websocket.state, driven.sent(), driven.http) == (state, [], [])


# --- frames -----------------------------------------------------------------------------------------------

EURO = "€".encode()

# (what the peer sends, what the application receives, what the server answers)
STREAMS = {
    "text": (client_frame(TEXT, b"a"), ["a"], []),
    "binary": (client_frame(BINARY, b"\xff"), [b"\xff"], []),
    "empty": (client_frame(TEXT) + client_frame(BINARY), ["", b""], []),
    "length of two bytes": (client_frame(BINARY, b"x" * 126), [b"x" * 126], []),
    "length of eight bytes": (client_frame(BINARY, b"x" * 65536), [b"x" * 65536], []),
    "text in fragments, cut inside a character": (
        client_frame(TEXT, EURO[:1], final=False)
        + client_frame(CONTINUATION, EURO[1:2], final=False)
        + client_frame(CONTINUATION, EURO[2:]),
        ["€"],
        [],
    ),
    "binary in fragments, the last empty": (
        client_frame(BINARY, b"a", final=False) + client_frame(CONTINUATION),
        [b"a"],
        [],
    ),
    "ping": (client_frame(PING, b"who"), [], [(PONG, b"who")]),
    "pong": (client_frame(PONG, b"unasked"), [], []),
    "control frames between fragments": (
        client_frame(TEXT, b"a", final=False)
        + client_frame(PING, b"1")
        + client_frame(PONG)
        + client_frame(CONTINUATION, b"b"),
        ["ab"],
        [(PONG, b"1")],
    ),
    "close between fragments": (
        client_frame(TEXT, b"a", final=False) + client_close(1000),
        [(1000, "")],
        [(CLOSE, b"\x03\xe8")],
    ),
    "nothing after a close": (
        client_close(4001, b"bye") + client_frame(TEXT, b"a") + client_frame(PING),
        [(4001, "bye")],
        [(CLOSE, b"\x0f\xa1bye")],
    ),
}


@pytest.mark.parametrize("name", STREAMS)
async def test_streams_are_read(name: str):
    data, received, answers = STREAMS[name]
    driven = Driven().opened()
    driven.feed(data)

    assert driven.received() == received
    assert driven.sent() == answers


# Streams that break the protocol, and the code of the close frame they are answered with.
BROKEN = {
    "not masked": (b"\x81\x01a", 1002),
    "reserved bit": (b"\xc1\x80\0\0\0\0", 1002),
    "unknown opcode": (client_frame(3), 1002),
    "unknown control opcode": (client_frame(11), 1002),
    "ping of 126 bytes": (client_frame(PING, bytes(126)), 1002),
    "ping in fragments": (client_frame(PING, final=False), 1002),
    "continuation of nothing": (client_frame(CONTINUATION), 1002),
    "message inside a message": (client_frame(TEXT, final=False) + client_frame(TEXT), 1002),
    "length not in its shortest form": (b"\x81\xfe\0\x01\0\0\0\0a", 1002),
    "close of one byte": (client_frame(CLOSE, b"x"), 1002),
    "close with a code that is never sent": (client_close(1006), 1002),
    "close reason not UTF-8": (client_close(1000, b"\xff"), 1007),
    "text not UTF-8": (client_frame(TEXT, b"\xff"), 1007),
    "text with half a character": (client_frame(TEXT, EURO[:2]), 1007),
    "fragment not UTF-8": (client_frame(TEXT, b"\xff", final=False), 1007),
    "frame too large": (client_frame(BINARY, bytes(1025)), 1009),
    "header of a frame too large": (b"\x82\xfe\x04\x01\0\0\0\0", 1009),
    "message too large": (
        client_frame(BINARY, bytes(1000), final=False) + client_frame(CONTINUATION, bytes(1000)),
        1009,
    ),
}
SMALL = SocketLimits(max_frame=1024, max_message=1500)


@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_stream_is_closed_with_its_code(name: str):
    data, code = BROKEN[name]
    driven = Driven(SMALL).opened()
    driven.feed(data)
    await turn()
    driven.feed(client_frame(TEXT, b"more"))

    [(ended_with, reason)] = driven.received()
    assert (ended_with, driven.close_codes()) == (code, [code])
    assert reason
    assert driven.connection.calls == ["half_close"], "a reset could overtake the close frame"
    driven.websocket.connection_lost()
    assert driven.losses == 1


async def test_an_application_may_have_a_limit_of_its_own():
    driven = Driven(SMALL)
    driven.send(**{"type": "websocket.accept", MAX_MESSAGE: 2000})
    driven.feed(client_frame(BINARY, bytes(2000)))
    assert driven.received() == [bytes(2000)]

    driven.feed(client_frame(BINARY, bytes(2001)))
    await turn()
    assert driven.close_codes() == [1009]


async def test_messages_before_a_broken_frame_are_received_and_may_be_answered():
    driven = Driven().opened()

    async def application() -> None:
        message = await driven.websocket.receive()
        await driven.websocket.send({"type": "websocket.send", "text": message["text"]})

    task = asyncio.create_task(application())
    await turn()
    driven.feed(client_frame(TEXT, b"good") + client_frame(3))
    await turn()

    assert task.done()
    assert [opcode for opcode, _ in driven.sent()] == [TEXT, CLOSE]


# --- however the stream is cut ----------------------------------------------------------------------------


async def play(chunks: list[bytes]) -> tuple[list[Any], list[tuple[int, bytes]], list[str]]:
    """Messages of the application, frames to the peer and calls of the connection for a stream in parts."""
    driven = Driven(SMALL).opened()
    received: list[Any] = []
    for chunk in chunks:
        driven.feed(chunk)
        await turn()
        # The disconnect is received again as often as it is asked for.
        received += [one for one in driven.received() if not isinstance(one, tuple) or one not in received]
    return received, driven.sent(), driven.connection.calls


GOOD = [data for name, (data, _, _) in STREAMS.items() if "close" not in name and len(data) < 1000]
ENDS = [b"", client_close(4000, b"bye"), client_frame(CLOSE), *(data for data, _ in BROKEN.values())]


@given(
    st.lists(st.sampled_from(GOOD), max_size=6),
    st.sampled_from(ENDS),
    st.lists(st.integers(0, 2**16), max_size=20),
)
def test_a_stream_means_the_same_however_it_is_cut(parts: list[bytes], end: bytes, places: list[int]):
    stream = b"".join(parts) + end
    marks = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    chunks = [stream[start:stop] for start, stop in pairwise(marks)]

    async def both() -> None:
        assert await play(chunks) == await play([stream])

    asyncio.run(both())


async def test_a_stream_means_the_same_cut_at_every_place():
    stream = b"".join(STREAMS[name][0] for name in ("text", "control frames between fragments", "ping"))
    stream += client_close(4000, b"bye")
    whole = await play([stream])

    assert whole[0] == ["a", "ab", (4000, "bye")]
    for place in range(len(stream)):
        assert await play([stream[:place], stream[place:]]) == whole
    assert await play([stream[place : place + 1] for place in range(len(stream))]) == whole
    assert PONG in [opcode for opcode, _ in whole[1]]
