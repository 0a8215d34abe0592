"""Every call of a lane is answered, whatever the server answers, and whenever its connection ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from routing_app.core.streams.lane import Lane
from routing_app.core.streams.scripts import READ
from routing_app.core.streams.store import StoreUnavailable
from tests.services.ports import LOOPBACK

pytestmark = pytest.mark.once

Answers = Callable[[int], bytes]
"""What a connection, by its number, answers to scripts; after an error it ends."""
NUMBER = 7
USUAL = b":%d\r\n" % NUMBER


async def command(reader: asyncio.StreamReader) -> bytes:
    """The name of the next command; nothing at the end."""
    line = await reader.readline()
    parts = []
    for _ in range(int(line[1:] or 0)):
        size = int((await reader.readline())[1:])
        parts.append((await reader.readexactly(size + 2))[:-2])
    return parts[0].upper() if parts else b""


@asynccontextmanager
async def a_lane(answers: Answers) -> AsyncIterator[Lane]:
    """A lane to a server that knows no more of Redis than this."""
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        others = {b"INFO": b"$12\r\nrun_id:aaaaa\r\n", b"SCRIPT": b"$1\r\nx\r\n"}
        number = connections
        while name := await command(reader):
            answer = answers(number) if name == b"EVALSHA" else others.get(name, b"+OK\r\n")
            writer.write(answer)
            if answer.startswith(b"-"):
                break
        writer.close()

    server = await asyncio.start_server(serve, LOOPBACK, 0)
    lane = Lane(f"redis://{LOOPBACK}:{server.sockets[0].getsockname()[1]}")
    try:
        yield lane
    finally:
        await lane.stop()
        server.close()


async def outcomes(lane: Lane, count: int) -> list[object]:
    """The answers to calls that go out together, or their reasons."""
    asked = (lane.ask(READ, ("key",), (number,)) for number in range(count))
    async with asyncio.timeout(150):
        found = await asyncio.gather(*asked, return_exceptions=True)
    return [str(one) if isinstance(one, StoreUnavailable) else one for one in found]


@pytest.mark.parametrize("refusal", ["READONLY a replica", "NOSCRIPT none", "LOADING the data"])
async def test_a_call_that_was_not_run_is_made_again_though_the_connection_ends_behind_it(refusal: str):
    async with a_lane(lambda number: f"-{refusal}\r\n".encode() if number == 1 else USUAL) as lane:
        assert await outcomes(lane, 3) == [NUMBER, "no answer", "no answer"]
        assert await outcomes(lane, 2) == [NUMBER, NUMBER]


async def test_calls_are_answered_where_the_lane_itself_fails(monkeypatch: pytest.MonkeyPatch):
    async with a_lane(lambda number: USUAL) as lane:

        async def fails() -> object:
            raise AssertionError("a fault of the product")

        with monkeypatch.context() as patched:
            patched.setattr(lane._redis, "read", fails)
            assert await outcomes(lane, 3) == ["no answer"] * 3
        assert await outcomes(lane, 2) == [NUMBER, NUMBER]
