"""Peers that are gone without a word: found within ping interval and timeout."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from functools import partial

import pytest

from tests.server.plain import Plain, PlainFactory, Raw, client_frame
from tests.services.waiting import until, until_equal

pytestmark = pytest.mark.once

SHORT = ("--ping-interval", "1", "--ping-timeout", "1")


async def test_a_peer_that_answers_no_ping_is_dropped(plain: PlainFactory) -> None:
    server = plain(*SHORT)
    start = time.monotonic()
    raw = await server.raw("/told")
    assert await raw.read_frame() == (9, b"")
    with pytest.raises(ConnectionError):
        await asyncio.wait_for(raw.reader.readexactly(1), 60)
    assert time.monotonic() - start > 1.9  # the interval, and the timeout behind it
    await until(partial(server.has_lost, 0))
    await raw.close()


async def test_a_peer_that_answers_pings_stays(plain: PlainFactory) -> None:
    server = plain("--ping-interval", "1", "--ping-timeout", "5")
    raw = await server.raw("/echo")
    start = time.monotonic()
    while time.monotonic() - start < 7:  # longer than interval and timeout
        assert await raw.read_frame() == (9, b"")
        raw.frame(10)
    raw.frame(1, b"still here")
    assert await read_behind_pings(raw) == (1, b"still here")
    await raw.close()


async def read_behind_pings(raw: Raw) -> tuple[int, bytes]:
    """The next frame that is no ping; pings are answered."""
    while (frame := await raw.read_frame())[0] == 9:
        raw.frame(10, frame[1])
    return frame


async def open_writers(server: Plain) -> int:
    return int((await server.stats())["open_writers"])


async def test_a_peer_that_is_gone_while_its_handler_is_behind(plain: PlainFactory) -> None:
    server = plain(*SHORT)
    raw = await server.raw("/wait_to_read")
    raw.writer.write(client_frame(1, b"%099d" % 1) * 100_000)
    await until(partial(server.has_stopped_reading, raw))
    assert await open_writers(server) == 1
    # A reset instead of an orderly end. Nothing is read from the peer, so only the ping's write finds out.
    raw.writer.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )
    raw.writer.transport.abort()
    await until_equal(0, partial(open_writers, server))


async def test_a_slow_handler_is_not_taken_for_a_dead_peer(plain: PlainFactory) -> None:
    server = plain(*SHORT)
    raw = await server.raw("/wait_to_read")
    raw.writer.write(b"".join(client_frame(1, b"%d" % number) for number in range(20_000)))
    raw.frame(1, b"done")
    for _ in range(4):  # each a second and more after the last, and none is answered
        assert await raw.read_frame() == (9, b"")
    await server.stats("/go")
    assert await read_behind_pings(raw) == (1, b"20000")
    await raw.close()
