"""The base consumer on real servers: ours, stock Daphne, uvicorn. The same cases, the same answers."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from routing_app.core import codes
from routing_app.core.codes import Close
from tests.services.databases import Databases
from tests.services.ports import LOOPBACK
from tests.services.server import DAPHNE, Server
from tests.services.waiting import until_equal

pytestmark = pytest.mark.once  # nothing of it reaches a store or another process

APPLICATION = "tests.core.probe_app:application"
RUNNERS = {
    "ours": ["switchboard_server", "-b", LOOPBACK, "-p"],
    "daphne": ["daphne", *DAPHNE, "-b", LOOPBACK, "-p"],
    "uvicorn": ["uvicorn", "--host", LOOPBACK, "--port"],
}


class ProbeServer(Server):
    """The probe application on one of the servers."""

    def __init__(self, folder: Path, options: dict[str, str], runner: str) -> None:
        super().__init__(folder, options, "daphne")
        self.runner = runner
        self._command = [sys.executable, "-m", *RUNNERS[runner], str(self.port), APPLICATION]

    def code(self, close: Close) -> int:
        """The code of a close on this server: ours can send any."""
        return close.code if self.runner == "ours" else close.portable_code


@pytest.fixture(scope="module", params=RUNNERS)
def probe(
    request: pytest.FixtureRequest, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProbeServer]:
    """A server for all cases of this module."""
    url = databases.create()
    options = {"DATABASE_URL": url, "REDIS_URL": settings.REDIS_URL, "MAX_OUTBOX_BYTES": "200000"}
    server = ProbeServer(tmp_path_factory.mktemp("probe"), options, request.param)
    try:
        server.start()
        yield server
    finally:
        server.close()
        databases.drop(url)


class Client:
    """One client; it knows its id."""

    def __init__(self, socket: ClientConnection, id: str) -> None:
        self.socket = socket
        self.id = id

    async def send(self, text: str | bytes) -> None:
        await self.socket.send(text)

    async def received(self) -> str:
        text = await asyncio.wait_for(self.socket.recv(), 60)
        assert isinstance(text, str)
        return text

    async def close_code(self) -> int | None:
        """Read until the close."""
        try:
            while True:
                await asyncio.wait_for(self.socket.recv(), 60)
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None

    async def stats(self) -> Any:
        await self.send("stats")
        return json.loads(await self.received())


Open = Callable[..., Any]


@pytest.fixture
async def enter(probe: ProbeServer) -> AsyncIterator[Open]:
    """Opens clients: `await enter()`; all leave with the test."""
    sockets: list[ClientConnection] = []

    async def enter(query: str = "", **options: Any) -> Client:
        options = {"ping_interval": None, "proxy": None, "compression": None, "open_timeout": 60, **options}
        socket = await connect(f"{probe.ws_url}/probe?{query}", **options)
        sockets.append(socket)
        id = await socket.recv()
        assert isinstance(id, str)
        return Client(socket, id)

    yield enter
    for socket in sockets:
        socket.transport.abort()


@pytest.fixture
async def watcher(enter: Open) -> Client:
    """A client that lives through the case."""
    client = await enter()
    assert isinstance(client, Client)
    await alone(client)
    return client


async def alone(watcher: Client) -> None:
    """Wait until nothing is left of any other connection."""
    await until_equal({"connections": 1, "addresses": 2, "seats": 1}, watcher.stats)


async def test_frames_come_back_in_order(watcher: Client):
    for number in range(300):
        await watcher.send(f"echo {number} ü €")

    assert [await watcher.received() for _ in range(300)] == [f"{number} ü €" for number in range(300)]


async def test_characters_without_utf_8_are_sent_as_a_question_mark(watcher: Client):
    await watcher.send("surrogate")

    assert await watcher.received() == "a?b"
    await watcher.send("echo on")
    assert await watcher.received() == "on"


async def test_a_handler_that_fails_ends_its_connection_and_leaves_nothing(
    probe: ProbeServer, watcher: Client, enter: Open
):
    client = await enter()
    await client.send("fail")

    assert await client.close_code() == probe.code(codes.INTERNAL)
    await alone(watcher)


@pytest.mark.parametrize(
    ("query", "status"), [("refuse", 403), ("fail-in-admit", 503), ("fail-in-opened", 503)]
)
async def test_a_handshake_that_fails_is_answered_at_once_and_leaves_nothing(
    probe: ProbeServer, watcher: Client, enter: Open, query: str, status: int
):
    """A plain Daphne has no other word than 403."""
    with pytest.raises(InvalidStatus) as refused:
        await enter(query)

    response = refused.value.response
    assert response.status_code == (403 if probe.runner == "daphne" else status)
    assert response.headers.get("Retry-After") == ("5" if response.status_code == 503 else None)
    await alone(watcher)


@pytest.mark.parametrize(
    ("frame", "close"),
    [
        (b"binary", codes.UNSUPPORTED_DATA),
        ("echo " + "x" * 65532, codes.TOO_BIG),
        ("echo " + "é" * 32766, codes.TOO_BIG),
        (b"x" * 65537, codes.TOO_BIG),
    ],
    ids=["binary", "big", "big in bytes", "big binary"],
)
async def test_a_frame_that_is_not_taken(
    probe: ProbeServer, watcher: Client, enter: Open, frame: str | bytes, close: Close
):
    client = await enter()
    await client.send(frame)

    assert await client.close_code() == probe.code(close)
    await alone(watcher)


async def test_the_largest_frame_is_taken(watcher: Client):
    text = "x" * (65536 - len("echo "))
    await watcher.send(f"echo {text}")

    assert await watcher.received() == text


async def test_an_operator_ends_a_connection_by_its_id(probe: ProbeServer, watcher: Client, enter: Open):
    client = await enter()
    await watcher.send(f"kick {client.id}")

    assert await client.close_code() == codes.KICKED.code
    await alone(watcher)


@pytest.mark.parametrize("origin", [None, "http://127.0.0.1:{port}"])
async def test_origins_that_may_open(probe: ProbeServer, enter: Open, origin: str | None):
    await enter(origin=origin and origin.format(port=probe.port))


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1", "http://127.0.0.1.evil.example:{port}"]
)
async def test_origins_that_may_not(probe: ProbeServer, enter: Open, origin: str):
    with pytest.raises(InvalidStatus) as refused:
        await enter(origin=origin.format(port=probe.port))

    assert refused.value.response.status_code == 403


async def test_no_query_string_is_in_the_log(probe: ProbeServer, watcher: Client, enter: Open):
    """Tokens and keys travel there."""
    secret = secrets.token_hex(8)
    await enter(f"RegisterToken={secret}")
    with pytest.raises(InvalidStatus):
        await enter(f"key={secret}", origin="http://evil.example")
    with pytest.raises(InvalidStatus):
        await connect(f"{probe.ws_url}/nothing?key={secret}", proxy=None)
    await watcher.send("fail")
    await watcher.close_code()

    assert "in a handler" in probe.log_text()
    assert secret not in probe.log_text()


async def test_a_path_that_nobody_serves(probe: ProbeServer):
    with pytest.raises(InvalidStatus) as refused:
        await connect(f"{probe.ws_url}/nothing", proxy=None)

    assert refused.value.response.status_code == 403


async def test_a_crowd_that_vanishes_at_once_leaves_nothing(watcher: Client, enter: Open):
    crowd = await asyncio.gather(*[enter() for _ in range(100)])
    assert (await watcher.stats())["connections"] == 101
    for client in crowd:
        client.socket.transport.abort()

    await alone(watcher)


async def test_one_message_reaches_everybody_once(watcher: Client, enter: Open):
    crowd = [watcher, *await asyncio.gather(*[enter() for _ in range(50)])]
    for number in range(20):
        await watcher.send(f"publish {number}")

    for client in crowd:
        assert [await client.received() for _ in range(20)] == [str(number) for number in range(20)]


async def test_a_reader_that_stops_slows_nobody_and_is_ended(
    probe: ProbeServer, watcher: Client, enter: Open
):
    slow = await enter(max_queue=1)
    slow.socket.transport.pause_reading()
    await watcher.send(f"flood {slow.id} 2000")
    await watcher.send("echo still served")

    assert await watcher.received() == "still served"
    # Stock Daphne takes whatever it is given and shows nobody what it holds: there nothing is noticed.
    if probe.runner != "daphne":
        await alone(watcher)
