"""Answers of receivers in all shapes of HTTP/1, and the calls that follow over the same connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from routing_app.core.outgoing.client import MAX_ANSWER_BYTES, Answer, Client
from routing_app.core.outgoing.failures import AnswerBroken
from tests.services.waiting import until

pytestmark = pytest.mark.once

SECONDS = 60.0
"""A limit for calls that hang, not a measure."""
OK = b"HTTP/1.1 200 OK\r\n"
WHOLE = {
    "a length": OK + b"content-length: 4\r\n\r\nbody",
    "chunks": OK + b"transfer-encoding: chunked\r\n\r\n1\r\nb\r\n3;x=y\r\nody\r\n0\r\nx-trailer: 1\r\n\r\n",
    "behind another one": b"HTTP/1.1 103 Early Hints\r\nx-a: no\r\n\r\n"
    + OK
    + b"content-length: 4\r\n\r\nbody",
    "lines without CR": b"HTTP/1.1 200 OK\ncontent-length: 4\n\nbody",
}
ENDS = {
    "until the end": OK + b"\r\nbody",
    "of HTTP/1.0": b"HTTP/1.0 200 OK\r\ncontent-length: 4\r\n\r\nbody",
    "that says so": OK + b"connection: close\r\ncontent-length: 4\r\n\r\nbody",
    "with something behind it": OK + b"content-length: 4\r\n\r\nbodyHTTP/1.1 410 Gone\r\n\r\n",
    "with garbage behind it": OK + b"content-length: 4\r\n\r\nbody\x00\x01",
}


class Script:
    """Answers each call by the same bytes, written one at a time where `slow`."""

    def __init__(self, answer: bytes, ends: bool, slow: bool = False) -> None:
        self.answer, self.ends, self.slow = answer, ends, slow
        self.connections = self.calls = 0
        self.url = ""
        self.serving: list[tuple[asyncio.Task[None] | None, asyncio.StreamWriter]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.serving.append((asyncio.current_task(), writer))
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n{}")
                self.calls += 1
                for at in range(0, len(self.answer), 1 if self.slow else len(self.answer)):
                    writer.write(self.answer[at : at + 1] if self.slow else self.answer)
                    await writer.drain()
                    await asyncio.sleep(0)
                if self.ends:
                    break
        except (asyncio.IncompleteReadError, OSError):
            pass
        writer.close()


@asynccontextmanager
async def scripted(answer: bytes, *, ends: bool = False, slow: bool = False) -> AsyncIterator[Script]:
    script = Script(answer, ends, slow)
    async with await asyncio.start_server(script.serve, "127.0.0.1", 0) as server:
        script.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        yield script
        for _, writer in script.serving:
            writer.transport.abort()
        await asyncio.gather(*[task for task, _ in script.serving if task is not None])


async def calls(script: Script, count: int) -> list[Answer]:
    """The answers to so many calls, one after the other."""
    client = Client(private=True)
    try:
        return [await client.post(script.url, b"{}", {}, SECONDS) for _ in range(count)]
    finally:
        await client.close()


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("name", WHOLE)
async def test_a_whole_answer_leaves_the_connection_to_the_next_call(name: str, slow: bool):
    async with scripted(WHOLE[name], slow=slow) as script:
        answers = await calls(script, 3)
    assert [(one.status, one.body, one.is_whole) for one in answers] == [(200, b"body", True)] * 3
    assert "x-a" not in answers[0].headers
    assert (script.calls, script.connections) == (3, 1)


@pytest.mark.parametrize("name", ENDS)
async def test_an_answer_that_ends_its_connection_is_whole_and_the_next_call_has_another_one(name: str):
    async with scripted(ENDS[name], ends=name == "until the end") as script:
        answers = await calls(script, 3)
    assert [(one.status, one.body, one.is_whole) for one in answers] == [(200, b"body", True)] * 3
    assert (script.calls, script.connections) == (3, 3)


async def test_a_header_that_comes_twice_is_a_list():
    async with scripted(OK + b"X-A: 1\r\nx-a: 2\r\nRetry-After: 7\r\ncontent-length: 0\r\n\r\n") as script:
        (answer,) = await calls(script, 1)
    assert (answer.headers["x-a"], answer.headers["retry-after"]) == ("1, 2", "7")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        OK + b"x-a: " + b"a" * MAX_ANSWER_BYTES,
        OK + b"content-length: 4\r\ncontent-length: 5\r\n\r\nbody",
        OK + b"transfer-encoding: chunked\r\n\r\nx\r\n",
    ],
)
async def test_what_is_not_an_answer_is_a_failure(answer: bytes):
    async with scripted(answer) as script:
        with pytest.raises(AnswerBroken, match="the answer is not HTTP"):
            await calls(script, 1)


async def test_an_answer_that_is_cut_off_is_a_failure():
    async with scripted(OK + b"content-length: 5\r\n\r\nbody", ends=True) as script:
        with pytest.raises(AnswerBroken, match="the connection was lost"):
            await calls(script, 1)


async def test_chunks_without_end_are_read_to_a_bound():
    async with scripted(OK + b"transfer-encoding: chunked\r\n\r\n" + b"1\r\nb\r\n" * 300_000) as script:
        (answer,) = await calls(script, 1)
    assert (answer.status, answer.is_whole, len(answer.body)) == (200, False, MAX_ANSWER_BYTES)


async def test_a_call_that_is_given_up_leaves_its_connection_to_nobody():
    """Its answer would be that of the next call."""
    async with scripted(OK + b"content-length: 4\r\n\r\nbo") as script:
        client = Client(private=True)
        for number in (1, 2):
            call = asyncio.ensure_future(client.post(script.url, b"{}", {}, SECONDS))
            await until(lambda number=number: script.connections == number)  # type: ignore[misc]
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        await client.close()
    assert script.connections == 2
