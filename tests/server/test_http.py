"""HTTP beside the sockets: what the access log holds, and how large a request may be."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.server.plain import Plain, PlainFactory
from tests.services.ports import LOOPBACK

pytestmark = pytest.mark.once


async def test_the_access_log_holds_no_query_string(plain: PlainFactory, tmp_path: Path) -> None:
    log = tmp_path / "access"
    server = plain("--access-log", str(log))
    await server.stats("/stats?key=secret")
    async with server.open("/echo?token=secret"):
        pass
    await asyncio.sleep(0.1)
    text = log.read_text()
    assert "GET /stats" in text
    assert "WSCONNECTING /echo" in text
    assert "WSCONNECT /echo" in text
    assert "WSDISCONNECT /echo" in text
    assert "secret" not in text


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_without_end_is_refused(shared: Plain, chunked: bool) -> None:
    reader, writer = await asyncio.open_connection(LOOPBACK, shared.port)
    size = 17 * 2**20
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % size
    writer.write(b"POST /stats HTTP/1.1\r\nHost: test\r\n" + framing + b"\r\n\r\n")
    writer.write((b"%x\r\n" % size if chunked else b"") + bytes(size))
    assert b" 413 " in await asyncio.wait_for(reader.readline(), 10)
    writer.transport.abort()


async def test_nobody_but_a_trusted_proxy_sets_the_root_path(shared: Plain) -> None:
    assert (await shared.stats(**{"Daphne-Root-Path": "/elsewhere"}))["root_path"] == ""


async def test_an_exception_is_a_500_and_the_server_goes_on(shared: Plain) -> None:
    reader, writer = await asyncio.open_connection(LOOPBACK, shared.port)
    writer.write(b"GET /raise HTTP/1.1\r\nHost: test\r\n\r\n")
    assert b" 500 " in await asyncio.wait_for(reader.readline(), 10)
    writer.transport.abort()
    assert (await shared.stats())["pid"] == shared.pid
