"""Bounds of the WebSocket's state machine: what waits to be read or sent, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from switchboard_server.frames import BINARY, PING, PONG, TEXT
from switchboard_server.receive_queue import MAX_BYTES, MAX_MESSAGES
from switchboard_server.websocket import (
    HIGH_WATER,
    MAX_PONGS,
    SocketLimits,
)
from tests.server.driven import LEFT, Driven, client_close, turn
from tests.server.plain import client_frame

pytestmark = pytest.mark.once


# --- bounds -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "fits"), [(1, MAX_MESSAGES), (MAX_BYTES // 4, 4)])
async def test_reading_pauses_while_the_application_is_behind(size: int, fits: int):
    driven = Driven().opened()
    frame = client_frame(BINARY, bytes(size))
    driven.feed(frame * fits)
    assert not driven.connection.reading()
    driven.feed(frame)
    assert driven.unread == len(frame)

    for _ in range(fits // 2 - 1):
        assert await driven.websocket.receive()
    assert not driven.connection.reading(), "it goes on once half of the queue is free"
    assert await driven.websocket.receive()
    assert driven.connection.reading()
    assert len(driven.received()) == fits // 2 + 1


async def test_frames_behind_a_full_queue_are_kept_in_order():
    driven = Driven().opened()
    numbers = [str(number) for number in range(3 * MAX_MESSAGES)]
    driven.feed(b"".join(client_frame(TEXT, number.encode()) for number in numbers))

    assert driven.received() == numbers
    assert driven.connection.reading()


async def test_a_close_frame_behind_a_full_queue_is_seen_once_the_application_has_caught_up():
    driven = Driven().opened()
    driven.feed(client_frame(TEXT, b"x") * MAX_MESSAGES + client_close(1001))
    assert driven.sent() == []

    assert driven.received() == ["x"] * MAX_MESSAGES + [(1001, "")]
    assert driven.close_codes() == [1001]


async def test_a_close_from_this_side_reads_on_for_its_answer():
    driven = Driven().opened()
    driven.feed(client_frame(TEXT, b"x") * (MAX_MESSAGES + 5))
    assert not driven.connection.reading()
    driven.send(type="websocket.close", code=4000)
    assert driven.connection.reading()

    driven.feed(client_close(4000))
    await turn()
    assert driven.connection.calls == ["close"]
    assert driven.received() == ["x"] * MAX_MESSAGES + [(4000, "")]


async def test_received_frames_are_kept_beyond_the_loss():
    driven = Driven().opened()
    driven.feed(client_frame(TEXT, b"x") * MAX_MESSAGES)
    driven.websocket.connection_lost()

    assert driven.received() == ["x"] * MAX_MESSAGES + [LEFT]


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("rescue", ["room", "loss"])
async def test_a_send_waits_while_the_peer_is_far_behind(secure: bool, rescue: str):
    driven = Driven(secure=secure).opened()
    driven.connection.room = 0
    sending = asyncio.create_task(
        driven.websocket.send({"type": "websocket.send", "bytes": bytes(HIGH_WATER + 1)})
    )
    await turn()
    assert not sending.done()

    if rescue == "room":
        driven.connection.make_room(2**20)
    else:
        driven.websocket.connection_lost()
    await turn()
    assert sending.done()
    assert driven.websocket.writer.held() == 0


@pytest.mark.parametrize("secure", [False, True])
async def test_frames_keep_their_order_however_little_the_kernel_takes(secure: bool):
    driven = Driven(secure=secure).opened()
    driven.connection.room = 0
    sent = [bytes([number]) * 700 for number in range(100)]
    for data in sent:
        driven.connection.make_room(number % 3 if (number := data[0]) else 1)
        driven.send(type="websocket.send", bytes=data)
    while driven.websocket.writer.held():
        driven.connection.make_room(333)
    driven.send(type="websocket.send", text="direct again")
    driven.connection.make_room(2**20)

    assert driven.sent() == [*((BINARY, data) for data in sent), (TEXT, b"direct again")]


@pytest.mark.parametrize("secure", [False, True])
async def test_of_the_pings_of_a_peer_that_does_not_read_no_more_than_a_few_are_answered(secure: bool):
    driven = Driven(secure=secure).opened()
    driven.connection.room = 0
    driven.send(type="websocket.send", bytes=bytes(driven.connection.FULL + 1))
    before = driven.websocket.writer.held()
    for number in range(10 * MAX_PONGS):
        driven.feed(client_frame(PING, b"%0125d" % number))
    assert driven.websocket.writer.held() - before <= MAX_PONGS * 127
    assert driven.connection.reading()

    driven.connection.make_room(2**20)
    answered = [int(data) for opcode, data in driven.sent() if opcode == PONG]
    assert answered == [*range(MAX_PONGS), 10 * MAX_PONGS - 1], "the last one of them is"
    driven.feed(client_frame(PING, b"reads") * 2 * MAX_PONGS)
    assert driven.sent()[-2 * MAX_PONGS :] == [(PONG, b"reads")] * 2 * MAX_PONGS


async def test_the_answer_to_a_ping_keeps_its_place_in_what_a_peer_reads_late():
    driven = Driven().opened()
    driven.connection.room = 0
    driven.send(type="websocket.send", bytes=bytes(HIGH_WATER + 1))
    driven.feed(client_frame(PING, b"alive?"))
    driven.send(type="websocket.send", text="behind it")
    driven.connection.make_room(2**20)

    assert driven.sent()[1:] == [(PONG, b"alive?"), (TEXT, b"behind it")]


async def test_a_ping_that_waits_for_its_answer_is_forgotten_with_the_connection():
    driven = Driven().opened()
    driven.connection.room = 0
    driven.send(type="websocket.send", text="x")
    driven.feed(client_frame(PING, b"alive?") * (MAX_PONGS + 1))
    driven.websocket.connection_lost()
    driven.connection.make_room(2**20)

    assert driven.sent() == []


async def test_a_write_to_a_lost_connection_resets_it():
    driven = Driven().opened()
    driven.connection.broken = True
    driven.send(type="websocket.send", text="x")
    driven.send(type="websocket.send", text="y")

    assert driven.connection.calls == ["abort"]


# --- time -------------------------------------------------------------------------------------------------

PINGED = SocketLimits(ping_interval=20, ping_timeout=30, lifetime=-1)


async def test_a_silent_peer_is_pinged_and_its_pong_is_enough():
    driven = Driven(PINGED).opened()
    driven.pass_time(19.9)
    assert driven.sent() == []
    driven.pass_time(0.1)
    assert driven.sent() == [(PING, b"")]

    driven.now += 29.9
    driven.feed(client_frame(PONG))
    driven.pass_time(0.1)
    assert driven.connection.calls == []
    driven.pass_time(20)
    assert driven.sent() == [(PING, b"")] * 2


async def test_any_frame_is_a_sign_of_life():
    driven = Driven(PINGED).opened()
    for _ in range(10):
        driven.pass_time(15)
        driven.feed(client_frame(TEXT, b"x"))
        assert driven.received() == ["x"]

    assert driven.sent() == []


async def test_a_peer_that_does_not_answer_its_ping_is_dropped():
    driven = Driven(PINGED).opened()
    driven.pass_time(20)
    driven.pass_time(29.9)
    assert driven.connection.calls == []
    driven.pass_time(0.1)

    assert driven.connection.calls == ["abort"]
    assert driven.sent() == [(PING, b"")]


async def test_while_reading_is_paused_a_missing_pong_means_nothing():
    driven = Driven(PINGED).opened()
    driven.feed(client_frame(TEXT, b"x") * MAX_MESSAGES)
    for _ in range(10):
        driven.pass_time(30)

    assert driven.connection.calls == []
    assert driven.sent() == [(PING, b"")] * 10


class Clock:
    """A loop that calls what is due, late or not."""

    def __init__(self, driven: Driven) -> None:
        self._driven = driven
        self._due: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self._driven.now

    def call_later(self, delay: float, call: Callable[..., None], *arguments: Any) -> None:
        self._due.append((self.time() + delay, partial(call, *arguments)))

    def beat(self, late: float = 0.0) -> None:
        """Call what is due next, so many seconds late."""
        due, call = self._due.pop()
        self._driven.now = due + late
        call()


async def test_who_waited_while_the_server_stood_still_is_not_late():
    driven = Driven(SocketLimits(connect_timeout=5))
    clock: Any = Clock(driven)
    driven.heartbeat.start(clock)
    clock.beat()
    clock.beat(late=60)
    for _ in range(2):
        clock.beat()
    assert driven.http == []
    clock.beat()
    assert [answer[0] for answer in driven.http] == [503]


async def test_a_server_that_is_always_late_finds_those_that_are_late():
    driven = Driven(SocketLimits(connect_timeout=5))
    clock: Any = Clock(driven)
    driven.heartbeat.start(clock)
    for _ in range(4):
        clock.beat(late=60)
    assert driven.http == []
    clock.beat(late=60)

    assert [answer[0] for answer in driven.http] == [503]


async def test_a_ping_is_not_missed_whose_answer_the_server_had_no_time_to_read():
    driven = Driven(PINGED).opened()
    clock: Any = Clock(driven)
    driven.heartbeat.start(clock)
    while not driven.sent():
        clock.beat()
    clock.beat(late=60)
    assert driven.connection.calls == []
    driven.feed(client_frame(PONG))
    for _ in range(19):
        clock.beat()

    assert driven.connection.calls == []


async def test_a_peer_that_reads_on_gets_the_close_frame_though_the_server_stood_still():
    """Longer than such a peer is waited for at the most."""
    driven = Driven().opened()
    driven.connection.room = 0
    driven.send(type="websocket.send", bytes=bytes(1000))
    driven.send(type="websocket.close", code=4000)
    clock: Any = Clock(driven)
    driven.heartbeat.start(clock)
    clock.beat()
    clock.beat(late=60)
    for _ in range(5):
        driven.connection.acked += 1
        clock.beat()
    assert driven.connection.calls == []
    driven.connection.make_room(2000)

    assert driven.close_codes() == [4000]


async def test_without_an_interval_nobody_is_pinged():
    driven = Driven(SocketLimits(ping_interval=0, lifetime=-1)).opened()
    driven.pass_time(10**6)

    assert driven.sent() == []


async def test_a_socket_that_is_too_old_is_closed_with_1000():
    driven = Driven(SocketLimits(ping_interval=0, lifetime=100)).opened()
    driven.pass_time(99)
    assert driven.sent() == []
    driven.pass_time(1)

    assert driven.close_codes() == [1000]
