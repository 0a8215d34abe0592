"""Clients that keep every frame which they sent and received, and the console that traces them."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from contextlib import AsyncExitStack
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.services.server import Server

SECONDS: Final = 60.0
"""A limit for what hangs, not a measure."""
OPTIONS: Final[dict[str, Any]] = {
    "proxy": None,
    "max_queue": None,
    "max_size": None,
    "open_timeout": SECONDS,
}

Frame = tuple[str, int, Any]
"""Direction, size, and the body, or the code of a close; bytes as base64."""


def size_of(data: str | bytes) -> int:
    """Bytes of a payload."""
    return len(data.encode() if isinstance(data, str) else data)


def shown(data: str | bytes) -> str:
    """A body of a trace."""
    return data if isinstance(data, str) else b64encode(data).decode()


class Client:
    """One WebSocket."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.sent: list[str | bytes] = []
        self.received: list[str | bytes] = []

    @classmethod
    async def open(cls, stack: AsyncExitStack, server: Server, path: str) -> Client:
        """Connect to a path, query included; compression is offered."""
        url = path if path.startswith("ws") else f"{server.ws_url}{path}"
        return cls(await stack.enter_async_context(connect(url, **OPTIONS)))

    async def send(self, *frames: str | bytes) -> None:
        """Send frames."""
        for frame in frames:
            self.sent.append(frame)
            await self.socket.send(frame)

    async def receive(self, count: int = 1) -> Any:
        """Receive so many frames; the last one."""
        for _ in range(count):
            self.received.append(await asyncio.wait_for(self.socket.recv(), SECONDS))
        return self.received[-1]

    async def closed(self) -> int | None:
        """Wait for the end; the code that the server has sent."""
        try:
            while True:
                await self.receive()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None

    def frames(self) -> list[Frame]:
        """Everything that went over it, as a trace shows it: first what was sent."""
        both = [("in", one) for one in self.sent] + [("out", one) for one in self.received]
        return [(way, size_of(one), shown(one)) for way, one in both]


class TraceRefused(Exception):
    """The console has answered with an error; its argument is the status."""


class Tracing:
    """One watch of the topic `trace`."""

    def __init__(self, socket: ClientConnection, params: dict[str, Any]) -> None:
        self.socket = socket
        self.params = params
        self.rows: list[dict[str, Any]] = []
        self.dropped = 0
        self.batch: dict[str, Any] = {}
        self.batches = 0

    async def begin(self) -> Tracing:
        """Ask for it. A worker that is slow follows later: see `until_followed` and `until_everywhere`."""
        await self.socket.send(json.dumps({"id": 1, "topic": "trace", "params": self.params, "watch": True}))
        await self.next()
        return self

    async def next(self) -> None:
        """Take the next batch. Raises TraceRefused."""
        message = json.loads(await asyncio.wait_for(self.socket.recv(), SECONDS))
        if "error" in message:
            raise TraceRefused(message["error"]["status"])
        self.batch = message["data"]
        self.batches += 1
        self.rows += self.batch["frames"]
        self.dropped += self.batch["dropped"]

    async def until_followed(self, count: int) -> None:
        """Wait until so many connections are followed."""
        async with asyncio.timeout(SECONDS):
            while self.batch["followed"] != count:
                await self.next()

    async def until_everywhere(self, *servers: Server, path: str) -> None:
        """Wait until each server follows: until a client of tokens at a path is shown, to its end.

        Its frames are forgotten.
        """
        for server in servers:
            async with asyncio.timeout(SECONDS), AsyncExitStack() as stack:
                client = await Client.open(stack, server, path)
                while not self.rows:
                    await client.send("Echo:shown")
                    await client.receive()
                    await self.next()
                await client.socket.close()
                while not any("code" in row for row in self.rows):
                    await self.next()
            self.rows, self.dropped = [], 0

    async def until(self, count: int) -> list[dict[str, Any]]:
        """Wait for so many frames, shown or not, and see that no more come; those that were shown."""
        async with asyncio.timeout(SECONDS):
            while len(self.rows) + self.dropped < count:
                await self.next()
        before = self.batches
        while self.batches < before + 2:
            await self.next()
        assert len(self.rows) + self.dropped == count, self.rows
        return self.rows

    async def frames(self, count: int) -> list[Frame]:
        """The same, as clients keep them: first those that came in."""
        rows = sorted(await self.until(count), key=lambda row: row["direction"])
        return [(row["direction"], row["size"], row.get("code") or row.get("body")) for row in rows]

    async def stop(self) -> None:
        """End it."""
        await self.socket.send(json.dumps({"id": 1, "stop": True}))


class Console:
    """A page of the console, with the session of a member of the staff."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    @classmethod
    async def open(cls, stack: AsyncExitStack, server: Server, session: str) -> Console:
        """Open the socket of the page."""
        url = f"{server.ws_url}/console/socket"
        headers = {"Origin": server.url, "Cookie": f"sessionid={session}"}
        socket = connect(url, **OPTIONS, additional_headers=headers)
        return cls(await stack.enter_async_context(socket))

    async def trace(self, **params: Any) -> Tracing:
        """Begin a trace. Raises TraceRefused."""
        return await Tracing(self.socket, params).begin()
