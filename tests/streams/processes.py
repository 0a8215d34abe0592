"""Two processes on one store, and a layer between them that can lose messages or hold them back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from routing_app.core.delivery.publication import Position, Publication
from routing_app.core.streams.memory import MemoryStore
from routing_app.core.streams.store import Append, Bounds, Done, Page, StoreUnavailable
from routing_app.core.streams.streams import Streams
from tests.core.harness import Node
from tests.core.layers import Cluster
from tests.streams.harness import Clock, with_history


class SharedStore(MemoryStore):
    """A store of several processes, which can be out, or answer late."""

    def __init__(self) -> None:
        super().__init__(Clock())
        self.down = False
        self.late: list[tuple[Append, Done]] | None = None
        self.reads = 0

    def append(self, append: Append, done: Done) -> None:
        if self.down:
            done(StoreUnavailable("down"))
        elif self.late is not None:
            self.late.append((append, done))
        else:
            super().append(append, done)

    def answer(self) -> None:
        """Carry out what is late."""
        late, self.late = self.late or [], None
        for append, done in late:
            super().append(append, done)

    async def read(
        self, address: str, bounds: Bounds, since: Position | None = None, limit: int = 100
    ) -> Page:
        await asyncio.sleep(0)
        self.reads += 1
        if self.down:
            raise StoreUnavailable("down")
        return await super().read(address, bounds, since, limit)

    async def positions(self, streams: Any) -> dict[str, Page]:
        await asyncio.sleep(0)
        if self.down:
            raise StoreUnavailable("down")
        return await super().positions(streams)


class Lossy:
    """What lies between the relay of a process and its hub: publications that come may be lost or held."""

    def __init__(self, node: Node) -> None:
        self.lose: Callable[[Publication], bool] = lambda publication: False
        self.held: list[Publication] | None = None
        self._hub = node.hub
        node.relay.receive_with(self.deliver, node.hub.tell_gap)

    def deliver(self, publication: Publication) -> int:
        if self.held is not None:
            self.held.append(publication)
            return 0
        return 0 if self.lose(publication) else self._hub.deliver(publication)

    def release(self, order: Callable[[list[Publication]], None] = lambda held: None) -> None:
        """Deliver what was held, in another order."""
        held, self.held = self.held or [], None
        order(held)
        for publication in held:
            self._hub.deliver(publication)


class Processes:
    """Two processes on one store and one layer."""

    def __init__(self, processes: Cluster, store: SharedStore) -> None:
        self.store = store
        self.here, self.there = processes.node(), processes.node()
        self.here_streams, self.there_streams = (with_history(one, store) for one in (self.here, self.there))
        self.layer = Lossy(self.there)

    @property
    def streams(self) -> tuple[Streams, Streams]:
        return self.here_streams, self.there_streams
