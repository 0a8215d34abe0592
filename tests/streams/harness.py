"""Stores for tests, a clock that can be moved, and processes on a layer whose addresses have history."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from time import time
from typing import Any

from routing_app.core.delivery.publication import Position, Publication
from routing_app.core.streams import record
from routing_app.core.streams.memory import MemoryStore
from routing_app.core.streams.redis import RedisStore
from routing_app.core.streams.rules import RuleTable
from routing_app.core.streams.store import (
    Append,
    Appended,
    Bounds,
    Page,
    StoreUnavailable,
    StreamStore,
)
from routing_app.core.streams.stores import Stores
from routing_app.core.streams.streams import Streams
from tests.core.harness import Node

A, B = "token:a", "token:b"
USUAL = Bounds(10, 300)


class Clock:
    """A time that goes on by itself, and can be moved forward."""

    def __init__(self) -> None:
        self.moved = 0.0

    def ahead(self) -> float:
        return self.moved

    def __call__(self) -> float:
        return time() + self.moved


class StoreKind:
    """A store, with calls in the form of tests."""

    store: StreamStore

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.sent = 0

    def bounds(self, address: str) -> Bounds:
        return USUAL

    async def append(
        self, message: Any, *addresses: str, once: str = "", bounds: Bounds = USUAL, seconds: float = 300.0
    ) -> Appended:
        """Append one message; raises StoreUnavailable."""
        self.sent += 1
        publication = Publication(addresses, message, id=f"id{self.sent}")
        streams = dict.fromkeys(addresses, bounds)
        return await appended(self.store, Append(record.encode(publication, streams), streams, once, seconds))

    async def messages(self, address: str, since: Position | None = None, **options: Any) -> list[Any]:
        """The messages of a page."""
        page = await self.read(address, since, **options)
        return [entry.publication.message for entry in page.entries]

    async def read(
        self, address: str, since: Position | None = None, bounds: Bounds = USUAL, limit: int = 100
    ) -> Page:
        return await self.store.read(address, bounds, since, limit)


class MemoryKind(StoreKind):
    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.store: MemoryStore = MemoryStore(clock)


class RedisKind(StoreKind):
    def __init__(self, clock: Clock, store: RedisStore) -> None:
        super().__init__(clock)
        self.store: RedisStore = store


async def appended(store: StreamStore, append: Append) -> Appended:
    """The outcome of an append; raises StoreUnavailable."""
    outcome: asyncio.Future[Appended | StoreUnavailable] = asyncio.get_running_loop().create_future()
    store.append(append, outcome.set_result)
    result = await outcome
    if isinstance(result, StoreUnavailable):
        raise result
    return result


def with_history(node: Node, store: StreamStore, rules: Mapping[str, Bounds] | None = None) -> Streams:
    """Give a process streams in a store."""
    streams = Streams(node.hub, node.relay, Stores([store]), asyncio.ensure_future)
    table = rules or {"token:*": USUAL}
    streams.use(RuleTable((pattern, *bounds, False) for pattern, bounds in table.items()))
    return streams


Spawned = Callable[..., Any]


def drop_first(held: list[Publication]) -> None:
    """Lose the first of the messages that a layer holds."""
    del held[0]
