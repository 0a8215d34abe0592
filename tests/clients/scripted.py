"""A server that does what a scene says: it answers nothing by itself, and is cut where the scene has it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

SECONDS: Final = 60.0
FRAME_BYTES: Final = 65_536


class Peer:
    """One connection of the client."""

    def __init__(self, socket: ServerConnection) -> None:
        self._socket = socket
        self.frames: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def read(self) -> None:
        """Read requests until the connection ends."""
        with suppress(ConnectionClosed):
            async for text in self._socket:
                self.frames.put_nowait(json.loads(text))

    async def asked(self, type: str) -> dict[str, Any]:
        """The next request, which must be of this type."""
        request = await asyncio.wait_for(self.frames.get(), SECONDS)
        assert request["type"] == type, request
        return request

    async def answer(self, type: str, **reply: Any) -> dict[str, Any]:
        """The next request of this type, answered."""
        request = await self.asked(type)
        await self.reply(request, **reply)
        return request

    async def reply(self, request: dict[str, Any], **reply: Any) -> None:
        await self.send(key=request["key"], direction="REPLY", **reply)

    async def fail(self, request: dict[str, Any], code: str) -> None:
        await self.send(key=request["key"], direction="ERROR", code=code)

    async def deliver(self, address: str, message: Any, **place: Any) -> None:
        await self.send(type="delivery", address=address, message=message, **place)

    async def send(self, **frame: Any) -> None:
        await self._socket.send(json.dumps(frame))

    async def close(self, code: int = 4200) -> None:
        """Close in order; 4200: come back now."""
        await self._socket.close(code)

    def cut(self) -> None:
        """Break the connection, with what is on its way."""
        self._socket.transport.abort()


class Scripted:
    """The server; a scene accepts one connection after the other."""

    def __init__(self) -> None:
        self.url = ""
        self._peers: asyncio.Queue[Peer] = asyncio.Queue()

    async def serve(self, socket: ServerConnection) -> None:
        peer = Peer(socket)
        self._peers.put_nowait(peer)
        await peer.read()

    async def accept(self) -> Peer:
        """The next connection."""
        return await asyncio.wait_for(self._peers.get(), SECONDS)


@asynccontextmanager
async def scripted() -> AsyncIterator[Scripted]:
    """A server on a port of its own."""
    script = Scripted()
    options: dict[str, Any] = {"subprotocols": [Subprotocol("wyre")], "max_size": FRAME_BYTES}
    async with serve(script.serve, "127.0.0.1", 0, **options) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        script.url = f"ws://127.0.0.1:{port}"
        yield script
