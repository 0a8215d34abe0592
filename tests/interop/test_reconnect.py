"""A restart of the server: every client comes back by itself, joins again, and receives again."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from functools import partial

import pytest

from tests.conftest import ServerFactory
from tests.interop.cast import KINDS, Cast
from tests.interop.puppet import Client
from tests.interop.test_clients import in_room, plain, receive, say

pytestmark = pytest.mark.once

ROOM = "all.contexts"


async def test_all_clients_come_back_after_a_restart(
    server: ServerFactory, request: pytest.FixtureRequest
) -> None:
    # Whom a busy machine holds up is not silent: a client that is dropped once more would not join again.
    broker = server(ROOMS_PING_INTERVAL="2", ROOMS_PING_TIMEOUT="20", ROOMS_PING_TIMEOUT_V3="20")
    async with AsyncExitStack() as stack:
        cast = await stack.enter_async_context(Cast(partial(request.getfixturevalue, "old_python")))
        clients = [await cast.open(kind, str(kind), f"{broker.url}/layout") for kind in KINDS]
        await asyncio.gather(*(join(client) for client in clients))

        assert await asyncio.to_thread(broker.stop) == 0
        await asyncio.to_thread(broker.start)

        returned = await asyncio.gather(*(come_back(client) for client in clients), return_exceptions=True)
        assert [c.name for c, error in zip(clients, returned, strict=True) if error] == []
        await in_room(broker, "layout", ROOM, len(KINDS))
        other = await plain(stack, broker, "layout")
        await say(other, "NOTIFY", {"room": ROOM, "message": "welcome back"})
        for client in clients:
            assert await client.received("EVENT") == [
                {"sender": "unknown", "room": ROOM, "message": "welcome back"}
            ]
        await say(other, "CLIENTS", {"room": ROOM})
        names = (await receive(other))[1]["clients"]
        assert sorted(names) == sorted(client.name for client in clients)


async def join(client: Client) -> None:
    assert await client.ask("JOIN", json.dumps({"room": ROOM, "name": client.name})) == []


async def come_back(client: Client) -> None:
    """Steps of the known programs: JOIN again with every connect."""
    await client.received("connect")
    await join(client)
