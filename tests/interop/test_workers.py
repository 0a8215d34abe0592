"""Two workers, no sticky sessions: all generations share rooms, and every request finds its session."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from itertools import cycle
from urllib.request import Request, urlopen

import pytest

from tests.conftest import ServerFactory
from tests.interop import puppet
from tests.interop.cast import JS_KINDS
from tests.interop.puppet import Client
from tests.interop.test_clients import in_room
from tests.services.server import Server

pytestmark = pytest.mark.once  # its processes share a Redis on both stacks

ROOM = "all.contexts"
MEMBERS = 20


@pytest.mark.parametrize("messages", [200, pytest.param(1000, marks=pytest.mark.soak)])
async def test_every_member_receives_all_once_and_in_order(
    server: ServerFactory, redis_url: str, messages: int
) -> None:
    broker = server(WORKERS="2", REDIS_URL=redis_url)
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(puppet.node())
        url = f"{broker.url}/layout"
        kinds = enumerate(cycle(JS_KINDS))

        async def open_member() -> Client:
            number, kind = next(kinds)
            return await node.open(f"member-{number}-{kind}", kind.library, url, **kind.options)

        members = [await open_member() for _ in range(MEMBERS)]
        publishers = [
            await node.open(f"publisher-{kind}", kind.library, url, **kind.options)
            for kind in JS_KINDS
            if str(kind) in ("1.7-polling", "2.5-default", "4.8-websocket")
        ]
        await asyncio.gather(*(join(client) for client in members + publishers))
        while await workers_of(broker) < 2:  # the kernel gives a client to any of them
            members.append(await open_member())
            await join(members[-1])
        await in_room(broker, "layout", ROOM, len(members) + 3)

        await asyncio.gather(*(publish(publisher, messages) for publisher in publishers))

        names = {publisher.name for publisher in publishers}
        all_of_it = list(range(messages))
        for member in members:
            assert await received_by(member, len(publishers) * messages) == dict.fromkeys(names, all_of_it)
        for publisher in publishers:
            received = await received_by(publisher, (len(publishers) - 1) * messages)
            assert received == dict.fromkeys(names - {publisher.name}, all_of_it)
        for client in members + publishers:
            assert client.unread("EVENT") == client.unread("disconnect") == []


async def join(client: Client) -> None:
    assert await client.ask("JOIN", json.dumps({"room": ROOM, "name": client.name})) == []


async def publish(publisher: Client, messages: int) -> None:
    for number in range(messages):
        publisher.emit("NOTIFY", json.dumps({"room": ROOM, "message": number}))
        if number % 50 == 49:
            await asyncio.sleep(0.01)


async def received_by(client: Client, count: int) -> dict[str, list[int]]:
    """The numbers that a client received, by their sender, in the order in which they came."""
    received: dict[str, list[int]] = {}
    for [event] in await client.received_many("EVENT", count):
        received.setdefault(event["sender"], []).append(event["message"])
    return received


async def workers_of(broker: Server) -> int:
    """How many workers have clients."""
    request = Request(f"{broker.url}/api/clients/?protocol=rooms", headers={"X-API-Key": broker.api_key})
    with await asyncio.to_thread(urlopen, request) as response:
        return len({row["worker"] for row in json.load(response)["results"]})
