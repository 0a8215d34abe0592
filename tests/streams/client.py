"""A client of streams in this process, which keeps its positions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from routing_app.core.delivery.connection import Connection, Limits
from routing_app.core.delivery.publication import Position, Publication
from routing_app.core.streams.replay import Place
from routing_app.core.streams.store import Bounds
from routing_app.core.streams.streams import Streams
from tests.core.harness import Encoder, Node, Recorder
from tests.services.waiting import until

MANY = Bounds(10_000, 300)


class WithPositions(Encoder):
    """`[message, address, {address: offset}]`, each time for those who follow the same streams."""

    def __init__(self) -> None:
        super().__init__(per_address=True)

    def __call__(self, publication: Publication, address: str) -> str:
        positions = publication.positions or {}
        text = super().__call__(Publication((address,), [publication.message, positions]), address)
        assert text is not None
        return text


ENCODER = WithPositions()


class Client:
    """A client that keeps its positions, as the client libraries do."""

    def __init__(self) -> None:
        self.positions: dict[str, Position] = {}
        self.messages: list[Any] = []
        self.places: dict[str, list[int]] = {}
        """Offsets by address, in the order in which they came."""
        self.connection: Connection | None = None
        self._read = 0

    async def connect(
        self,
        node: Node,
        streams: Streams,
        *addresses: str,
        since: Mapping[str, Position] | None = None,
        last: int = 0,
        limits: Limits | None = None,
    ) -> dict[str, Place]:
        """A new connection; it begins with the positions of the one before, if nothing else is said."""
        self.connection = node.connect(ENCODER, limits)
        self._read = 0
        return await self.subscribe(streams, *addresses, since=since, last=last)

    async def subscribe(
        self, streams: Streams, *addresses: str, since: Mapping[str, Position] | None = None, last: int = 0
    ) -> dict[str, Place]:
        assert self.connection is not None
        known = {one: self.positions[one] for one in addresses if one in self.positions}
        attachment = await streams.replays.attach(
            self.connection, addresses, known if since is None else since, dict.fromkeys(addresses, last)
        )
        for address, place in attachment.places.items():
            if not place.recovered:
                self.positions[address] = place.position
        attachment.start()
        return attachment.places

    def leave(self, node: Node) -> None:
        """Lose the connection; what has come is read."""
        assert self.connection is not None
        self.read()
        node.hub.drop(self.connection)
        self.connection.mark_closed()

    def read(self) -> list[Any]:
        assert self.connection is not None
        writer = self.connection.writer
        assert isinstance(writer, Recorder)
        received, self._read = writer.messages[self._read :], len(writer.messages)
        for _, (message, positions) in received:
            self.messages.append(message)
            for address, (epoch, offset) in positions.items():
                self.positions[address] = Position(epoch, offset)
                self.places.setdefault(address, []).append(offset)
        return self.messages

    async def until_read(self, count: int) -> list[Any]:
        await until(lambda: len(self.read()) >= count)
        return self.messages
