"""Clients of the rooms protocol on raw frames, and callers of its HTTP side."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.compliance.engineio.client import SECONDS, Answer, Site
from tests.compliance.engineio.client import Socket as Frames
from tests.services.server import Server

SOCKET_IO: Final = "/socket.io/"


class Plain:
    """A plain socket: `say` and `receive` are events."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def say(self, *event: Any) -> None:
        await self.connection.send(json.dumps(event))

    async def receive(self) -> Any:
        return json.loads(await asyncio.wait_for(self.connection.recv(), SECONDS))

    async def settled(self) -> list[Any]:
        """The frames that have come until all that was sent here is handled: CLIENTS of an empty room
        answers last."""
        await self.say("CLIENTS", {"room": "nobody is here"})
        received = []
        while (event := await self.receive())[0] != "CLIENTS":
            received.append(event)
        return received

    async def join(self, room: str, name: str) -> None:
        """JOIN, and wait until it is done."""
        await self.say("JOIN", {"room": room, "name": name})
        await self.settled()

    async def clients(self, room: str) -> list[Any]:
        """The nicknames in a room."""
        await self.say("CLIENTS", {"room": room})
        name, answer = await self.receive()
        assert (name, answer["room"]) == ("CLIENTS", room)
        names: list[Any] = answer["clients"]
        return names

    async def closed(self) -> int | None:
        """Wait for the end; the code of the close frame."""
        try:
            while True:
                await asyncio.wait_for(self.connection.recv(), SECONDS)
        except ConnectionClosed as error:
            return error.rcvd.code if error.rcvd else None


async def plain(stack: AsyncExitStack, server: Server, path: str) -> Plain:
    """A plain socket on a path, query included."""
    return Plain(
        await stack.enter_async_context(connect(f"{server.ws_url}/{path}", proxy=None, max_size=None))
    )


class Client:
    """A Socket.IO client in one namespace, over a WebSocket."""

    def __init__(self, frames: Frames, namespace: str, sid: str) -> None:
        self.frames = frames
        self.namespace = namespace
        self.sid = sid

    async def send(self, *packets: str) -> None:
        """Raw Engine.IO packets."""
        await self.frames.send(*packets)

    async def emit(self, *event: Any, id: int | str = "") -> None:
        """An event, as a client would write it."""
        await self.send(f"42/{self.namespace},{id}{json.dumps(event)}")

    async def ask(self, *event: Any) -> None:
        """An event with an ack, and wait for the ack."""
        await self.emit(*event, id=7)
        assert await self.receive_packet() == f"43/{self.namespace},7[]"

    async def receive_packet(self) -> Any:
        """The next packet that is not a heartbeat; a ping is answered."""
        while (packet := await self.frames.receive_but("3")) == "2":
            await self.send("3")
        return packet

    async def receive(self) -> Any:
        """The next event."""
        packet = await self.receive_packet()
        prefix = f"42/{self.namespace},"
        assert packet.startswith(prefix), packet
        return json.loads(packet.removeprefix(prefix))

    async def settled(self) -> list[Any]:
        """The packets that have come until all that was sent here is handled."""
        await self.send("40/no-such-namespace")
        received = []
        while not (packet := await self.receive_packet()).startswith("44/no-such-namespace"):
            received.append(packet)
        return received


async def socketio(
    stack: AsyncExitStack, server: Server, namespace: str, version: int = 4, connect: str = "", **query: str
) -> Client:
    """A client that has connected to a namespace; `connect` follows the namespace in its CONNECT."""
    frames = await Site(server.port, version, SOCKET_IO).socket(stack, **query)
    engine_sid = json.loads((await frames.receive())[1:])["sid"]
    if version == 3:
        assert await frames.receive() == "40"
    await frames.send(f"40/{namespace}{connect or ('' if version == 3 else ',')}")
    answer = await frames.receive()
    if version == 3:
        assert answer == f"40/{namespace}"
        return Client(frames, namespace, f"/{namespace}#{engine_sid}")
    assert answer.startswith(f"40/{namespace},"), answer
    return Client(frames, namespace, json.loads(answer.partition(",")[2])["sid"])


async def polled(site: Site, sid: str, wanted: str) -> str:
    """Poll until a text has come; all that came up to it."""
    received = ""
    while wanted not in received:
        answer = await site.get(sid)
        assert answer.status == 200, answer
        received += answer.text
    return received


class Api:
    """The REST side, with the API key of the tests."""

    def __init__(self, server: Server) -> None:
        self._site = Site(server.port)
        self._headers = {"X-API-Key": server.api_key, "Content-Type": "application/json"}

    async def call(self, method: str, path: str, body: Any = None) -> Answer:
        text = "" if body is None else json.dumps(body)
        return await self._site.request(method, path, text, self._headers)

    async def json(self, method: str, path: str, body: Any = None) -> Any:
        """The decoded answer of a call that succeeds."""
        answer = await self.call(method, path, body)
        assert answer.status < 300, answer
        return json.loads(answer.body) if answer.body else None

    async def room(self, namespace: str, name: str) -> dict[str, Any]:
        """A room by its name; `{}` when there is none."""
        rows = (await self.json("GET", f"/api/rooms/?namespace={namespace}&page_size=1000"))["results"]
        return next((row for row in rows if row["name"] == name), {})
