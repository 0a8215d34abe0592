"""Peers that are gone without a word: found within ping interval and timeout."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from functools import partial

import pytest

from tests.server.plain import Plain, PlainFactory, client_frame
from tests.services.waiting import until_equal

pytestmark = pytest.mark.once

SHORT = ("--ping-interval", "1", "--ping-timeout", "1")


@pytest.fixture(scope="module")
def short(plain_session: PlainFactory) -> Plain:
    return plain_session(*SHORT)


async def test_a_peer_that_answers_no_ping_is_dropped(short: Plain) -> None:
    raw = await short.raw("/told")
    assert await raw.read_frame() == (9, b"")
    start = time.monotonic()
    with pytest.raises(ConnectionError):
        await asyncio.wait_for(raw.reader.readexactly(1), 60)
    assert time.monotonic() - start > 0.9  # the timeout, behind the ping
    assert (await short.stats())["codes"][-1] == 1006
    await raw.close()


async def test_a_peer_that_answers_pings_stays(short: Plain) -> None:
    async with short.open("/echo") as client:
        await asyncio.sleep(2.8)
        await client.send("still here")
        assert await client.recv() == "still here"


async def open_writers(server: Plain) -> int:
    return int((await server.stats())["open_writers"])


async def test_a_peer_that_is_gone_while_its_handler_is_behind(plain: PlainFactory) -> None:
    server = plain(*SHORT)
    raw = await server.raw("/wait_to_read")
    raw.writer.write(client_frame(1, b"1") * 100_000)
    await until_equal(1, partial(open_writers, server))
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
    await asyncio.sleep(3)
    await server.stats("/go")
    raw.frame(1, b"done")
    while (frame := await raw.read_frame())[0] == 9:
        pass
    assert frame == (1, b"20000")
    await raw.close()
