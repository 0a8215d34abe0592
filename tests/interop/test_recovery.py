"""Connection state recovery of unmodified socket.io-clients, behind a proxy that cuts."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any, Final

import pytest
from websockets.asyncio.client import ClientConnection

from tests.conftest import ServerFactory
from tests.faults.proxy import Proxy
from tests.interop import puppet
from tests.interop.puppet import Client, Puppet
from tests.interop.test_clients import plain, say
from tests.services.databases import Databases
from tests.services.ports import LOOPBACK
from tests.services.running import running
from tests.services.server import Server

pytestmark = pytest.mark.once

LIBRARIES: Final = ("socket.io-client-4.6", "socket.io-client-4.8")
TRANSPORTS: Final[dict[str, dict[str, Any]]] = {
    "default": {},
    "websocket": {"transports": ["websocket"]},
    "polling": {"transports": ["polling"]},
}
PATIENCE: Final = 5000
"""Milliseconds after which a client gives up a connection: its agent may take one that hangs, too."""
PINGS: Final = {"ROOMS_PING_INTERVAL": "1", "ROOMS_PING_TIMEOUT": "10"}
"""A client that a busy machine holds up for some seconds is not silent."""


@pytest.fixture(scope="module")
def keeper(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that keeps sessions, and notices soon that a client is silent."""
    with running(
        databases, tmp_path_factory.mktemp("keeper"), ROOMS_RECOVERY_SECONDS="60", **PINGS
    ) as server:
        yield server


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """Closes what a test opens."""
    async with AsyncExitStack() as exits:
        yield exits


@pytest.fixture
async def node(stack: AsyncExitStack) -> Puppet:
    """The clients' process."""
    return await stack.enter_async_context(puppet.node())


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> str:
    """The first version with recovery, and the newest."""
    return str(request.param)


@pytest.fixture(params=TRANSPORTS)
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """How it connects."""
    return TRANSPORTS[request.param]


def url(proxy: Proxy) -> str:
    return f"http://{LOOPBACK}:{proxy.port}"


async def joined(client: Client, room: str) -> None:
    assert await client.received("recovered") in ([False], [None])
    assert await client.ask("JOIN", json.dumps({"room": room, "name": "me"})) == []


async def notify(other: ClientConnection, room: str, *messages: Any) -> None:
    for message in messages:
        await say(other, "NOTIFY", {"room": room, "message": message})


async def messages(client: Client, count: int) -> list[Any]:
    return [event["message"] for event, *_ in await client.received_many("EVENT", count)]


@pytest.mark.parametrize("how", ["cut", "hung", "before any event"])
async def test_a_client_that_was_cut_has_recovered_and_missed_nothing(
    keeper: Server,
    stack: AsyncExitStack,
    node: Puppet,
    library: str,
    options: dict[str, Any],
    request: pytest.FixtureRequest,
    how: str,
) -> None:
    room = request.node.name
    proxy = stack.enter_context(Proxy(keeper.port))
    other = await plain(stack, keeper, "layout")
    client = await node.open("client", library, f"{url(proxy)}/layout", **options, timeout=PATIENCE)
    await joined(client, room)
    id = client.id
    if how != "before any event":
        await notify(other, room, "before")
        assert await messages(client, 1) == ["before"]

    if how == "hung":
        proxy.swallow()
    else:
        proxy.down()
    await notify(other, room, *range(10))
    await client.received("disconnect")  # a client that polls may have had no connection to lose
    proxy.heal()

    assert await client.received("recovered") == [True]
    assert await client.received("connect") == [id]
    assert await messages(client, 10) == list(range(10))
    await notify(other, room, "after")
    assert await messages(client, 1) == ["after"]
    assert await client.ask("LEAVE", json.dumps({"room": room})) == []
    assert client.unread("EVENT") == []


async def test_a_client_that_closes_its_engine_has_recovered(
    keeper: Server, stack: AsyncExitStack, node: Puppet, library: str, options: dict[str, Any]
) -> None:
    client = await node.open("client", library, f"{keeper.url}/layout", **options)
    await joined(client, "engine")
    node.command(do="drop", client="client")
    assert await client.received("recovered") == [True]
    assert await client.received("connect") == [client.id]


async def test_a_client_that_disconnects_has_a_new_session(
    keeper: Server, stack: AsyncExitStack, node: Puppet, library: str
) -> None:
    client = await node.open("client", library, f"{keeper.url}/layout")
    await joined(client, "leaves")
    node.command(do="reconnect", client="client")
    assert await client.received("recovered") == [False]
    [id] = await client.received("connect")
    assert id != client.id


async def test_cut_at_random_between_two_workers_each_event_comes_once_in_order(
    server: ServerFactory, redis_url: str, stack: AsyncExitStack, node: Puppet
) -> None:
    broker = server(WORKERS="2", REDIS_URL=redis_url, ROOMS_RECOVERY_SECONDS="60", **PINGS)
    proxies = [stack.enter_context(Proxy(broker.port)) for _ in range(6)]
    kinds = [(library, transport) for library in LIBRARIES for transport in TRANSPORTS]
    clients = [
        await node.open(f"{library} {transport}", library, f"{url(proxy)}/layout", **TRANSPORTS[transport])
        for proxy, (library, transport) in zip(proxies, kinds, strict=True)
    ]
    for client in clients:
        await joined(client, "r")
    publishers = [await plain(stack, broker, "layout") for _ in range(4)]
    chance = random.Random(14)
    cuts = 0
    for number in range(300):
        await notify(publishers[number % 4], "r", [number % 4, number])
        if chance.random() < 0.1:
            chance.choice(proxies).cut()
            cuts += 1
            await asyncio.sleep(0)

    assert cuts > 10
    for client in clients:
        received = await messages(client, 300)
        for publisher in range(4):
            assert [n for p, n in received if p == publisher] == list(range(publisher, 300, 4))
        assert all(recovered for [recovered] in client.unread("recovered"))
        assert client.unread("EVENT") == []
