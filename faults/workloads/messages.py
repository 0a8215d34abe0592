"""Messages without history: publishers of numbered messages, and receivers of four protocols."""

from __future__ import annotations

import asyncio
import json
import random
from abc import abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from websockets.asyncio.client import ClientConnection

from faults.checkers import delivery
from faults.history import NEMESIS, Event
from faults.world import PAUSE_SECONDS, UNREACHABLE, Workload, World, ended, tasks_of
from tests.services.waiting import until

ANSWER_SECONDS: Final = 8.0
RATE_SECONDS: Final = 0.05
"""Between two messages of a publisher."""
SETTLE_SECONDS: Final = 30.0


class Receiver:
    """A client that notes what it receives at one address, and comes back when its connection breaks."""

    path = ""

    def __init__(self, world: World, name: str, address: str) -> None:
        self.world, self.name, self.address = world, name, address
        self._dice = world.dice(name)
        self._socket: ClientConnection | None = None
        self.is_subscribed = False

    async def run(self) -> None:
        """Receive until the end of the run."""
        while not self.world.over.is_set():
            with suppress(*UNREACHABLE):
                await self._serve()
            if self.is_subscribed:
                self.is_subscribed = False
                self._note("told", why="closed")
                self._note("unsubscribed")
            await asyncio.sleep(PAUSE_SECONDS)

    def leave(self) -> None:
        """Disconnect."""
        if self._socket is not None:
            self._socket.transport.abort()

    async def _serve(self) -> None:
        self._socket = socket = await self.world.open(self._dice, self.path, **self.query())
        self._note("connected")
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self.subscribe(socket)
            self._note("subscribed")
            self.is_subscribed = True
            while True:
                self._take(json.loads(await socket.recv()))
        finally:
            socket.transport.abort()

    def _take(self, frame: Any) -> None:
        message = self.message_of(frame)
        if message is None:
            return
        if message == "gap":
            self._note("told", why="gap")
        else:
            self._note("received", sender=message["sender"], number=message["number"])

    def _note(self, what: str, **data: Any) -> None:
        if not self.world.over.is_set():
            self.world.history.note(self.name, what, address=self.address, **data)

    def query(self) -> Mapping[str, str]:
        """The query of the handshake."""
        return {}

    async def subscribe(self, socket: ClientConnection) -> None:
        """Return when everything that is published from now on is for this client."""

    @abstractmethod
    def message_of(self, frame: Any) -> Any:
        """What was published; `gap` where the frame says that something is missing, None for others."""


class TokensReceiver(Receiver):
    """A client with a token: it is subscribed when the handshake is answered."""

    path = "/ws"

    def query(self) -> Mapping[str, str]:
        """The token of the address."""
        return {"RegisterToken": self.address.removeprefix("token:")}

    def message_of(self, frame: Any) -> Any:
        """The text is the message."""
        return frame


class RequestsReceiver(Receiver):
    """A client that subscribes by a request."""

    path = "/connection"

    def query(self) -> Mapping[str, str]:
        """The API key."""
        return {"key": self.world.key}

    async def subscribe(self, socket: ClientConnection) -> None:
        """Wait for the reply. Raises TimeoutError when it is an error."""
        answer = await ask(socket, "subscribe", addresses=[self.address])
        if answer["direction"] != "REPLY":
            raise TimeoutError(answer)

    def message_of(self, frame: Any) -> Any:
        """A delivery, or a gap."""
        if frame["type"] == "gap":
            return "gap"
        return frame["message"] if frame["type"] == "delivery" else None


class RoomsReceiver(Receiver):
    """A plain socket of the rooms protocol; it has joined when CLIENTS, asked for behind, is answered."""

    path = "/bus"

    async def subscribe(self, socket: ClientConnection) -> None:
        """Join, and wait for the list of members."""
        room = self.address.removeprefix("room:bus/")
        await socket.send(json.dumps(["JOIN", {"room": room, "name": self.name}]))
        await socket.send(json.dumps(["CLIENTS", {"room": room}]))
        while (frame := json.loads(await socket.recv()))[0] != "CLIENTS":
            self._take(frame)

    def message_of(self, frame: Any) -> Any:
        """The message of an EVENT."""
        return frame[1]["message"] if frame[0] == "EVENT" else None


class EventsReceiver(Receiver):
    """A socket of the events protocol, on a channel."""

    path = "/websocket"

    def query(self) -> Mapping[str, str]:
        """The channel of the address."""
        return {"channel_id": self.address.removeprefix("channel:")}

    async def subscribe(self, socket: ClientConnection) -> None:
        """Wait for the answer that names the connection: what was before it is for the client, too."""
        await socket.send(json.dumps({"type": "connection"}))
        while (frame := json.loads(await socket.recv())).get("type") != "connection":
            self._take(frame)

    def message_of(self, frame: Any) -> Any:
        """The object itself."""
        return frame if "number" in frame else None


async def ask(socket: ClientConnection, type: str, **fields: Any) -> Any:
    """The answer to a request; other frames are dropped. Raises TimeoutError."""
    await socket.send(json.dumps({"direction": "REQUEST", "key": "k", "type": type, **fields}))
    async with asyncio.timeout(ANSWER_SECONDS):
        while True:
            frame = json.loads(await socket.recv())
            if frame.get("key") == "k" and frame["direction"] in ("REPLY", "ERROR"):
                return frame


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

    def __init__(self, world: World) -> None:
        super().__init__(world)
        token, room, channel = (f"{kind}{world.prefix}" for kind in ("token:", "room:bus/", "channel:"))
        self.receivers = [
            kind(world, f"{kind.__name__}-{number}", address)
            for kind, address in (
                (TokensReceiver, token),
                (RequestsReceiver, token),
                (RoomsReceiver, room),
                (RequestsReceiver, room),
                (EventsReceiver, channel),
                (RequestsReceiver, channel),
            )
            for number in range(3)
        ]
        for place, one in enumerate(self.receivers):
            one.name = f"{one.name}-{place}"
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
        """Publish."""
        await ended(tasks_of(one.run() for one in self.publishers))

    async def settle(self) -> None:
        """A last message at every address, behind which comes nothing."""
        with suppress(AssertionError):
            await until(lambda: all(one.is_subscribed for one in self.receivers), SETTLE_SECONDS)
        last = {one.address: await self._publish_last(one) for one in self.publishers[::2]}
        until_seconds = self.history.now + SETTLE_SECONDS
        while not (self._have(last) and not self._missing()) and self.history.now < until_seconds:
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

    def _missing(self) -> bool:
        """True while something may come yet: what its worker could not send is sent again."""
        quiet = Event(self.history.now, NEMESIS, "quiet")
        return bool(delivery.check([*self.history, quiet]))

    def _have(self, last: Mapping[str, str]) -> bool:
        seen = {(one.who, one["sender"]) for one in self.history if one.what == "received"}
        return all((one.name, last[one.address]) in seen for one in self.receivers)
