"""Receivers of messages at one address, of four protocols; what they get, and when they are told of a gap."""

from __future__ import annotations

import asyncio
import json
from abc import abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from websockets.asyncio.client import ClientConnection

from faults.world import PAUSE_SECONDS, UNREACHABLE, World

ANSWER_SECONDS: Final = 8.0


class Receiver:
    """A client that notes what it receives at one address, and comes back when its connection breaks."""

    path = ""
    protocol = ""

    def __init__(self, world: World, name: str, address: str) -> None:
        self.world, self.name, self.address = world, name, address
        self._dice = world.dice(name)
        self._socket: ClientConnection | None = None
        self.is_subscribed = False
        self.listed_as = ""
        """What the listing of its protocol calls it; several may have the same name."""

    async def run(self) -> None:
        """Receive until the end of the run."""
        while not self.world.over.is_set():
            with suppress(*UNREACHABLE):
                await self._serve()
            if self.is_subscribed:
                self.is_subscribed = False
                self._note("told", addresses=[self.address], why="closed")
                self._note("unsubscribed")
                self._note_presence("absent")
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
            self._subscribed()
            while True:
                self._take(json.loads(await socket.recv()))
        finally:
            socket.transport.abort()

    def _subscribed(self) -> None:
        self.is_subscribed = True
        self._note_presence("present")

    def _take(self, frame: Any) -> None:
        message = self.message_of(frame)
        if message is None:
            return
        if message == "gap":
            self._note("told", addresses=[self.address], why="gap")
        else:
            self._note("received", sender=message["sender"], number=message["number"])

    def _note(self, what: str, **data: Any) -> None:
        if not self.world.over.is_set():
            self.world.history.note(self.name, what, address=self.address, **data)

    def _note_presence(self, what: str) -> None:
        """For `listings`, which asks for the clients of one protocol at one address."""
        if not self.world.over.is_set():
            address = f"{self.protocol} {self.address}"
            self.world.history.note(self.name, what, address=address, client=self.listed_as)

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
    protocol = "tokens"

    def __init__(self, world: World, name: str, address: str) -> None:
        super().__init__(world, name, address)
        self.listed_as = address.removeprefix("token:")

    def query(self) -> Mapping[str, str]:
        """The token of the address."""
        return {"RegisterToken": self.listed_as}

    def message_of(self, frame: Any) -> Any:
        """The text is the message."""
        return frame


class RequestsReceiver(Receiver):
    """A client that subscribes by a request."""

    path = "/connection"
    protocol = "requests"

    def query(self) -> Mapping[str, str]:
        """The API key."""
        return {"key": self.world.key}

    async def subscribe(self, socket: ClientConnection) -> None:
        """Wait for the replies. Raises TimeoutError when one is an error."""
        self.listed_as = (await self._ask(socket, "whoami"))["id"]
        await self._ask(socket, "subscribe", addresses=[self.address])

    async def _ask(self, socket: ClientConnection, type: str, **fields: Any) -> Any:
        answer = await ask(socket, type, **fields)
        if answer["direction"] != "REPLY":
            raise TimeoutError(answer)
        return answer

    def message_of(self, frame: Any) -> Any:
        """A delivery, or a gap."""
        if frame["type"] == "gap":
            return "gap"
        return frame["message"] if frame["type"] == "delivery" else None


class RoomsReceiver(Receiver):
    """A plain socket of the rooms protocol; it has joined when CLIENTS, asked for behind, is answered."""

    path = "/bus"
    protocol = "rooms"

    def __init__(self, world: World, name: str, address: str) -> None:
        super().__init__(world, name, address)
        self.room = address.removeprefix("room:bus/")
        self.listed_as = name

    async def subscribe(self, socket: ClientConnection) -> None:
        """Join, and wait for the list of members."""
        await socket.send(json.dumps(["JOIN", {"room": self.room, "name": self.name}]))
        await socket.send(json.dumps(["CLIENTS", {"room": self.room}]))
        while (frame := json.loads(await socket.recv()))[0] != "CLIENTS":
            self._take(frame)

    def message_of(self, frame: Any) -> Any:
        """The message of an EVENT."""
        return frame[1]["message"] if frame[0] == "EVENT" else None


class EventsReceiver(Receiver):
    """A socket of the events protocol, on a channel."""

    path = "/websocket"
    protocol = "events"

    def query(self) -> Mapping[str, str]:
        """The channel of the address."""
        return {"channel_id": self.address.removeprefix("channel:")}

    async def subscribe(self, socket: ClientConnection) -> None:
        """Wait for the answer that names the client; the first such frame precedes the subscription."""
        await socket.send(json.dumps({"type": "connection"}))
        for _ in range(2):
            while (frame := json.loads(await socket.recv())).get("type") != "connection":
                self._take(frame)
        self.listed_as = frame["data"]["root_id"]

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
