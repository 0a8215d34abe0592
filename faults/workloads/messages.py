"""Messages without history: publishers of numbered messages, and receivers of all protocols."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from websockets.asyncio.client import ClientConnection

from faults.checkers import delivery
from faults.history import NEMESIS, Event
from faults.workloads.receivers import (
    EventsReceiver,
    RequestsReceiver,
    RoomsReceiver,
    TokensReceiver,
    ask,
)
from faults.workloads.socketio import PollingReceiver, SocketIOReceiver
from faults.world import PAUSE_SECONDS, UNREACHABLE, Workload, World, ended, tasks_of
from tests.services.waiting import until

RATE_SECONDS: Final = 0.05
"""Between two messages of a publisher."""
CUT_SECONDS: Final = 1.0
"""Between two receivers over Socket.IO that lose their connection."""
SETTLE_SECONDS: Final = 30.0


class Publisher:
    """Publishes numbered messages to one address; each connection of it is a sender of its own."""

    def __init__(self, world: World, name: str, address: str) -> None:
        self.world, self.name, self.address = world, name, address
        self._dice = world.dice(name)
        self._connections = 0

    async def run(self) -> None:
        """Publish until the clients shall stop."""
        while not self.world.stop.is_set():
            with suppress(*UNREACHABLE):
                await self._publish_over_one()
            await self.world.pause(PAUSE_SECONDS)

    async def _publish_over_one(self) -> None:
        self._connections += 1
        sender = f"{self.name}.{self._connections}"
        socket = await self.world.open(self._dice, "/connection", key=self.world.key)
        try:
            number = 0
            while await self.world.pause(RATE_SECONDS * self._dice.uniform(0.5, 1.5)):
                number += 1
                await self.publish(socket, sender, number)
        finally:
            socket.transport.abort()

    async def publish(self, socket: ClientConnection, sender: str, number: int) -> bool:
        """Publish one message; True when the server has taken it. Raises one of UNREACHABLE."""
        begun = self.world.history.now
        message = {"sender": sender, "number": number}
        answer = await ask(socket, "publish", addresses=[self.address], message=message)
        if answer["direction"] != "REPLY":
            return False
        self.world.history.note(sender, "published", address=self.address, number=number, begun=begun)
        return True


class Messages(Workload):
    """Publishers and receivers at one address of each protocol."""

    name = "messages"

    def __init__(self, world: World, cuts: bool = True) -> None:
        """`cuts`: clients that may come back to their session lose their connections meanwhile."""
        super().__init__(world)
        self._cuts = cuts
        token, room, channel = (f"{kind}{world.prefix}" for kind in ("token:", "room:bus/", "channel:"))
        kinds = (
            *[(TokensReceiver, token)] * 3,
            *[(RequestsReceiver, token)] * 3,
            *[(RoomsReceiver, room)] * 3,
            *[(SocketIOReceiver, room)] * 2,
            *[(PollingReceiver, room)] * 2,
            *[(RequestsReceiver, room)] * 3,
            *[(EventsReceiver, channel)] * 3,
            *[(RequestsReceiver, channel)] * 3,
        )
        self.receivers = [
            kind(world, f"{kind.__name__}-{number}", address) for number, (kind, address) in enumerate(kinds)
        ]
        self.publishers = [
            Publisher(world, f"publisher-{number}-{address}", address)
            for address in (token, room, channel)
            for number in range(2)
        ]
        self._receiving: list[asyncio.Task[Any]] = []

    async def begin(self) -> None:
        """Every receiver is subscribed."""
        self._receiving = tasks_of(one.run() for one in self.receivers)
        await until(lambda: all(one.is_subscribed for one in self.receivers))

    async def play(self) -> None:
        """Publish, and cut clients."""
        cutting = [self._cut()] if self._cuts else []
        await ended(tasks_of([*cutting, *(one.run() for one in self.publishers)]))

    async def _cut(self) -> None:
        dice = self.world.dice("cuts of sessions")
        returning = [one for one in self.receivers if isinstance(one, SocketIOReceiver)]
        while await self.world.pause(CUT_SECONDS):
            there = [one for one in returning if one.is_subscribed]  # others would never get to be
            if there:
                dice.choice(there).leave()

    async def settle(self) -> None:
        """A last message at every address, behind which comes nothing."""
        with suppress(AssertionError):
            await until(lambda: all(one.is_subscribed for one in self.receivers), SETTLE_SECONDS)
        last = {one.address: await self._publish_last(one) for one in self.publishers[::2]}
        until_seconds = self.history.now + SETTLE_SECONDS
        while not (self._have(last) and not await self._missing()) and self.history.now < until_seconds:
            await asyncio.sleep(1)  # a look at the history takes a part of a second

    async def leave(self) -> None:
        """Disconnect the receivers."""
        for one in self.receivers:
            one.leave()
        await ended(self._receiving)

    async def _publish_last(self, publisher: Publisher) -> str:
        """The sender of a message that the server has taken."""
        for attempt in range(100):
            sender = f"{publisher.name}.last{attempt}"
            with suppress(*UNREACHABLE):
                socket = await self.world.open(random.Random(attempt), "/connection", key=self.world.key)
                try:
                    if await publisher.publish(socket, sender, 1):
                        return sender
                finally:
                    socket.transport.abort()
            await asyncio.sleep(PAUSE_SECONDS)
        raise AssertionError("the servers take nothing after the faults")

    async def _missing(self) -> bool:
        """True while something may come yet: what its worker could not send is sent again.

        The look is taken in a thread: clients answer pings meanwhile.
        """
        events = [*self.history, Event(self.history.now, NEMESIS, "quiet")]
        return bool(await asyncio.to_thread(delivery.check, events))

    def _have(self, last: Mapping[str, str]) -> bool:
        seen = {(one.who, one["sender"]) for one in self.history if one.what == "received"}
        return all((one.name, last[one.address]) in seen for one in self.receivers)
