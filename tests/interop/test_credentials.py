"""Unmodified Socket.IO clients with access tokens: each right and its absence, a bad token, and its end."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Final

import pytest
import pytest_asyncio

from tests.interop import puppet
from tests.interop.puppet import Client, Puppet
from tests.services.databases import Databases
from tests.services.issuing import add_issuer, bad_tokens, token
from tests.services.representatives import all_once
from tests.services.running import running
from tests.services.server import Server

# The processes of the clients serve all tests here.
pytestmark = pytest.mark.asyncio(loop_scope="module")

WRONG: Final = "credentials missing or wrong"
JS: Final = ("socket.io-client-1.7", "socket.io-client-2.5", "socket.io-client-3.1", "socket.io-client-4.8")
LIBRARIES: Final = (*JS, "python-socketio")
TRANSPORTS: Final = ("websocket", "polling")
LIVES: Final = (6, 20, 45)
"""Seconds for which a token is good: longer ones where a machine stood still for as long as that."""


@pytest.fixture(scope="module")
def bounded(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose clients need a credential."""
    with running(databases, tmp_path_factory.mktemp("bounded"), ROOMS_ACCESS="token") as server:
        add_issuer(server)
        yield server


@pytest.fixture(params=all_once(LIBRARIES, "socket.io-client-4.8"))
def library(request: pytest.FixtureRequest) -> str:
    """Each generation of clients."""
    return str(request.param)


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    """How it connects."""
    return str(request.param)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def processes() -> AsyncIterator[Mapping[str, Puppet]]:
    """The clients' processes, by the library."""
    async with puppet.node() as node, puppet.python_socketio() as python:
        yield {**dict.fromkeys(JS, node), "python-socketio": python}


@pytest.fixture
def process(processes: Mapping[str, Puppet], library: str) -> Puppet:
    """The clients' process."""
    return processes[library]


@pytest.fixture
def name() -> str:
    """Of a client that no other test uses."""
    return secrets.token_hex(4)


def options(library: str, transport: str, held: str) -> dict[str, Any]:
    """A token as the clients of a generation bring it."""
    presented: dict[str, Any] = {"auth": {"token": held}}
    if library in JS[:2]:
        presented = {"query": f"token={held}" if library == JS[0] else {"token": held}}
    return {"transports": [transport], "reconnection": False, **presented}


async def refusal(client: Client, library: str) -> Any:
    """What the client is told of its refusal."""
    [told] = await client.received("error" if library in JS[:2] else "connect_error")
    return told


async def is_let_in(client: Client, library: str) -> bool:
    """Wait for what the client is told: that it is in, or that it is not."""
    connecting = asyncio.ensure_future(client.received("connect"))
    refused = asyncio.ensure_future(refusal(client, library))
    done, waiting = await asyncio.wait([connecting, refused], return_when=asyncio.FIRST_COMPLETED)
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    for one in done:
        one.result()
    return connecting in done


async def test_each_right_and_its_absence(
    bounded: Server, process: Puppet, library: str, transport: str, name: str
) -> None:
    room = f"{library}-{transport}"
    address, url = f"room:layout/{room}", f"{bounded.url}/layout"
    both, reader, writer = [
        await process.open(f"{name}-{kind}", library, url, **options(library, transport, held))
        for kind, held in (
            ("both", token([address], [address])),
            ("reader", token([address])),
            ("writer", token([], [address])),
        )
    ]
    join = json.dumps({"room": room, "name": "me"})

    assert await both.ask("JOIN", join) == []
    assert await reader.ask("JOIN", join) == []
    writer.emit("JOIN", join)
    assert (await writer.received("ERROR"))[0]["event"] == "JOIN"
    reader.emit("NOTIFY", {"room": room, "message": 1})
    assert (await reader.received("ERROR"))[0]["event"] == "NOTIFY"
    writer.emit("NOTIFY", {"room": room, "message": 2})
    for member in (both, reader):
        assert (await member.received("EVENT"))[0]["message"] == 2
    both.emit("NOTIFY", {"room": room, "message": 3})
    assert (await reader.received("EVENT"))[0] == {"sender": "me", "room": room, "message": 3}
    assert writer.unread("EVENT") == []
    for client in (both, reader, writer):
        client.close()


@pytest.mark.parametrize("held", ["", "expired", "other secret", "not a JWT"])
async def test_a_refused_client_is_told_so(
    bounded: Server, process: Puppet, library: str, transport: str, held: str, name: str
) -> None:
    bad = bad_tokens()[held] if held else ""
    client = process.begin(name, library, f"{bounded.url}/layout", **options(library, transport, bad))

    told = await refusal(client, library)

    assert WRONG in json.dumps(told)
    assert client.unread("connect") == []


async def test_a_client_learns_that_its_token_has_expired(
    bounded: Server, process: Puppet, library: str, transport: str, name: str
) -> None:
    url = f"{bounded.url}/layout"
    for seconds in LIVES:
        held = token(["*"], exp=time.time() + seconds)
        client = process.begin(f"{name}-{seconds}", library, url, **options(library, transport, held))
        if await is_let_in(client, library):
            break

    assert "server" in (await client.received("disconnect"))[0]


@pytest.mark.parametrize("library", all_once(JS[1:], "socket.io-client-4.8"))
async def test_a_header_is_taken_as_well(bounded: Server, process: Puppet, library: str, name: str) -> None:
    headers = {"Authorization": f"Bearer {token()}"}
    more = {"transportOptions": {"polling": {"extraHeaders": headers}}, "extraHeaders": headers}
    client = await process.open(name, library, f"{bounded.url}/layout", transports=["polling"], **more)
    client.close()
