"""Every client generation, unmodified: JOIN with ack, NOTIFY, EVENT, CLIENTS, LEAVE, text of all kinds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.interop import puppet
from tests.interop.puppet import Client, Puppet
from tests.services.server import Server

TEXTS = ["ascii", "é€ßü", "日本語 𝄞 \u2028", "Ã©", "\x7f\x80\u00ff", '"\\/\b\f\n\r\t']
JS = ("1.4", "1.7", "2.5", "3.1", "4.8")


@dataclass(frozen=True)
class Kind:
    """A client and how it connects."""

    name: str
    library: str
    options: dict[str, Any] = field(default_factory=dict)
    transport: str = "websocket"
    """What it ends on."""

    def __str__(self) -> str:
        return self.name

    @property
    def modern(self) -> bool:
        """Speaks Socket.IO protocol 5."""
        return self.library in ("socket.io-client-3.1", "socket.io-client-4.8", "python-socketio")


KINDS = [
    *(Kind(f"{version}-default", f"socket.io-client-{version}") for version in JS),
    *(
        Kind(f"{version}-websocket", f"socket.io-client-{version}", {"transports": ["websocket"]})
        for version in JS
    ),
    *(
        Kind(f"{version}-polling", f"socket.io-client-{version}", {"transports": ["polling"]}, "polling")
        for version in JS
    ),
    Kind("python-socketio-default", "python-socketio"),
    Kind("python-socketio-websocket", "python-socketio", {"transports": ["websocket"]}),
    Kind("python-socketio-polling", "python-socketio", {"transports": ["polling"]}, "polling"),
    Kind("socketio-client-2-default", "socketIO-client-2"),
    Kind("socketio-client-2-polling", "socketIO-client-2", {"transports": ["xhr-polling"]}, "polling"),
]


@pytest.fixture(params=KINDS, ids=str)
def kind(request: pytest.FixtureRequest) -> Kind:
    """One after the other."""
    return request.param


@pytest.fixture
async def stage(kind: Kind, request: pytest.FixtureRequest) -> AsyncIterator[Puppet]:
    """The process that holds the clients of a kind."""
    async with make_puppet(kind, request) as process:
        yield process


def make_puppet(kind: Kind, request: pytest.FixtureRequest) -> Puppet:
    if kind.library == "python-socketio":
        return puppet.python_socketio()
    if kind.library == "socketIO-client-2":
        python: Path = request.getfixturevalue("old_python")
        return puppet.socketio_client_2(python)
    return puppet.node()


async def plain(stack: AsyncExitStack, broker: Server, namespace: str) -> ClientConnection:
    return await stack.enter_async_context(connect(f"{broker.ws_url}/{namespace}"))


async def in_room(broker: Server, namespace: str, room: str, count: int) -> None:
    """Wait until a room has so many members, as the REST API sees it."""
    query = urlencode({"namespace": namespace, "search": room})
    request = Request(f"{broker.url}/api/rooms/?{query}", headers={"X-API-Key": broker.api_key})
    async with asyncio.timeout(puppet.SECONDS):
        found = 0
        while found != count:
            with await asyncio.to_thread(urlopen, request) as response:
                rooms = json.load(response)["results"]
            found = sum(row["member_count"] for row in rooms if row["name"] == room)


async def say(socket: ClientConnection, *event: Any) -> None:
    await socket.send(json.dumps(event))


async def hear(socket: ClientConnection) -> Any:
    return json.loads(await asyncio.wait_for(socket.recv(), puppet.SECONDS))


def texts(kind: Kind) -> list[str]:
    """What a client can send as it is.

    On polling 2.x sends UTF-8 and 1.x UTF-8 of UTF-8, in the same form. Text that could be both is read as
    1.x means it (routing_app/rooms/README.md).
    """
    ambiguous = kind.library == "socket.io-client-2.5" and "transports" not in kind.options
    ambiguous |= kind.name == "2.5-polling"
    return [text for text in TEXTS if text != "Ã©" or not ambiguous]


async def join_layout(stage: Puppet, kind: Kind, broker: Server, room: str, name: str) -> Client:
    client = await stage.open(name, kind.library, f"{broker.url}/layout", **kind.options)
    assert await client.ask("JOIN", json.dumps({"room": room, "name": name})) == []
    return client


async def test_layout_from_join_to_leave(kind: Kind, stage: Puppet, broker: Server) -> None:
    room = f"room-{kind}"
    async with AsyncExitStack() as stack:
        other = await plain(stack, broker, "layout")
        client = await join_layout(stage, kind, broker, room, "device[é€]")
        await say(other, "JOIN", {"room": room, "name": "other"})

        await in_room(broker, "layout", room, 2)
        client.emit("CLIENTS", json.dumps({"room": room}))
        assert await client.heard("CLIENTS") == [{"room": room, "clients": ["device[é€]", "other"]}]

        for text in TEXTS:
            client.emit("NOTIFY", json.dumps({"room": room, "message": {"text": text}}))
            assert await hear(other) == [
                "EVENT",
                {"sender": "device[é€]", "room": room, "message": {"text": text}},
            ]
            await say(other, "NOTIFY", {"room": room, "message": [text, 1.5, None]})
            assert await client.heard("EVENT") == [
                {"sender": "other", "room": room, "message": [text, 1.5, None]}
            ]
        assert client.unread("EVENT") == []

        assert await client.ask("LEAVE", json.dumps({"room": room})) == []
        await say(other, "NOTIFY", {"room": room, "message": "not for who left"})
        await say(other, "CLIENTS", {"room": room})
        assert await hear(other) == ["CLIENTS", {"room": room, "clients": ["other"]}]
        client.emit("CLIENTS", json.dumps({"room": room}))
        await client.heard("CLIENTS")
        assert client.unread("EVENT") == []


async def test_text_of_all_kinds_as_it_is(kind: Kind, stage: Puppet, broker: Server) -> None:
    """In arguments that are no JSON strings, the characters themselves are on the wire."""
    room = f"document-{kind}"
    async with AsyncExitStack() as stack:
        other = await plain(stack, broker, "trigger")
        client = await stage.open("client", kind.library, f"{broker.url}/trigger", **kind.options)
        assert await client.ask("JOIN", room) == []
        await say(other, "JOIN", room)
        await in_room(broker, "trigger", room, 2)

        for text in texts(kind):
            await say(other, "BROADCAST_EVENTS", room, {"events": [text]})
            assert await client.heard("EVENTS") == [{"events": [text]}]
            client.emit("BROADCAST_UPDATES", room, {"generation": 1, "operations": [text]})
            assert await hear(other) == ["UPDATES", {"generation": 1, "operations": [text]}]


async def test_it_ends_on_the_transport_it_wants(kind: Kind, stage: Puppet, broker: Server) -> None:
    client = await stage.open("client", kind.library, f"{broker.url}/bus", **kind.options)
    await client.ends_on(kind.transport)
    assert await client.ask("JOIN", json.dumps({"room": f"bus-{kind}", "name": "me"})) == []
