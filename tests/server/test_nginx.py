"""The site of `deploy/nginx.conf` in front of our server: both read every request in the same way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest
from websockets.asyncio.client import connect

from tests.server.hostile import LAST, REFUSED, SERVED, exchange
from tests.server.plain import Plain, PlainFactory, hang_up
from tests.services.nginx import Nginx, find_nginx
from tests.services.ports import LOOPBACK

pytestmark = pytest.mark.once

ANSWER = b'"path": "'
"""In every answer of the application."""
REFUSED_BY_NGINX = {"no host", "an asterisk for OPTIONS", "spaces around a length"}


@pytest.fixture(scope="module")
def behind(plain_session: PlainFactory) -> Plain:
    """The server that trusts its proxy."""
    return plain_session("--trusted-proxies", LOOPBACK)


@pytest.fixture(scope="module")
def nginx(behind: Plain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    if find_nginx() is None:
        pytest.skip("NGINX IN FRONT OF THE SERVER IS NOT TESTED: it is not installed (make test installs it)")
    with Nginx(tmp_path_factory.mktemp("nginx"), behind.port) as nginx:
        yield nginx


async def answered(server: Plain) -> int:
    """Requests that the application has answered, with the one that asks."""
    return int((await server.stats())["answered"])


@pytest.mark.parametrize("sent", [row[0] for row in REFUSED.values()], ids=REFUSED)
async def test_the_application_sees_no_request_that_nginx_does_not_see(
    nginx: Nginx, behind: Plain, sent: bytes
) -> None:
    """nginx refuses most of them itself, and mends some: a line that ends with LF comes to us with CRLF."""
    before = await answered(behind)
    answers = await exchange(nginx.port, sent + LAST * 2)  # nginx takes one for the rest of some trailers

    assert answers
    assert answers.count(ANSWER) == await answered(behind) - before - 1


@pytest.mark.parametrize("name", SERVED)
async def test_what_is_served_alone_is_served_behind_nginx(nginx: Nginx, name: str) -> None:
    answers = await exchange(nginx.port, SERVED[name] + LAST)

    assert answers.count(ANSWER) == (0 if name in REFUSED_BY_NGINX else 2), answers


async def test_a_body_in_chunks_comes_through_as_it_is_sent(nginx: Nginx) -> None:
    """The site does not keep bodies: the application is asked for its answer before the body has ended."""
    reader, writer = await asyncio.open_connection(LOOPBACK, nginx.port)
    writer.write(b"POST /early HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n")
    part = b"%x\r\n%b\r\n" % (2**17, bytes(2**17))
    writer.write(part)
    assert b" 200 " in await asyncio.wait_for(reader.readline(), 60)
    await hang_up(writer)


async def test_a_body_that_is_too_large_is_refused_by_one_of_them(nginx: Nginx) -> None:
    for framing in (b"Content-Length: 99999999", b"Transfer-Encoding: chunked"):
        body = b"" if framing.startswith(b"C") else b"%x\r\n%b" % (2**25, bytes(2**23))
        request = b"POST /stats HTTP/1.1\r\nHost: test\r\n" + framing + b"\r\n\r\n" + body
        assert b" 413 " in (await exchange(nginx.port, request)).partition(b"\r\n")[0]


async def test_a_socket_and_its_address_come_through(nginx: Nginx) -> None:
    url = f"ws://{LOOPBACK}:{nginx.port}"
    forged = {"X-Forwarded-For": "192.0.2.7"}
    async with connect(f"{url}/whoami", local_addr=("127.0.0.2", 0), additional_headers=forged) as client:
        assert json.loads(await client.recv())["client"][0] == "127.0.0.2"
    async with connect(f"{url}/echo", compression=None) as client:
        await client.send("x" * 100_000)
        assert await client.recv() == "x" * 100_000
