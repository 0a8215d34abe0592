"""Receivers of a room over Socket.IO, which come back to their session where the server keeps it."""

from __future__ import annotations

import asyncio
import json
import random
from abc import ABC, abstractmethod
from collections import deque
from typing import Any, ClassVar, Final

from websockets.asyncio.client import ClientConnection

from faults.workloads.receivers import ANSWER_SECONDS, RoomsReceiver
from faults.world import World
from tests.soak.sockets import Exchange, Lost

PATH: Final = "/socket.io/"
NAMESPACE: Final = "/bus,"
CLOSE, PING, PONG = "1", "2", "3"
CONNECT, DISCONNECT, EVENT, ACK, REFUSED = (f"4{digit}{NAMESPACE}" for digit in range(5))


class Carrier(ABC):
    """A transport of Engine.IO packets. All methods but `abort` raise one of UNREACHABLE."""

    @abstractmethod
    async def open(self, world: World, dice: random.Random) -> Any:
        """Shake hands with any server; the content of its open packet."""

    @abstractmethod
    async def send(self, packet: str) -> None:
        """Send one packet."""

    @abstractmethod
    async def receive(self) -> str:
        """The next packet."""

    @abstractmethod
    def abort(self) -> None:
        """Vanish; safe to call at any time."""


class SocketCarrier(Carrier):
    """A WebSocket."""

    _socket: ClientConnection | None = None

    async def open(self, world: World, dice: random.Random) -> Any:
        """Connect, and take the open packet."""
        self._socket = await world.open(dice, PATH, EIO="4", transport="websocket")
        return json.loads((await self.receive())[1:])

    async def send(self, packet: str) -> None:
        """One frame."""
        assert self._socket is not None
        await self._socket.send(packet)

    async def receive(self) -> str:
        """One frame."""
        assert self._socket is not None
        return str(await self._socket.recv())

    def abort(self) -> None:
        """Abort the connection."""
        if self._socket is not None:
            self._socket.transport.abort()


class PollingCarrier(Carrier):
    """Polls over one connection and posts over another, to one server, and perhaps to two of its workers."""

    def __init__(self) -> None:
        self._polls, self._posts = Exchange(), Exchange()
        self._packets: deque[str] = deque()
        self._path = f"{PATH}?EIO=4&transport=polling"

    async def open(self, world: World, dice: random.Random) -> Any:
        """Poll for the open packet, which names the session."""
        port = dice.choice(world.nodes).clients.port
        await self._polls.connect(port)
        await self._posts.connect(port)
        opened = json.loads((await self.receive())[1:])
        self._path += f"&sid={opened['sid']}"
        return opened

    async def send(self, packet: str) -> None:
        """One post."""
        await self._call(self._posts, "POST", packet)

    async def receive(self) -> str:
        """Poll when all that came with the last poll is read."""
        while not self._packets:
            self._packets.extend((await self._call(self._polls, "GET")).split("\x1e"))
        return self._packets.popleft()

    async def _call(self, link: Exchange, method: str, body: str = "") -> str:
        try:
            return (await link.ask(method, self._path, body)).decode()
        except Lost as lost:
            raise ConnectionError(str(lost)) from None

    def abort(self) -> None:
        """Abort both connections: the server learns nothing of it, but from the pings."""
        self._polls.abort()
        self._posts.abort()


class SocketIOReceiver(RoomsReceiver):
    """A client of Socket.IO 4.6: it names its session and its last offset when it comes back.

    Where the server says that the session goes on, nothing may be missing and nothing come again.
    """

    carrier: ClassVar[type[Carrier]] = SocketCarrier

    def __init__(self, world: World, name: str, address: str) -> None:
        super().__init__(world, name, address)
        self._carrier: Carrier | None = None
        self._session = ""
        """The `pid` of a session in which it has joined."""
        self._offset: str | None = None
        self._silence = ANSWER_SECONDS
        """After so long without a packet its connection is dead."""

    def leave(self) -> None:
        """Lose the connection; during the run it comes back."""
        if self._carrier is not None:
            self._carrier.abort()

    async def _serve(self) -> None:
        self._carrier = carrier = self.carrier()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                opened = await carrier.open(self.world, self._dice)
                self._silence = (opened["pingInterval"] + opened["pingTimeout"]) / 1000
                await self._connect(carrier)
            self._subscribed()
            while True:
                self._take_packet(await self._packet(carrier))
        finally:
            carrier.abort()

    async def _connect(self, carrier: Carrier) -> None:
        """Come back, or join anew."""
        known = {"pid": self._session} if self._session else {}
        known |= {"offset": self._offset} if self._session and self._offset is not None else {}
        await carrier.send(CONNECT + json.dumps(known))
        answer = json.loads((await self._packet(carrier)).removeprefix(CONNECT))
        session = answer.get("pid", "")  # without recovery there is none
        if session and session == self._session:
            self._note("recovered")
            return
        self._session, self._offset = "", None
        self._note("connected")
        await carrier.send(f"{EVENT}0{json.dumps(['JOIN', {'room': self.room, 'name': self.name}])}")
        while not (packet := await self._packet(carrier)).startswith(ACK):
            self._take_packet(packet)
        self._session = session
        self._note("subscribed")

    async def _packet(self, carrier: Carrier) -> str:
        """The next packet of the namespace. Raises one of UNREACHABLE, also at the end of the session."""
        while True:
            async with asyncio.timeout(self._silence):
                packet = await carrier.receive()
                if packet == PING:
                    await carrier.send(PONG)
            if packet == CLOSE or packet.startswith((DISCONNECT, REFUSED)):
                raise ConnectionError(packet)
            if packet.startswith("4"):
                return packet

    def _take_packet(self, packet: str) -> None:
        if packet.startswith(EVENT):
            event: list[Any] = json.loads(packet.removeprefix(EVENT))
            if len(event) > 2:  # with recovery the offset is the last argument
                self._offset = event[-1]
            self._take(event)


class PollingReceiver(SocketIOReceiver):
    """The same by long polling."""

    carrier = PollingCarrier
