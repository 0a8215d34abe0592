"""Requests that two servers could read differently, and requests that never end: each has one answer.

The requests, and the answers of other servers to them, are in `hostile.py`.
"""

from __future__ import annotations

from typing import Any

import pytest

from switchboard_server.chunks import ChunkReader
from switchboard_server.request_head import RequestHead, RequestRefused
from tests.server.hostile import CHUNKED, LAST, NEXT, REFUSED, SERVED, exchange
from tests.server.plain import Plain

pytestmark = pytest.mark.once


@pytest.mark.parametrize(("sent", "status", "others"), REFUSED.values(), ids=REFUSED)
async def test_it_is_refused_and_nothing_behind_it_is_served(
    shared: Plain, sent: bytes, status: int, others: str
) -> None:
    answers = await exchange(shared.port, sent + NEXT)

    assert answers.startswith(b"HTTP/1.1 %d " % status), f"{answers[:200]!r}, but {others}"
    assert answers.count(b"HTTP/1.1 ") == 1
    assert b"\r\nConnection: close\r\n" in answers


@pytest.mark.parametrize("sent", SERVED.values(), ids=SERVED)
async def test_it_is_served_and_so_is_what_is_behind_it(shared: Plain, sent: bytes) -> None:
    answers = await exchange(shared.port, sent + LAST)

    assert answers.count(b"HTTP/1.1 200 OK\r\n") == 2, answers[:300]


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_wherever_it_is_cut(name: str) -> None:
    """The parts of a head alone; chunks are cut below."""
    sent, status, _ = REFUSED[name]
    head_end = sent.find(b"\r\n\r\n")
    if len(sent) > 1000 or 0 <= head_end < len(sent) - 4:
        sent = sent[: head_end + 4] if 0 <= head_end < 1000 else sent[:1000]
    outcomes = {outcome(sent[:cut], sent[cut:]) for cut in range(len(sent))}

    assert len(outcomes) == 1, outcomes
    assert outcomes <= {0, status}


def outcome(*parts: bytes) -> int:
    """The status of a head in parts; 0 where it is not refused."""
    head = RequestHead()
    try:
        for part in parts:
            if not head.complete:
                head.feed(part)
    except RequestRefused as refused:
        return refused.status
    return 0


CHUNK_STREAM = b"5;x=y\r\nhello\r\nA\r\n, 10 bytes\r\n0\r\nTrailer: x\r\n\r\nGET / HTTP/1.1\r\n"


def test_chunks_are_the_same_wherever_they_are_cut() -> None:
    for size in range(1, len(CHUNK_STREAM)):
        reader, body, rest = ChunkReader(), b"", b""
        for at in range(0, len(CHUNK_STREAM), size):
            part = CHUNK_STREAM[at : at + size]
            if reader.whole:
                rest += part
            else:
                body += reader.feed(part)
                rest += reader.rest
        assert (body, rest) == (b"hello, 10 bytes", b"GET / HTTP/1.1\r\n")


BROKEN_CHUNKS: list[Any] = [
    sent.partition(b"\r\n\r\n")[2] for sent, _, _ in REFUSED.values() if CHUNKED in sent
]


@pytest.mark.parametrize("body", [body for body in BROKEN_CHUNKS if 0 < len(body) < 100 and body[:1] != b"0"])
def test_broken_chunks_are_refused_wherever_they_are_cut(body: bytes) -> None:
    for cut in range(len(body)):
        reader = ChunkReader()
        with pytest.raises(RequestRefused):
            assert [reader.feed(part) for part in (body[:cut], body[cut:])]
