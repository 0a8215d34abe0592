"""A client that comes back to its session as socket.io-client 4.6 does, on raw packets."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from contextlib import AsyncExitStack
from typing import Any, Final

from tests.compliance.engineio.client import Site, Socket
from tests.rooms.client import SOCKET_IO
from tests.services.server import Server

NO_SUCH: Final = "/no-such-namespace"


class Polls:
    """A polling session with the interface of a WebSocket."""

    def __init__(self, site: Site, sid: str) -> None:
        self._site = site
        self.sid = sid
        self._packets: list[str | bytes] = []

    async def send(self, *packets: str | bytes) -> None:
        texts = [packet if isinstance(packet, str) else "b" + _base64(packet) for packet in packets]
        assert (await self._site.post("\x1e".join(texts), self.sid)).text == "ok"

    async def receive(self) -> str | bytes:
        while not self._packets:
            answer = await self._site.get(self.sid)
            assert answer.status == 200, answer
            self._packets = [_packet(text) for text in answer.text.split("\x1e")]
        return self._packets.pop(0)


class Returning:
    """One client in one namespace: keeps `pid` and the last offset, and names them when it connects."""

    def __init__(self, server: Server, namespace: str, transport: str = "websocket", **query: str) -> None:
        self.server = server
        self.namespace = namespace
        self.transport = transport
        self.query = query
        self.sid = self.pid = ""
        self.offset: str | None = None
        self.frames: Any = None

    async def connect(self, stack: AsyncExitStack, **auth: Any) -> bool:
        """Connect, and come back if there is a session; True when it has recovered."""
        site = Site(self.server.port, 4, SOCKET_IO)
        if self.transport == "websocket":
            self.frames = await site.socket(stack, **self.query)
            await self.frames.receive()
        else:
            self.frames = Polls(site, await site.open(**self.query))
        known = {"pid": self.pid} if self.pid else {}
        known |= {"offset": self.offset} if self.pid and self.offset is not None else {}
        await self.frames.send(f"40/{self.namespace},{json.dumps(known | auth)}")
        answer = await self.packet()
        prefix = f"40/{self.namespace},"
        assert answer.startswith(prefix), answer
        told = json.loads(answer.removeprefix(prefix))
        recovered = bool(self.pid) and told["pid"] == self.pid
        self.sid, self.pid = told["sid"], told["pid"]
        return recovered

    async def cut(self) -> None:
        """Lose the connection without a word; a client that polls just stops."""
        if isinstance(self.frames, Socket):
            self.frames.connection.transport.abort()
            await self.frames.connection.wait_closed()

    async def send(self, *packets: str | bytes) -> None:
        await self.frames.send(*packets)

    async def emit(self, *event: Any, id: int | str = "") -> None:
        await self.send(f"42/{self.namespace},{id}{json.dumps(event)}")

    async def ask(self, *event: Any) -> None:
        """An event with an ack, and wait for the ack; nothing else may come before it."""
        await self.emit(*event, id=7)
        assert await self.packet() == f"43/{self.namespace},7[]"

    async def packet(self) -> Any:
        """The next packet that is not a heartbeat; a ping is answered."""
        while (packet := await self.frames.receive()) in ("2", "6"):
            if packet == "2":
                await self.send("3")
        return packet

    async def receive(self) -> list[Any]:
        """The next event, attachments in it as `bytes`; its offset is taken off and kept."""
        text = await self.packet()
        head, _, rest = text.partition("/")
        assert head[:2] in ("42", "45"), text
        event = json.loads(rest.partition(",")[2])
        count = int(head[2:-1]) if head[:2] == "45" else 0
        data = [await self.frames.receive() for _ in range(count)]
        offset = event.pop()
        assert isinstance(offset, str), text
        self.offset = offset
        return [_attached(value, data) for value in event]

    async def messages(self, count: int) -> list[Any]:
        """The messages of the next EVENTs."""
        return [(await self.receive())[1]["message"] for _ in range(count)]

    async def settled(self) -> list[str]:
        """The packets that have come until all that was sent here is handled."""
        await self.send(f"40{NO_SUCH},")
        received = []
        while not str(packet := await self.packet()).startswith(f"44{NO_SUCH}"):
            received.append(packet)
        return received


def _attached(value: Any, data: list[Any]) -> Any:
    if isinstance(value, dict):
        if value.get("_placeholder"):
            return data[value["num"]]
        return {key: _attached(one, data) for key, one in value.items()}
    return [_attached(one, data) for one in value] if isinstance(value, list) else value


def _packet(text: str) -> str | bytes:
    return b64decode(text[1:]) if text.startswith("b") else text


def _base64(data: bytes) -> str:
    return b64encode(data).decode()
