"""A lobby whose members come and go, and know of each other; and the listing of it."""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import suppress
from typing import Any, Final

from websockets.asyncio.client import ClientConnection

from faults.workloads.listings import until_due
from faults.workloads.receivers import ask
from faults.world import PAUSE_SECONDS, UNREACHABLE, Workload, World, ended, tasks_of

MEMBERS: Final = 5
STAY_SECONDS: Final = (1.0, 8.0)


class Member:
    """A plain socket in the lobby, which comes back whenever it has left."""

    def __init__(self, world: World, name: str, lobby: str) -> None:
        self.world, self.name, self._lobby = world, name, lobby
        self.address = f"room:lobby/{lobby}"
        self._dice = world.dice(name)
        self._socket: ClientConnection | None = None
        self.id = ""

    async def run(self) -> None:
        """Come and go; stay from the moment at which the clients shall stop."""
        while not self.world.over.is_set():
            with suppress(*UNREACHABLE):
                self._socket = await self.world.open(self._dice, "/lobby", lobbyId=self._lobby)
                self._note("rejoined")
                leaving = asyncio.ensure_future(self._leave_later(self._socket))
                try:
                    while True:
                        self._take(json.loads(await self._socket.recv()))
                finally:
                    leaving.cancel()
                    self._socket.transport.abort()
                    self._gone()
            await asyncio.sleep(PAUSE_SECONDS)

    def leave(self) -> None:
        """Disconnect."""
        if self._socket is not None:
            self._socket.transport.abort()

    async def _leave_later(self, socket: ClientConnection) -> None:
        if await self.world.pause(self._dice.uniform(*STAY_SECONDS)):
            await socket.close()

    def _take(self, frame: Any) -> None:
        kind: str = frame[0]
        content: Any = frame[1] if len(frame) > 1 else None
        if kind == "PEERS":
            for one in content:
                self._note("joined", client=one)
        elif kind == "JOINED" and not self.id:
            self.id = content  # the first that one is told of is oneself
            self._note_of(self.id, "present")
        elif kind in ("JOINED", "LEFT") and content != self.id:
            self._note(kind.lower(), client=content)

    def _gone(self) -> None:
        if self.id:
            self._note_of(self.id, "absent")
        self.id = ""

    def _note(self, what: str, **data: Any) -> None:
        self._note_of(self.name, what, **data)

    def _note_of(self, who: str, what: str, **data: Any) -> None:
        if not self.world.over.is_set():
            self.world.history.note(who, what, address=self.address, **data)


class Lobby(Workload):
    """Members of one lobby."""

    name = "lobby"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        lobby = f"{world.prefix}-lobby"
        self.members = [Member(world, f"member-{number}", lobby) for number in range(MEMBERS)]
        self._there: list[asyncio.Task[Any]] = []

    async def begin(self) -> None:
        """Come."""
        self._there = tasks_of(one.run() for one in self.members)

    async def play(self) -> None:
        """They come and go by themselves."""
        await self.world.stop.wait()

    async def settle(self) -> None:
        """Ask both servers who is there, when they have to know."""
        await until_due(self.history)
        for seed in range(4):
            with suppress(*UNREACHABLE):
                await self._list(random.Random(seed))

    async def _list(self, dice: random.Random) -> None:
        socket = await self.world.open(dice, "/connection", key=self.world.key)
        try:
            address = self.members[0].address
            answer = await ask(socket, "presence", address=address)
            if answer["direction"] == "REPLY":
                clients = [one["id"] for one in answer["connections"]]
                self.history.note("operator", "listed", address=address, clients=clients)
        finally:
            socket.transport.abort()

    async def leave(self) -> None:
        """Disconnect."""
        for one in self.members:
            one.leave()
        await ended(self._there)
