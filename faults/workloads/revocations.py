"""Tokens that are taken back while their clients try to stay, and to come again."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final

from websockets.asyncio.client import ClientConnection

from faults.checkers.revocations import SECONDS
from faults.world import PAUSE_SECONDS, UNREACHABLE, Workload, World, ended, tasks_of

HOLDERS: Final = 6
BETWEEN_SECONDS: Final = (2.0, 8.0)


class Holder:
    """A client of one token that sends to itself."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self._dice = world.dice(name)
        self._socket: ClientConnection | None = None

    async def run(self) -> None:
        """Come, send, and come again, until the end of the run."""
        while not self.world.over.is_set():
            with suppress(*UNREACHABLE):
                self._socket = await self.world.open(self._dice, "/ws", RegisterToken=self.name)
                self._note("let_in")
                try:
                    while True:
                        await self._socket.send(f"{self.name}|hello")
                        await self._socket.recv()
                        self._note("served")
                        await asyncio.sleep(self._dice.uniform(0.1, 0.4))
                finally:
                    self._socket.transport.abort()
            await asyncio.sleep(PAUSE_SECONDS)

    def leave(self) -> None:
        """Disconnect."""
        if self._socket is not None:
            self._socket.transport.abort()

    def _note(self, what: str) -> None:
        if not self.world.over.is_set():
            self.world.history.note(self.name, what, name=self.name)


class Revocations(Workload):
    """Holders of tokens, of which half are taken back one after the other."""

    name = "revocations"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.holders = [Holder(world, f"{world.prefix}-holder-{number}") for number in range(HOLDERS)]
        self._holding: list[asyncio.Task[Any]] = []

    async def begin(self) -> None:
        """Connect the holders."""
        self._holding = tasks_of(one.run() for one in self.holders)

    async def play(self) -> None:
        """Take tokens back, each until that is answered."""
        dice = self.world.dice("revocations")
        for one in self.holders[::2]:
            if not await self.world.pause(dice.uniform(*BETWEEN_SECONDS)):
                return
            while not await self._revoke(one.name, dice):
                if not await self.world.pause(PAUSE_SECONDS):
                    return

    async def _revoke(self, name: str, dice: Any) -> bool:
        try:
            answer = await self.world.call(dice, "POST", "/api/revocations/", {"token": name})
        except UNREACHABLE:
            return False
        if answer.status_code != 201:
            return False
        self.history.note("operator", "revoked", name=name)
        return True

    async def settle(self) -> None:
        """Let holders try for as long again as a revocation may take."""
        await asyncio.sleep(3 * SECONDS)

    async def leave(self) -> None:
        """Disconnect."""
        for one in self.holders:
            one.leave()
        await ended(self._holding)
