"""Requests: clients that ask the server, and clients that the server asks for others."""

from __future__ import annotations

import asyncio
import itertools
import json
from contextlib import suppress
from typing import Any, Final

from websockets.asyncio.client import ClientConnection

from faults.world import PAUSE_SECONDS, UNREACHABLE, Workload, World, ended, tasks_of

ASKERS: Final = 3
ANSWERERS: Final = 3
AT_ONCE: Final = 5
"""Requests of an asker that wait at once."""
PARTS: Final = 2
"""Of each answer of a client."""
TIMEOUT_SECONDS: Final = 5.0


class Asker:
    """Asks the server several things at once over one connection."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self._dice = world.dice(name)
        self._numbers = itertools.count(1)
        self._waiting: set[str] = set()

    async def run(self) -> None:
        """Ask until the clients shall stop."""
        while not self.world.stop.is_set():
            with suppress(*UNREACHABLE):
                socket = await self.world.open(self._dice, "/connection", key=self.world.key)
                reading = asyncio.ensure_future(self._read(socket))
                try:
                    await self._ask(socket)
                finally:
                    socket.transport.abort()
                    await asyncio.gather(reading, return_exceptions=True)
                    self._give_up()
            await self.world.pause(PAUSE_SECONDS)

    async def _ask(self, socket: ClientConnection) -> None:
        while await self.world.pause(self._dice.uniform(0.02, 0.2)):
            if len(self._waiting) < AT_ONCE:
                key = f"{self.name} {next(self._numbers)}"
                self._waiting.add(key)
                self.world.history.note(self.name, "asked", request=key)
                kind = self._dice.choice(("whoami", "presence"))
                frame = {"direction": "REQUEST", "key": key, "type": kind, "address": "token:nobody"}
                await socket.send(json.dumps(frame))
        with suppress(TimeoutError):
            async with asyncio.timeout(TIMEOUT_SECONDS):
                while self._waiting:
                    await asyncio.sleep(0.05)

    async def _read(self, socket: ClientConnection) -> None:
        while True:
            frame = json.loads(await socket.recv())
            if frame.get("direction") in ("REPLY", "ERROR"):
                self._waiting.discard(frame["key"])
                self.world.history.note(self.name, "answered", request=frame["key"])

    def _give_up(self) -> None:
        """The connection is over: nothing more comes for what waits."""
        for key in sorted(self._waiting):
            self.world.history.note(self.name, "gave_up", request=key)
        self._waiting.clear()


class Answerer:
    """A client that answers each request with two parts and a reply, and is asked each one once."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self._dice = world.dice(name)
        self._socket: ClientConnection | None = None
        self.id = ""
        """Of the connection; empty while there is none."""

    async def run(self) -> None:
        """Answer until the end of the run."""
        while not self.world.over.is_set():
            with suppress(*UNREACHABLE):
                self._socket = await self.world.open(self._dice, "/connection", key=self.world.key)
                try:
                    await self._serve(self._socket)
                finally:
                    self.id = ""
                    self._socket.transport.abort()
            await asyncio.sleep(PAUSE_SECONDS)

    def leave(self) -> None:
        """Disconnect."""
        if self._socket is not None:
            self._socket.transport.abort()

    async def _serve(self, socket: ClientConnection) -> None:
        await socket.send(json.dumps({"direction": "REQUEST", "key": "me", "type": "whoami"}))
        while True:
            frame = json.loads(await socket.recv())
            if frame.get("key") == "me":
                self.id = frame["id"]
            elif frame.get("direction") == "REQUEST":
                answer = {"key": frame["key"], "request": frame["request"]}
                for _ in range(PARTS):
                    await socket.send(json.dumps({"direction": "PARTIAL", **answer}))
                await socket.send(json.dumps({"direction": "REPLY", **answer}))


class Requests(Workload):
    """Askers of the server, and questions over REST to clients of any worker."""

    name = "requests"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.askers = [Asker(world, f"asker-{number}") for number in range(ASKERS)]
        self.answerers = [Answerer(world, f"answerer-{number}") for number in range(ANSWERERS)]
        self._answering: list[asyncio.Task[Any]] = []

    async def begin(self) -> None:
        """Connect those who answer."""
        self._answering = tasks_of(one.run() for one in self.answerers)

    async def play(self) -> None:
        """Ask."""
        remote = (self._ask_over_rest(one) for one in self.answerers)
        await ended(tasks_of([*(one.run() for one in self.askers), *remote]))

    async def leave(self) -> None:
        """Disconnect those who answer."""
        for one in self.answerers:
            one.leave()
        await ended(self._answering)

    async def _ask_over_rest(self, answerer: Answerer) -> None:
        dice = self.world.dice(f"rest to {answerer.name}")
        for number in itertools.count(1):
            if not await self.world.pause(dice.uniform(0.1, 0.5)):
                return
            if answerer.id:
                await self._ask_one(answerer, f"rest to {answerer.name} {number}", dice)

    async def _ask_one(self, answerer: Answerer, request: str, dice: Any) -> None:
        who = f"rest to {answerer.name}"
        message = {"type": "attack", "request": request}
        self.history.note(who, "asked", request=request)
        try:
            path = f"/api/connections/{answerer.id}/request"
            answer = await self.world.call(
                dice, "POST", path, {"message": message, "timeout": TIMEOUT_SECONDS}
            )
        except UNREACHABLE:
            self.history.note(who, "gave_up", request=request)
            return
        if answer.status_code == 200:
            body = answer.json()
            right = body["reply"]["request"] == request and len(body["partials"]) == PARTS
            if not right:  # of another request, or torn: as if it had come twice
                self.history.note(who, "answered", request=request)
        self.history.note(who, "answered", request=request)
