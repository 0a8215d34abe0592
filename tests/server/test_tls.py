"""TLS: a certificate of our own making, and the same bounds without a socket to write to."""

from __future__ import annotations

import asyncio
import json
import ssl
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from switchboard_server.asyncio_transport import reset
from switchboard_server.tls import self_signed, server_context
from tests.conftest import ServerFactory
from tests.server.plain import Plain, PlainFactory, closed_with
from tests.services.ports import LOOPBACK
from tests.services.waiting import until

MEGABYTE = 2**20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    self_signed(folder, ["localhost", LOOPBACK])
    return folder


@pytest.fixture
def context(folder: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=folder / "self-signed.pem")


@pytest.fixture
def secure(plain: PlainFactory, folder: Path) -> Plain:
    return plain("--cert", str(folder / "self-signed.pem"), "--key", str(folder / "self-signed.key"))


def open_secure(server: Plain, context: ssl.SSLContext, path: str) -> connect:
    url = f"wss://{LOOPBACK}:{server.port}{path}"
    return connect(url, ssl=context, compression=None, max_size=None, ping_interval=None, max_queue=1)


@pytest.mark.once
async def test_sockets_over_tls(secure: Plain, context: ssl.SSLContext) -> None:
    async with open_secure(secure, context, "/echo") as client:
        for message in ("", "hello", "x" * 65_536, b"\x00" * 500_000):
            await client.send(message)
            assert await client.recv() == message
    async with open_secure(secure, context, "/close?code=1012") as client:
        assert await closed_with(client) == 1012
    async with open_secure(secure, context, "/drained") as client:
        client.transport.pause_reading()  # more than the kernel has room for
        await client.send("go")

        async def has_written() -> bool:
            return bool((await ask(secure, context, "/stats"))["received"])

        await until(has_written)
        client.transport.resume_reading()
        for _ in range(80):
            await client.recv()
        assert await client.recv() == "True 0"


@pytest.mark.once
async def test_memory_is_bounded_over_tls(secure: Plain, context: ssl.SSLContext) -> None:
    before = secure.memory()
    async with open_secure(secure, context, "/offer?frames=1000"):

        async def is_closed() -> bool:
            assert secure.memory() - before < 20 * MEGABYTE
            return bool((await ask(secure, context, "/stats"))["codes"])

        await until(is_closed)


async def ask(server: Plain, context: ssl.SSLContext, path: str) -> Any:
    def get() -> Any:
        url = f"https://{LOOPBACK}:{server.port}{path}"
        with urllib.request.urlopen(url, context=context, timeout=60) as response:
            return json.load(response)

    return await asyncio.to_thread(get)


@pytest.mark.once
async def test_a_flood_is_held_back_over_tls(secure: Plain, context: ssl.SSLContext) -> None:
    """Of 60 MB: the kernel takes some, and how much depends on when its buffers grow."""
    before = secure.memory()
    sent = 0
    async with open_secure(secure, context, "/wait_to_read") as client:

        async def flood() -> None:
            nonlocal sent
            for sent in range(1, 20_001):
                await client.send(f"{sent - 1:02999d}")

        async def stands_still() -> bool:
            earlier = sent
            for _ in range(10):
                await ask(secure, context, "/stats")
            return 0 < sent == earlier

        sending = asyncio.create_task(flood())
        await until(stands_still)
        assert not sending.done()
        assert secure.memory() - before < 5 * MEGABYTE
        await ask(secure, context, "/go")
        await sending
        await client.send("done")
        assert await client.recv() == "20000"


@pytest.mark.once
async def test_the_product_makes_its_certificate_and_keeps_it(server: ServerFactory) -> None:
    first = server(HTTPS="yes")
    pem = first.folder / "tls" / "self-signed.pem"
    context = ssl.create_default_context(cafile=pem)
    certificate = pem.read_bytes()
    async with connect(f"wss://{LOOPBACK}:{first.port}/ws", ssl=context) as client:
        await client.ping()
    assert (first.folder / "tls" / "self-signed.key").stat().st_mode & 0o777 == 0o600
    assert await asyncio.to_thread(first.stop) == 0
    first.start()
    assert pem.read_bytes() == certificate


@pytest.mark.once
def test_a_certificate_is_made_again_for_other_names(tmp_path: Path) -> None:
    cert, key = self_signed(tmp_path, ["localhost"])
    before = cert.read_bytes()
    assert self_signed(tmp_path, ["localhost"]) == (cert, key)
    assert cert.read_bytes() == before
    self_signed(tmp_path, ["switchboard.example"])
    assert cert.read_bytes() != before


@pytest.mark.once
def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    cert, _ = self_signed(tmp_path / "one", ["localhost"])
    _, key = self_signed(tmp_path / "two", ["localhost"])
    with pytest.raises(ValueError, match="is not the key"):
        server_context(str(cert), str(key))
    with pytest.raises(ValueError, match="no certificate"):
        server_context(str(key), str(key))


class Dropping(asyncio.Protocol):
    """Drops its connection when TLS has lost it; `ended` then has the error of that, or None."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.ended: asyncio.Future[AttributeError | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(b"hello")

    def connection_lost(self, error: Exception | None) -> None:
        try:
            reset(self.transport)
        except AttributeError as raised:
            self.ended.set_result(raised)
        else:
            self.ended.set_result(None)


@pytest.mark.once
async def test_a_connection_may_be_dropped_when_tls_has_lost_it_and_has_not_told(
    folder: Path, context: ssl.SSLContext
) -> None:
    own = server_context(str(folder / "self-signed.pem"), str(folder / "self-signed.key"))
    made = Dropping()
    server = await asyncio.get_running_loop().create_server(lambda: made, LOOPBACK, 0, ssl=own)
    async with server:
        hello, client = await asyncio.open_connection(*server.sockets[0].getsockname(), ssl=context)
        assert await hello.readexactly(5) == b"hello"
        client.transport.abort()
        assert await made.ended is None
    assert made.transport.get_extra_info("socket") is None
