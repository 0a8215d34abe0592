"""All protocols at once: a client of the requests protocol publishes to the others and subscribes to them.

The others speak their own protocols: tokens, events and plain rooms by raw frames, Socket.IO's rooms by the
reference implementation's clients, the newest and the oldest that is known to be in use.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

import pytest
from switchboard_client import Connection, Delivery, connect
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websocket

from tests.clients.test_python import url_of
from tests.interop.puppet import Client as SocketIo
from tests.interop.puppet import node
from tests.rooms.client import Plain, plain
from tests.services.javascript import require_packages
from tests.services.server import Server

SECONDS: Final = 60.0
GENERATIONS: Final = ("socket.io-client-4.8", "socket.io-client-1.4")


@dataclass(frozen=True)
class Neighbours:
    """One client of each other line: with the token `name`, on the channel `name`, in the bus room `name`."""

    name: str
    token: ClientConnection
    events: ClientConnection
    hello: dict[str, Any]
    plain: Plain
    socketio: list[SocketIo]


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def neighbours(broker: Server, stack: AsyncExitStack) -> Neighbours:
    require_packages("tests/interop")
    name = secrets.token_hex(4)
    token = await opened(stack, f"{broker.ws_url}/ws?RegisterToken={name}")
    await token.send("Echo:ready")
    assert await receive(token) == "ready"
    events = await opened(stack, f"{broker.ws_url}/websocket?channel_id={name}")
    hello = json.loads(await receive(events))["data"]
    room = await plain(stack, broker, "bus")
    await room.join(name, "plain")
    puppet = await stack.enter_async_context(node())
    clients = [
        await puppet.open(library, library, f"{broker.url}/bus", transports=["websocket"])
        for library in GENERATIONS
    ]
    for client in clients:
        await client.ask("JOIN", json.dumps({"room": name, "name": client.name}))
    return Neighbours(name, token, events, hello, room, clients)


@pytest.fixture
async def ours(broker: Server, stack: AsyncExitStack) -> Connection:
    return await stack.enter_async_context(await connect(url_of(broker), key=broker.api_key))


async def opened(stack: AsyncExitStack, url: str) -> ClientConnection:
    """A socket that is closed with the test."""
    return await stack.enter_async_context(websocket(url, open_timeout=SECONDS))


async def receive(socket: ClientConnection) -> str:
    """The next frame, which is text."""
    text = await asyncio.wait_for(socket.recv(), SECONDS)
    assert isinstance(text, str)
    return text


async def test_one_publish_reaches_each_protocol_in_its_own_shape(
    neighbours: Neighbours, ours: Connection
) -> None:
    name = neighbours.name
    publisher = (await ours.request({"type": "whoami"}))["name"]
    message = {"n": [1, None, "é"]}
    event = {"sender": publisher, "room": name, "message": message}

    await ours.publish([f"token:{name}", f"channel:{name}", f"room:bus/{name}"], message)

    assert json.loads(await receive(neighbours.token)) == message
    assert json.loads(await receive(neighbours.events)) == message
    assert await neighbours.plain.receive() == ["EVENT", event]
    for client in neighbours.socketio:
        assert await client.received("EVENT") == [event]


async def test_the_addresses_of_a_user_and_of_a_client_reach_the_events_protocol(
    neighbours: Neighbours, ours: Connection
) -> None:
    for n, address in enumerate(
        (f"client:{neighbours.hello['client_id']}", f"user:{neighbours.hello['root_id']}")
    ):
        await ours.publish([address], {"n": n})
        assert json.loads(await receive(neighbours.events)) == {"n": n}


async def test_messages_of_all_protocols_are_deliveries(neighbours: Neighbours, ours: Connection) -> None:
    name = neighbours.name
    received: asyncio.Queue[Delivery] = asyncio.Queue()
    ours.on("delivery", received.put_nowait)
    await ours.subscribe(f"token:{name}", f"channel:{name}", f"room:bus/{name}")

    await neighbours.token.send(f"{name}|from tokens")
    assert await asyncio.wait_for(received.get(), SECONDS) == Delivery(f"token:{name}", "from tokens")

    chat = {"type": "chat", "data": {"text": "from events"}}
    await neighbours.events.send(json.dumps({"type": "channel", "channel_ids": [name], "data": chat}))
    assert await asyncio.wait_for(received.get(), SECONDS) == Delivery(f"channel:{name}", chat)

    await neighbours.plain.say("NOTIFY", {"room": name, "message": {"from": "a plain room"}})
    expected = Delivery(f"room:bus/{name}", {"from": "a plain room"})
    assert await asyncio.wait_for(received.get(), SECONDS) == expected

    for client in neighbours.socketio:
        client.emit("NOTIFY", json.dumps({"room": name, "message": [client.name]}))
        expected = Delivery(f"room:bus/{name}", [client.name])
        assert await asyncio.wait_for(received.get(), SECONDS) == expected


async def test_events_of_a_room_arrive_as_events(
    broker: Server, stack: AsyncExitStack, ours: Connection
) -> None:
    name = secrets.token_hex(4)
    received: asyncio.Queue[Delivery] = asyncio.Queue()
    ours.on("delivery", received.put_nowait)
    await ours.subscribe(f"room:lobby/{name}", f"room:trigger/{name}")

    await plain(stack, broker, f"lobby?lobbyId={name}")
    joined = await asyncio.wait_for(received.get(), SECONDS)
    assert (joined.address, joined.event) == (f"room:lobby/{name}", "JOINED")

    trigger = await plain(stack, broker, "trigger")
    await trigger.say("JOIN", name)
    await trigger.say("BROADCAST_EVENTS", name, {"x": 1})
    expected = Delivery(f"room:trigger/{name}", [{"x": 1}], "EVENTS")
    assert await asyncio.wait_for(received.get(), SECONDS) == expected
