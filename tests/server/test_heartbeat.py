"""Peers that are gone without a word: found within ping interval and timeout."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from contextlib import suppress
from functools import partial

import pytest

from tests.server.plain import Plain, PlainFactory, Raw, client_frame, handshake
from tests.services.ports import LOOPBACK
from tests.services.waiting import undisturbed, until, until_equal

pytestmark = pytest.mark.once

SHORT = ("--ping-interval", "1", "--ping-timeout", "1")
PING = b"\x89\0"


async def test_a_peer_that_answers_no_ping_is_dropped(plain: PlainFactory) -> None:
    server = plain(*SHORT)
    start = time.monotonic()
    assert await asyncio.to_thread(read_until_reset, server, "/told") == PING
    # The interval, and the timeout behind it. Time of the last frame is that of the last look, a quarter of
    # a second before at most.
    assert time.monotonic() - start > 1.7
    await until(partial(server.has_lost, 0))


def read_until_reset(server: Plain, path: str) -> bytes:
    """All frames for a client that answers nothing, until it is reset.

    A stream of asyncio would forget those that nobody has read by then.
    """
    received: list[bytes] = []
    with socket.create_connection((LOOPBACK, server.port), timeout=60) as own:
        own.sendall(handshake(path))
        with suppress(ConnectionResetError):
            while part := own.recv(1000):
                received.append(part)
            raise AssertionError("it has ended in order")
    return b"".join(received).partition(b"\r\n\r\n")[2]


async def test_a_peer_that_answers_pings_stays(plain: PlainFactory) -> None:
    server = plain("--ping-interval", "1", "--ping-timeout", "5")

    async def stays() -> None:
        raw = await server.raw("/echo")
        start = time.monotonic()
        while time.monotonic() - start < 7:  # longer than interval and timeout
            assert await raw.read_frame() == (9, b"")
            raw.frame(10)
        raw.frame(1, b"still here")
        assert await read_behind_pings(raw) == (1, b"still here")
        await raw.close()

    await undisturbed(stays, 3)


async def read_behind_pings(raw: Raw) -> tuple[int, bytes]:
    """The next frame that is no ping; pings are answered."""
    while (frame := await raw.read_frame())[0] == 9:
        raw.frame(10, frame[1])
    return frame


async def open_writers(server: Plain) -> int:
    return int((await server.stats())["open_writers"])


async def test_a_peer_that_is_gone_while_its_handler_is_behind(plain: PlainFactory) -> None:
    server = plain(*SHORT)
    # At once with the handshake: until its handler is behind, a peer has to answer pings.
    raw = await server.raw("/wait_to_read", client_frame(1, b"%099d" % 1) * 100_000)
    await until(partial(server.has_stopped_reading, raw))
    assert await open_writers(server) == 1
    # A reset instead of an orderly end. Nothing is read from the peer, so only the ping's write finds out.
    raw.writer.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )
    raw.writer.transport.abort()
    await until_equal(0, partial(open_writers, server))


async def test_a_slow_handler_is_not_taken_for_a_dead_peer(plain: PlainFactory) -> None:
    numbers = b"".join(client_frame(1, b"%d" % number) for number in range(20_000))

    async def is_heard() -> None:
        server = plain(*SHORT)
        raw = await server.raw("/wait_to_read", numbers + client_frame(1, b"done"))
        for _ in range(4):  # each a second and more after the last, and none is answered
            assert await raw.read_frame() == (9, b"")
        await server.stats("/go")  # from here on pings have to be answered
        assert await read_behind_pings(raw) == (1, b"20000")
        await raw.close()

    await undisturbed(is_heard, 1)
