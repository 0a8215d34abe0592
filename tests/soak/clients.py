"""A client of each protocol, as cheap as a real connection can be, and those that publish."""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from tests.soak.ledger import Ledger, Receipts
from tests.soak.sockets import Calls, Exchange, Lost, Socket

TOKENS, ROOMS, EVENTS, REQUESTS = range(4)
"""Senders: a client of each protocol that has messages."""
SENDERS: Final = 4
GROUPS: Final = 40
CUSTOMERS: Final = 20_000
"""So many that none of them plays twice, even where a player has just vanished."""
_ENGINEIO: Final = "/socket.io/?EIO=4&transport="


@dataclass
class Place:
    """Where clients go, and what they share."""

    port: int
    key: str
    ledger: Ledger
    calls: Calls
    customer_token: Callable[[str], str]
    """The token of a customer."""
    created: int = 0
    """Sessions that were granted."""
    polls: int = 0
    """Answers to polls."""
    pings: int = 0
    """Those of the protocols, which were answered."""


def token(group: int) -> str:
    """The name of a group: a token, a room and a channel."""
    return f"load{group}"


def addresses(group: int) -> list[str]:
    """The addresses of it."""
    return [f"token:{token(group)}", f"room:bus/{token(group)}", f"channel:{token(group)}"]


class Client(ABC):
    """One connection, with a number; it is in a group, and gets what some senders say to that."""

    kind = ""
    senders: Sequence[int] = ()

    def __init__(self, place: Place, number: int, group: int) -> None:
        self.place, self.number, self.group = place, number, group
        self.name = f"{self.kind} {number}"
        self.receipts = Receipts(place.ledger, self.name, group, self.senders)

    async def enter(self) -> None:
        """Connect; what is published when this has returned is for this client. Raises Lost."""
        await self.subscribe()
        self.receipts.begin()

    @abstractmethod
    async def subscribe(self) -> None:
        """Connect, and wait for the answer that says so."""

    @abstractmethod
    async def leave(self) -> None:
        """Say goodbye."""

    @abstractmethod
    def vanish(self) -> None:
        """Hang up without a word."""

    def fail(self, why: str) -> None:
        """Note that something went wrong that was not asked for."""
        self.place.ledger.faults.append(f"{self.name}: {why}")


class SocketClient(Client):
    """A client with a WebSocket."""

    def __init__(self, place: Place, number: int, group: int) -> None:
        super().__init__(place, number, group)
        self.socket = _ClientSocket(self)
        self._now = asyncio.get_running_loop().time

    async def leave(self) -> None:
        """Close."""
        await self.socket.close()

    def vanish(self) -> None:
        """Abort the connection."""
        self.socket.abort()

    async def open(self, path: str, *first: str) -> None:
        """Shake hands, and send frames behind it."""
        await self.socket.open(self.place.port, path, *first)

    def take(self, payload: bytes) -> None:
        """A frame."""
        self.receipts.take(payload, self._now())


class _ClientSocket(Socket):
    def __init__(self, client: SocketClient) -> None:
        super().__init__()
        self._client = client

    def take(self, payload: bytes) -> None:
        """The client's, and perhaps what is waited for."""
        self._client.take(payload)
        self.answered(payload)

    def connection_lost(self, error: Exception | None) -> None:
        """Nobody but the churn ends a connection."""
        super().connection_lost(error)
        if not self.leaving:
            self._client.fail(self.lost())


class Player(SocketClient):
    """Asks for a session, binds it, and answers PINGs."""

    kind = "sessions"

    async def subscribe(self) -> None:
        """`POST /sessions`, then REQUESTED until OK."""
        customer = self.place.customer_token(f"customer-{self.number % CUSTOMERS}")
        body = {"offerId": "film", "sessionName": self.name}
        answer = await self.place.calls.json("POST", "/sessions", body, Authorization=f"Bearer {customer}")
        self.place.created += 1
        parts = urlsplit(answer["endpoint"])
        await self.open(f"{parts.path}?{parts.query}")
        await self.socket.ask('{"action":"REQUESTED"}', b'"OK"')

    async def leave(self) -> None:
        """The slot is free at once."""
        self.socket.leaving = True
        self.socket.send('{"action":"FINISHED"}')
        await super().leave()

    def take(self, payload: bytes) -> None:
        """Stay alive."""
        if b'"PING"' in payload:
            self.place.pings += 1
            self.socket.send('{"action":"PONG"}')
        elif b'"OK"' not in payload:
            self.fail(payload.decode())


class PlainRoom(SocketClient):
    """A plain socket in a room."""

    kind = "plain rooms"
    senders = (ROOMS, REQUESTS)

    async def subscribe(self) -> None:
        """JOIN; what is asked for behind it is answered after it."""
        room = {"room": token(self.group), "name": self.name}
        await self.open("/bus", json.dumps(["JOIN", room]))
        await self.socket.ask('["CLIENTS",{"room":"nobody is here"}]', b'"CLIENTS"')


class SocketIORoom(SocketClient):
    """The same over Socket.IO."""

    kind = "Socket.IO"
    senders = (ROOMS, REQUESTS)

    async def subscribe(self) -> None:
        """Connect to the namespace, and JOIN with an ack."""
        await self.open(f"{_ENGINEIO}websocket")
        await self.socket.ask("40/bus,", b"40/bus,")
        await self.socket.ask(joining(self), b"43/bus,0[]")

    def take(self, payload: bytes) -> None:
        """Answer pings."""
        if payload == b"2":
            self.place.pings += 1
            self.socket.send("3")
        else:
            super().take(payload)


def joining(client: Client) -> str:
    """The packet of a JOIN with an ack."""
    return f"42/bus,0{json.dumps(['JOIN', {'room': token(client.group), 'name': client.name}])}"


class EventsClient(SocketClient):
    """A socket on a channel."""

    kind = "events"
    senders = (EVENTS, REQUESTS)

    async def subscribe(self) -> None:
        """It is told of its identity once messages to it arrive."""
        await self.open(f"/websocket?channel_id={token(self.group)}")
        await self.socket.ask('{"type":"connection"}', b'"connection"')


class RequestsClient(SocketClient):
    """Subscribes to all three addresses of its group, asks, and answers."""

    kind = "requests"
    senders = (TOKENS, ROOMS, EVENTS, REQUESTS)

    async def subscribe(self) -> None:
        """Wait for the reply."""
        await self.open(f"/connection?key={self.place.key}")
        await self.request("subscribe", addresses=addresses(self.group))

    async def request(self, type: str, **fields: Any) -> Any:
        """The reply to a request. Raises Lost when it is an ERROR."""
        key = f"of {self.number}"
        frame = {"direction": "REQUEST", "key": key, "type": type, **fields}
        answer = json.loads(await self.socket.ask(json.dumps(frame), key.encode()))
        if answer["direction"] != "REPLY":
            raise Lost(f"{type}: {answer}")
        return answer

    def take(self, payload: bytes) -> None:
        """Answer what an operator asks."""
        if b'"REQUEST"' not in payload:
            super().take(payload)
            return
        asked = json.loads(payload)
        answer = {"direction": "REPLY", "key": asked["key"], "number": asked["number"]}
        self.socket.send(json.dumps(answer))


class TokensClient(SocketClient):
    """A client with a token: it is subscribed when the handshake is answered."""

    kind = "tokens"
    senders = (TOKENS, REQUESTS)

    async def subscribe(self) -> None:
        """Connect."""
        await self.open(f"/ws?RegisterToken={token(self.group)}")


class PollingRoom(Client):
    """A Socket.IO client that polls over one connection and posts over another, perhaps at another worker."""

    kind = "polling"
    senders = (ROOMS, REQUESTS)

    def __init__(self, place: Place, number: int, group: int) -> None:
        super().__init__(place, number, group)
        self._polls, self._posts = Exchange(), Exchange()
        self._polling: asyncio.Task[None] | None = None
        self._path = f"{_ENGINEIO}polling"
        self._joined: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._leaving = False

    async def subscribe(self) -> None:
        """Open a session, connect to the namespace, and JOIN with an ack, which a poll brings."""
        await self._polls.connect(self.place.port)
        await self._posts.connect(self.place.port)
        opening = await self._polls.ask("GET", self._path)
        self._path += f"&sid={json.loads(opening[1:])['sid']}"
        await self._posts.ask("POST", self._path, "40/bus,")
        self._polling = asyncio.create_task(self._poll())
        await self._posts.ask("POST", self._path, joining(self))
        await self._joined

    async def leave(self) -> None:
        """Send a close packet."""
        self._leaving = True
        await self._posts.ask("POST", self._path, "1")
        self.vanish()

    def vanish(self) -> None:
        """Abort both connections."""
        self._leaving = True
        for link in (self._polls, self._posts):
            link.abort()

    async def _poll(self) -> None:
        try:
            while not self._leaving:
                body = await self._polls.ask("GET", self._path)
                self.place.polls += 1
                self.receipts.take(body, asyncio.get_running_loop().time())
                for packet in body.split(b"\x1e"):
                    if packet == b"2":
                        self.place.pings += 1
                        await self._posts.ask("POST", self._path, "3")
                    elif packet == b"43/bus,0[]":
                        self._joined.set_result(None)
        except Lost as lost:
            if not self._joined.done():
                self._joined.set_exception(lost)
            elif not self._leaving:
                self.fail(str(lost))


PATTERN: Final[Sequence[type[Client]]] = (
    *(Player, EventsClient, RequestsClient, TokensClient, SocketIORoom),
    *(Player, EventsClient, RequestsClient, TokensClient, PlainRoom),
    *(Player, EventsClient, RequestsClient, TokensClient, SocketIORoom),
    *(Player, EventsClient, RequestsClient, TokensClient, PollingRoom),
)
"""The kinds of twenty clients that come one after the other: four of each protocol."""


def client(place: Place, number: int) -> Client:
    """The client of a number: the kinds and the groups take turns."""
    turn, kind = divmod(number, len(PATTERN))
    return PATTERN[kind](place, number, turn % GROUPS)


class RequestsPublisher(RequestsClient):
    """Publishes, and wants a reply to that."""

    def take(self, payload: bytes) -> None:
        """An ERROR is a fault."""
        super().take(payload)
        if b'"ERROR"' in payload:
            self.fail(payload.decode())


class Publishers:
    """A client of each of four protocols that says something to a group."""

    def __init__(self, place: Place) -> None:
        self._place = place
        kinds = (TokensClient, PlainRoom, EventsClient, RequestsPublisher)
        # They are in a group of their own, to which nobody publishes.
        self._clients = [kind(place, -1, GROUPS) for kind in kinds]

    async def enter(self) -> None:
        """Connect."""
        for one in self._clients:
            await one.enter()

    async def leave(self) -> None:
        """Disconnect."""
        for one in self._clients:
            await one.leave()

    def vanish(self) -> None:
        """Hang up."""
        for one in self._clients:
            one.vanish()

    def publish(self, sender: int, group: int) -> None:
        """The next message of a sender to a group."""
        now = asyncio.get_running_loop().time()
        text = self._place.ledger.message(sender, group, now)
        self._clients[sender].socket.send(_publication(sender, group, text))


def _publication(sender: int, group: int, text: str) -> str:
    frame: Any
    if sender == TOKENS:
        return f"{token(group)}|{text}"
    if sender == ROOMS:
        frame = ["NOTIFY", {"room": token(group), "message": text}]
    elif sender == EVENTS:
        frame = {"type": "channel", "channel_ids": [token(group)], "data": {"text": text}}
    else:
        named = {"direction": "REQUEST", "key": "p", "type": "publish", "addresses": addresses(group)}
        frame = named | {"message": {"text": text}}
    return json.dumps(frame)
