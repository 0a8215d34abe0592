"""Streams: readers that are cut, and come back with their positions; publishers that try again with an id."""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from websockets.asyncio.client import ClientConnection

from faults.workloads.receivers import ANSWER_SECONDS, ask
from faults.world import PAUSE_SECONDS, UNREACHABLE, Workload, World, ended, tasks_of
from tests.services.waiting import until

RATE_SECONDS: Final = 0.15
SETTLE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Size:
    """How many of each; `cut_seconds` lie between two readers that lose their connection."""

    addresses: int = 6
    readers: int = 6
    publishers: int = 6
    cut_seconds: float = 0.7


class Reader:
    """A client of some streams that keeps its positions."""

    def __init__(self, world: World, name: str, addresses: list[str]) -> None:
        self.world, self.name, self.addresses = world, name, addresses
        self.positions: dict[str, list[Any]] = {}
        self._dice = world.dice(name)
        self._socket: ClientConnection | None = None

    async def run(self) -> None:
        """Read until the end of the run."""
        while not self.world.over.is_set():
            with suppress(*UNREACHABLE):
                self._socket = await self.world.open(self._dice, "/connection", key=self.world.key)
                try:
                    if await self._subscribe(self._socket):
                        while True:
                            self._take(json.loads(await self._socket.recv()))
                finally:
                    self._socket.transport.abort()
            await asyncio.sleep(PAUSE_SECONDS)

    def cut(self) -> None:
        """Lose the connection."""
        if self._socket is not None:
            self._socket.transport.abort()

    async def _subscribe(self, socket: ClientConnection) -> bool:
        since = {one: {"epoch": epoch, "offset": offset} for one, (epoch, offset) in self.positions.items()}
        fields = {"type": "subscribe", "addresses": self.addresses, "since": since}
        await socket.send(json.dumps({"direction": "REQUEST", "key": "k", **fields}))
        async with asyncio.timeout(ANSWER_SECONDS):
            while (frame := json.loads(await socket.recv())).get("key") != "k":
                self._take(frame)
        if frame["direction"] != "REPLY" or len(frame.get("positions", ())) < len(self.addresses):
            return False  # its worker does not know the rule yet
        for address, place in frame["positions"].items():
            if place.get("recovered"):
                self._note("stream.recovered", address=address)
                continue
            what = "stream.told" if "recovered" in place else "stream.started"
            self.positions[address] = [place["epoch"], place["offset"]]
            self._note(what, address=address, epoch=place["epoch"], offset=place["offset"])
        return True

    def _take(self, frame: Any) -> None:
        if frame.get("type") == "gap":
            self._note("stream.gap")
        elif frame.get("type") == "delivery" and "epoch" in frame:  # without: from an epoch that is over
            places = frame.get("positions") or {frame["address"]: frame}
            found = {one: [place["epoch"], place["offset"]] for one, place in places.items()}
            self.positions |= found
            self._note("stream.delivered", id=frame["message"], positions=found)

    def _note(self, what: str, **data: Any) -> None:
        if not self.world.over.is_set():
            self.world.history.note(self.name, what, **data)


class StreamPublisher:
    """Publishes messages with ids, each until it is taken."""

    def __init__(self, world: World, name: str, addresses: list[str]) -> None:
        self.world, self.name, self._addresses = world, name, addresses
        self._dice = world.dice(name)
        self._socket: ClientConnection | None = None

    async def run(self) -> None:
        """Publish until the clients shall stop."""
        number = 0
        while await self.world.pause(RATE_SECONDS * self._dice.uniform(0.5, 1.5)):
            number += 1
            to = self._dice.sample(self._addresses, self._dice.choice((1, 1, 2, 3)))
            await self.publish(f"{self.name} {number}", to, self._dice)
        await self.leave()

    async def publish(self, message: str, to: list[str], dice: random.Random) -> Any:
        """The positions of a message, published as often as it takes.

        Raises AssertionError when it is refused for another reason than that something is out.
        """
        begun = self.world.history.now
        while not self.world.over.is_set():
            with suppress(*UNREACHABLE):
                if self._socket is None:
                    self._socket = await self.world.open(dice, "/connection", key=self.world.key)
                answer = await ask(self._socket, "publish", addresses=to, message=message, id=message)
                if answer["direction"] == "REPLY":
                    places = {one: [at["epoch"], at["offset"]] for one, at in answer["positions"].items()}
                    self.world.history.note(self.name, "stream.published", positions=places, begun=begun)
                    return answer["positions"]
                assert answer["code"] == "unavailable", answer
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            await self.leave()
            await asyncio.sleep(PAUSE_SECONDS)
        return None

    async def leave(self) -> None:
        """Disconnect."""
        if self._socket is not None:
            self._socket.transport.abort()
        self._socket = None


class Streams(Workload):
    """Readers and publishers of addresses with history."""

    name = "streams"

    def __init__(self, world: World, size: Size = Size()) -> None:
        super().__init__(world)
        self._cut_seconds = size.cut_seconds
        self.addresses = [f"token:{world.prefix}-stream-{number}" for number in range(size.addresses)]
        dice = world.dice("streams")
        self.readers = [
            Reader(world, f"reader-{number}", dice.sample(self.addresses, dice.randint(1, 4)))
            for number in range(size.readers)
        ]
        self.publishers = [
            StreamPublisher(world, f"{world.prefix} stream {number}", self.addresses)
            for number in range(size.publishers)
        ]
        self._reading: list[asyncio.Task[Any]] = []

    async def begin(self) -> None:
        """Make the rule; every reader has a position at each of its addresses."""
        pattern = f"token:{self.world.prefix}-stream-*"
        rule = {"pattern": pattern, "history_size": 10_000, "history_seconds": 3600}
        await self.world.made("/api/rules/", rule)
        self._reading = tasks_of(one.run() for one in self.readers)
        await until(lambda: all(len(one.positions) == len(one.addresses) for one in self.readers))

    async def play(self) -> None:
        """Publish, and cut readers."""
        await ended(tasks_of([self._cut(), *(one.run() for one in self.publishers)]))

    async def _cut(self) -> None:
        dice = self.world.dice("cuts")
        while await self.world.pause(self._cut_seconds):
            dice.choice(self.readers).cut()

    async def settle(self) -> None:
        """A last message in every stream; whoever has its position, or was told of it, is at the end."""
        last = self.publishers[0]
        ends = {}
        for address in self.addresses:
            places = await last.publish(f"last of {address}", [address], random.Random(0))
            ends[address] = [places[address]["epoch"], places[address]["offset"]]
        await last.leave()
        with suppress(AssertionError):
            await until(lambda: self._are_at(ends), SETTLE_SECONDS)
        for address, (epoch, offset) in ends.items():
            self.history.note("operator", "stream.end", address=address, epoch=epoch, offset=offset)

    def _are_at(self, ends: dict[str, list[Any]]) -> bool:
        return all(
            one.positions[address] == ends[address] for one in self.readers for address in one.addresses
        )

    async def leave(self) -> None:
        """Disconnect."""
        for one in self.readers:
            one.cut()
        await ended(self._reading)
