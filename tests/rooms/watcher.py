"""A client of a real server's lobby that keeps the replica it is told."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.services.server import Server


class Watcher:
    """A plain socket in a lobby that keeps the replica it is told."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.there: set[str] = set()
        self.id = ""
        self.wrong: list[Any] = []
        self.ended = False
        self.entered = asyncio.Event()
        self._reading = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        try:
            async for text in self.socket:
                self._take(*json.loads(text))
        except ConnectionClosed:
            pass
        self.ended = True
        self.entered.set()

    def _take(self, event: str, argument: Any) -> None:
        if event == "PEERS":
            self.there |= set(argument)
            self.entered.set()
        elif event == "JOINED":
            self.id = self.id or argument
            self.there.add(argument)
        elif argument in self.there:
            self.there.remove(argument)
        else:
            self.wrong.append((event, argument))

    async def leave(self) -> None:
        await self.socket.close()
        await self._reading


async def watcher(server: Server, lobby: str) -> Watcher:
    """Somebody who is in a lobby. Raises OSError and WebSocketException."""
    url = f"{server.ws_url}/lobby?lobbyId={lobby}"
    socket = await connect(url, proxy=None, max_queue=None, open_timeout=60)
    one = Watcher(socket)
    await asyncio.wait_for(one.entered.wait(), 60)
    if one.ended:
        raise ConnectionError("sent away")
    return one
