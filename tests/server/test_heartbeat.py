"""Peers that are gone without a word: found within ping interval and timeout."""

from __future__ import annotations

import asyncio
import socket
import struct
import time

import pytest

from tests.server.plain import Plain, PlainFactory, client_frame

pytestmark = pytest.mark.once

SHORT = ("--ping-interval", "1", "--ping-timeout", "1")


@pytest.fixture(scope="module")
def short(plain_session: PlainFactory) -> Plain:
    return plain_session(*SHORT)


async def test_a_peer_that_answers_no_ping_is_dropped(short: Plain) -> None:
    raw = await short.raw("/told")
    start = time.monotonic()
    assert await raw.read_frame() == (9, b"")
    with pytest.raises(ConnectionError):
        await asyncio.wait_for(raw.reader.readexactly(1), 10)
    # Interval and timeout, each seen up to a quarter of a second late, and room for a busy machine.
    assert 1.5 < time.monotonic() - start < 4
    assert (await short.stats())["codes"][-1] == 1006
    await raw.close()


async def test_a_peer_that_answers_pings_stays(short: Plain) -> None:
    async with short.open("/echo") as client:
        await asyncio.sleep(2.8)
        await client.send("still here")
        assert await client.recv() == "still here"


async def test_any_frame_is_a_sign_of_life(short: Plain) -> None:
    raw = await short.raw("/echo")
    for _ in range(7):
        await asyncio.sleep(0.4)
        raw.frame(1, b"x")
        assert await raw.read_frame() == (1, b"x")  # and no ping before it
    await raw.close()


async def test_a_peer_that_is_gone_while_its_handler_is_behind(plain: PlainFactory) -> None:
    server = plain(*SHORT)
    raw = await server.raw("/wait_to_read")
    raw.writer.write(client_frame(1, b"1") * 100_000)
    await asyncio.sleep(0.3)
    assert (await server.stats())["open_writers"] == 1
    # A reset instead of an orderly end. Nothing is read from the peer, so only the ping's write finds out.
    raw.writer.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )
    raw.writer.transport.abort()
    start = time.monotonic()
    while (await server.stats())["open_writers"]:
        assert time.monotonic() - start < 6
        await asyncio.sleep(0.1)


async def test_a_slow_handler_is_not_taken_for_a_dead_peer(plain: PlainFactory) -> None:
    server = plain(*SHORT)
    raw = await server.raw("/wait_to_read")
    raw.writer.write(b"".join(client_frame(1, b"%d" % number) for number in range(20_000)))
    await asyncio.sleep(3)
    await server.stats("/go")
    raw.frame(1, b"done")
    while (frame := await raw.read_frame())[0] == 9:
        pass
    assert frame == (1, b"20000")
    await raw.close()
