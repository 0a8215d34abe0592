"""Subscribers that recover, publishers that try again, and what their logs must show."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from routing_app.core.delivery.publication import Position

PATIENCE_SECONDS: Final = 20.0
"""A limit for what hangs, not a measure."""
PAUSE_SECONDS: Final = 0.1
Url = Callable[[], str]
"""Where to connect this time."""


@dataclass(frozen=True)
class Started:
    """A subscription that begins at a position."""

    address: str
    at: Position


@dataclass(frozen=True)
class Recovered:
    """A subscription that goes on; all that was missed comes."""

    address: str


@dataclass(frozen=True)
class Told:
    """A subscription that goes on elsewhere: something is missing, and the client was told."""

    address: str
    at: Position


@dataclass(frozen=True)
class Gap:
    """The message that something is missing, on any address."""


@dataclass(frozen=True)
class Delivered:
    """A message, by its positions."""

    message: Any
    positions: Mapping[str, Position]


Entry = Started | Recovered | Told | Gap | Delivered


async def ask(socket: ClientConnection, type: str, on_other: Callable[[Any], None], **fields: Any) -> Any:
    """The final answer to a request; other frames go to `on_other`."""
    await socket.send(json.dumps({"direction": "REQUEST", "key": "k", "type": type, **fields}))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            frame = json.loads(await socket.recv())
            if frame.get("key") == "k":
                return frame
            on_other(frame)


class Subscriber:
    """A client that keeps the positions of its addresses, and comes back with them."""

    def __init__(self, addresses: Iterable[str], url: Url) -> None:
        self.addresses = list(addresses)
        self.log: list[Entry] = []
        self.positions: dict[str, Position] = {}
        self._url = url
        self._socket: ClientConnection | None = None
        self._ends = False
        self._task = asyncio.ensure_future(self._run())

    async def cut(self) -> None:
        """Lose the connection, if there is one."""
        if self._socket is not None:
            self._socket.transport.abort()

    async def end(self) -> None:
        """Leave for good. Raises what went wrong."""
        self._ends = True
        await self.cut()
        await self._task

    async def _run(self) -> None:
        while not self._ends:
            with suppress(OSError, InvalidHandshake, ConnectionClosed, TimeoutError):
                async with connect(self._url(), proxy=None, ping_interval=None, max_queue=None) as socket:
                    self._socket = socket
                    if await self._subscribe(socket):
                        while True:
                            self._take(json.loads(await socket.recv()))
            self._socket = None
            await asyncio.sleep(PAUSE_SECONDS)

    async def _subscribe(self, socket: ClientConnection) -> bool:
        since = {one: position._asdict() for one, position in self.positions.items()}
        answer = await ask(socket, "subscribe", self._take, addresses=self.addresses, since=since)
        if answer["direction"] != "REPLY":
            assert answer["code"] == "unavailable", answer
            return False
        for address, place in answer["positions"].items():
            at = Position(place["epoch"], place["offset"])
            if place.get("recovered"):
                self.log.append(Recovered(address))
                continue
            self.log.append(Told(address, at) if "recovered" in place else Started(address, at))
            self.positions[address] = at
        return True

    def _take(self, frame: Any) -> None:
        if frame["type"] == "gap":
            self.log.append(Gap())
            return
        assert frame["type"] == "delivery", frame
        if "epoch" not in frame:  # from an epoch that is over
            return
        positions = frame.get("positions") or {frame["address"]: frame}
        found = {one: Position(place["epoch"], place["offset"]) for one, place in positions.items()}
        self.positions |= found
        self.log.append(Delivered(frame["message"], found))


@dataclass
class Publisher:
    """A client that publishes numbered messages, each with an id, until each is accepted."""

    name: str
    url: Url
    chance: random.Random
    accepted: dict[str, Mapping[str, Position]] = field(default_factory=dict)
    """Positions of the answers, by message."""
    _socket: ClientConnection | None = None

    async def publish(self, addresses: list[str], count: int, pause: float) -> None:
        """Publish so many to some of the addresses, one after the other."""
        for number in range(count):
            to = self.chance.sample(addresses, self.chance.choice((1, 1, 2, 3)))
            await self.publish_one(f"{self.name} {number}", to)
            await asyncio.sleep(pause)

    async def publish_one(self, message: str, to: list[str]) -> None:
        """Publish a message as often as it takes until it is accepted."""
        while True:
            with suppress(OSError, InvalidHandshake, ConnectionClosed, TimeoutError):
                if self._socket is None:
                    self._socket = await connect(self.url(), proxy=None, ping_interval=None)
                fields = {"addresses": to, "message": message, "id": message}
                answer = await ask(self._socket, "publish", lambda frame: None, **fields)
                if answer["direction"] == "REPLY":
                    places = answer["positions"].items()
                    self.accepted[message] = {one: Position(**place) for one, place in places}
                    return
                assert answer["code"] == "unavailable", answer
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            await self.leave()
            await asyncio.sleep(PAUSE_SECONDS)

    async def leave(self) -> None:
        """Close the connection."""
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.transport.abort()
            await socket.wait_closed()


# --- what a log must show --------------------------------------------------------------------------------


def faults_of(log: list[Entry], address: str, end: Position) -> list[str]:
    """What is wrong with the log of a subscriber at one address, whose stream ends at `end`.

    Every offset comes once, in order; one that is left out needs a `Gap` before what follows it, or a `Told`.
    What is left of an epoch that is over comes with holes, and one gap tells of all of them.
    """
    found = []
    at: Position | None = None
    over = _over(log, address)
    is_told = False
    for index, entry in enumerate(log):
        if isinstance(entry, Gap):
            is_told = True
        elif isinstance(entry, Started | Told | Recovered) and entry.address == address:
            is_told = False
            if not isinstance(entry, Recovered):
                at = entry.at
        elif isinstance(entry, Delivered) and (place := entry.positions.get(address)) is not None:
            assert at is not None
            if place.epoch == at.epoch and place.offset <= at.offset:
                found.append(f"{address} {place} comes again after {at}")
            elif place != Position(at.epoch, at.offset + 1) and not is_told:
                found.append(f"{address} {place} follows {at}, and nothing is told")
            is_told = is_told and index in over
            at = place
    if at != end and not is_told:
        found.append(f"{address} ends at {at}, its stream at {end}, and nothing is told")
    return found


def _over(log: list[Entry], address: str) -> set[int]:
    """The entries of a log whose epoch at an address is followed by another one, while it is subscribed."""
    found: set[int] = set()
    latest = ""
    is_over = False
    for index, entry in reversed(list(enumerate(log))):
        if isinstance(entry, Started | Told) and entry.address == address:
            latest, is_over = entry.at.epoch, False
        elif isinstance(entry, Delivered) and (place := entry.positions.get(address)) is not None:
            is_over = is_over or latest not in ("", place.epoch)
            latest = place.epoch
            if is_over:
                found.add(index)
    return found


def repeated(log: list[Entry], address: str) -> list[str]:
    """Messages that came more than once in one epoch."""
    counts = Counter(
        (entry.message, entry.positions[address].epoch)
        for entry in log
        if isinstance(entry, Delivered) and address in entry.positions
    )
    return [f"{message} comes {count} times" for (message, _), count in counts.items() if count > 1]


def contradictions(logs: Iterable[list[Entry]]) -> list[str]:
    """Positions at which subscribers have seen different messages."""
    seen: dict[tuple[str, Position], set[Any]] = {}
    for entry in (entry for log in logs for entry in log if isinstance(entry, Delivered)):
        for place in entry.positions.items():
            seen.setdefault(place, set()).add(entry.message)
    return [f"{place} is all of {messages}" for place, messages in seen.items() if len(messages) > 1]
