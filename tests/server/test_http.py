"""HTTP beside the sockets: what the access log holds, and how large a request may be."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from switchboard_server.access_log import AccessLog
from tests.server.plain import Plain, PlainFactory, Raw, hang_up
from tests.services.ports import LOOPBACK
from tests.services.waiting import until

pytestmark = pytest.mark.once


async def test_the_access_log_holds_no_query_string(plain: PlainFactory, tmp_path: Path) -> None:
    log = tmp_path / "access"
    server = plain("--access-log", str(log))
    await server.stats("/stats?key=secret")
    whole = b"GET http://user:secret@test/whole?key=secret HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
    assert (await raw_exchange(server, whole)).startswith(b"HTTP/1.1 200 ")
    async with server.open("/echo?token=secret"):
        pass
    await until(lambda: "WSDISCONNECT /echo" in log.read_text())
    text = log.read_text()
    assert "GET /stats" in text
    assert "GET http://test/whole" in text
    assert "WSCONNECTING /echo" in text
    assert "WSCONNECT /echo" in text
    assert "secret" not in text


def test_an_access_log_that_cannot_be_written_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    details = {"method": "GET", "path": "/", "status": 200, "size": 2, "client": "192.0.2.1:1"}
    with Path("/dev/full").open("w", 1) as full:
        log = AccessLog(full)
        log("http", "complete", details)
        log("http", "complete", details)
        with suppress(OSError):
            full.close()
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_without_end_is_refused(shared: Plain, chunked: bool) -> None:
    reader, writer = await asyncio.open_connection(LOOPBACK, shared.port)
    size = 17 * 2**20
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % size
    writer.write(b"POST /stats HTTP/1.1\r\nHost: test\r\n" + framing + b"\r\n\r\n")
    writer.write((b"%x\r\n" % size if chunked else b"") + bytes(size))
    assert b" 413 " in await asyncio.wait_for(reader.readline(), 60)
    writer.transport.abort()


async def test_nobody_but_a_trusted_proxy_sets_the_root_path(shared: Plain) -> None:
    assert (await shared.stats(**{"Daphne-Root-Path": "/elsewhere"}))["root_path"] == ""


async def test_an_exception_is_a_500_and_the_server_goes_on(shared: Plain) -> None:
    reader, writer = await asyncio.open_connection(LOOPBACK, shared.port)
    writer.write(b"GET /raise HTTP/1.1\r\nHost: test\r\n\r\n")
    assert b" 500 " in await asyncio.wait_for(reader.readline(), 60)
    writer.transport.abort()
    assert (await shared.stats())["pid"] == shared.pid


async def raw_exchange(server: Plain, *parts: bytes) -> bytes:
    """All that comes until the server closes the connection; parts are sent in packets of their own."""
    reader, writer = await asyncio.open_connection(LOOPBACK, server.port)
    for part in parts:
        writer.write(part)
        await asyncio.sleep(0.02)
    answers = await asyncio.wait_for(reader.read(), 60)
    await hang_up(writer)
    return answers


async def test_requests_in_one_segment_are_answered_in_order(shared: Plain) -> None:
    requests = b"".join(b"GET /told%d HTTP/1.1\r\nHost: test\r\n\r\n" % number for number in range(50))
    last = b"HEAD /stats HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
    answers = await raw_exchange(shared, requests + last)

    assert answers.count(b"HTTP/1.1 200 OK\r\n") == 51
    paths = [part.partition(b'"')[0] for part in answers.split(b'"path": "')[1:]]
    assert paths == [b"/told%d" % number for number in range(50)]
    assert answers.endswith(b"\r\n\r\n"), "a HEAD has no body"


async def test_a_request_that_comes_byte_by_byte(shared: Plain) -> None:
    request = b"POST /stats HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: 2\r\n\r\nab"
    answers = await raw_exchange(shared, *(request[at : at + 1] for at in range(len(request))))

    assert answers.startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(
    ("version", "connection", "answer"),
    [
        (b"1.1", b"", b""),
        (b"1.1", b"Connection: close\r\n", b"\r\nConnection: close\r\n"),
        (b"1.1", b"Connection: keep-alive, Close\r\n", b"\r\nConnection: close\r\n"),
        (b"1.0", b"", b"\r\nConnection: close\r\n"),
        (b"1.0", b"Connection: keep-alive\r\n", b"\r\nConnection: keep-alive\r\n"),
    ],
)
async def test_a_connection_is_kept_as_its_client_wants_it(
    shared: Plain, version: bytes, connection: bytes, answer: bytes
) -> None:
    kept = answer != b"\r\nConnection: close\r\n"
    one = b"GET /stats HTTP/%b\r\nHost: test\r\n%b\r\n" % (version, connection)
    last = b"GET /stats HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
    answers = await raw_exchange(shared, one + last)

    assert answers.count(b"HTTP/1.1 200 OK\r\n") == 1 + kept
    assert answer in answers.partition(b"\r\n\r\n")[0] + b"\r\n"


@pytest.mark.parametrize(
    ("path", "method", "version", "expected"),
    [
        ("/stream", b"GET", b"1.1", b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"),
        ("/stream", b"GET", b"1.0", b"onetwo"),
        ("/stream", b"HEAD", b"1.1", b""),
        ("/empty", b"GET", b"1.1", b""),
        ("/unchanged", b"GET", b"1.1", b""),
    ],
)
async def test_how_bodies_of_responses_end(
    shared: Plain, path: str, method: bytes, version: bytes, expected: bytes
) -> None:
    line = b"%b %b HTTP/%b\r\nHost: test\r\nConnection: close\r\n\r\n" % (method, path.encode(), version)
    head, _, body = (await raw_exchange(shared, line)).partition(b"\r\n\r\n")

    assert body == expected
    assert (b"Transfer-Encoding: chunked" in head) == (expected[:1] == b"3")


@pytest.mark.parametrize("path", ["/short", "/long", "/break"])
async def test_a_response_that_is_not_whole_ends_the_connection(shared: Plain, path: str) -> None:
    """A client must not take it for a whole one: no last chunk, no further answer."""
    reader, writer = await asyncio.open_connection(LOOPBACK, shared.port)
    writer.write(b"GET %b HTTP/1.1\r\nHost: test\r\n\r\n" % path.encode())
    answer = b""
    with suppress(ConnectionError):
        while part := await asyncio.wait_for(reader.read(1000), 60):
            answer += part
    assert b"0\r\n\r\n" not in answer
    assert answer.count(b"HTTP/1.1") <= 1
    writer.transport.abort()


async def test_a_body_is_read_as_fast_as_the_application_receives_it(plain: PlainFactory) -> None:
    server = plain()
    raw = Raw(*await asyncio.open_connection(LOOPBACK, server.port))
    size = 15 * 2**20
    before = server.memory()
    head = b"POST /wait HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n" % size
    raw.writer.write(head + bytes(size))
    await until(partial(server.has_stopped_reading, raw))
    assert raw.unsent > size // 4
    assert server.memory() - before < 4 * 2**20
    await server.stats("/go")
    assert b" 200 " in await asyncio.wait_for(raw.reader.readline(), 60)
    await raw.close()


async def test_a_response_is_sent_as_fast_as_its_client_reads(plain: PlainFactory) -> None:
    server = plain()
    reader, writer = await asyncio.open_connection(LOOPBACK, server.port)
    before = server.memory()
    writer.write(b"GET /large HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
    received = len(await asyncio.wait_for(reader.read(2**20), 60))
    assert await server.peak() - before < 10 * 2**20
    while part := await asyncio.wait_for(reader.read(2**20), 60):
        received += len(part)
    assert received > 100 * 2**20
    await hang_up(writer)


async def test_an_application_hears_that_its_client_has_gone(shared: Plain) -> None:
    _, writer = await asyncio.open_connection(LOOPBACK, shared.port)
    before = await shared.stats()
    writer.write(b"GET /gone HTTP/1.1\r\nHost: test\r\n\r\n")
    await until(partial(shared.has_waiting, before["waiting"] + 1))
    writer.transport.abort()
    await until(partial(has_gone, shared, before["gone"] + 1))


async def has_gone(server: Plain, count: int) -> bool:
    """True when so many applications have heard that their client has gone."""
    return bool((await server.stats())["gone"] >= count)


async def test_a_client_that_ends_its_side_has_gone(shared: Plain) -> None:
    """It cannot be told from one that has ended; nginx and uvicorn take it so, too."""
    before = (await shared.stats())["gone"]
    reader, writer = await asyncio.open_connection(LOOPBACK, shared.port)
    writer.write(b"GET /gone HTTP/1.1\r\nHost: test\r\n\r\n")
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), 60) == b""
    await until(partial(has_gone, shared, before + 1))
    await hang_up(writer)


async def test_an_application_that_answers_nothing_is_a_500(shared: Plain) -> None:
    request = b"GET /nothing HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
    assert (await raw_exchange(shared, request)).startswith(b"HTTP/1.1 500 ")


@pytest.mark.parametrize("path", ["/break-out", "/break-out-name"])
async def test_a_header_that_would_break_out_of_its_line_is_a_500(shared: Plain, path: str) -> None:
    request = b"GET %b HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n" % path.encode()
    answer = await raw_exchange(shared, request)

    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"Injected" not in answer


async def test_an_application_that_takes_too_long_is_a_503(plain: PlainFactory) -> None:
    server = plain("--http-timeout", "1")
    request = b"GET /gone HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
    assert (await raw_exchange(server, request)).startswith(b"HTTP/1.1 503 ")
