"""The stores of a worker: one for each Redis server, or one in memory with a file between stop and start."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from routing_app.core.address import group_name
from routing_app.core.cluster import redis_urls
from routing_app.core.cluster.spread import server_of
from routing_app.core.delivery.publication import Publication
from routing_app.core.streams import snapshot
from routing_app.core.streams.memory import MemoryStore
from routing_app.core.streams.redis import RedisStore
from routing_app.core.streams.store import Bounds, Page, StreamStore

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Stores:
    """All stores, in the order of the relay's servers; the stream of an address is where its group is."""

    def __init__(self, each: Sequence[StreamStore]) -> None:
        self.each = each

    def of(self, address: str) -> StreamStore:
        """The store of an address."""
        return self.each[self._number(address)]

    def groups(self, addresses: Mapping[str, T]) -> dict[int, Mapping[str, T]]:
        """Addresses by the number of their store; the first one where there are none."""
        if len(self.each) == 1 or not addresses:
            return {0: addresses}
        found: dict[int, dict[str, T]] = {}
        for address, value in addresses.items():
            found.setdefault(self._number(address), {})[address] = value
        return {**found}

    def part(self, publication: Publication, address: str) -> Publication:
        """A publication as the stream of `address` has it: with the addresses of its server, if not all."""
        groups = self.groups(dict.fromkeys(publication.addresses, None))
        if len(groups) == 1:
            return publication
        server = self._number(address)
        return replace(publication, addresses=tuple(groups[server]), server=server, is_part=True)

    async def positions(self, streams: Mapping[str, Bounds]) -> dict[str, Page]:
        """The ends of streams, as `StreamStore.positions`. Raises StoreUnavailable."""
        groups = self.groups(streams)
        found = await asyncio.gather(*(self.each[number].positions(some) for number, some in groups.items()))
        return {address: page for pages in found for address, page in pages.items()}

    async def end(self, is_kept: Callable[[str], bool]) -> None:
        """Forget streams, as `StreamStore.end`. Raises StoreUnavailable."""
        await asyncio.gather(*(store.end(is_kept) for store in self.each))

    async def settle(self) -> None:
        """Wait for what is on its way."""
        await asyncio.gather(*(store.settle() for store in self.each))

    async def stop(self) -> None:
        """Take nothing more."""
        await asyncio.gather(*(store.stop() for store in self.each))

    def take_over(self, folder: Path) -> None:
        """Go on with the streams of the last process that stopped in order.

        It blocks: nothing may be read or published before.
        """
        for store in self.each:
            if isinstance(store, MemoryStore):
                try:
                    store.restore(*snapshot.take(folder))
                except OSError as error:
                    logger.warning("streams of the last run cannot be read, and begin new epochs: %s", error)

    async def keep(self, folder: Path) -> None:
        """Keep the streams of a process that has stopped for the next one."""
        for store in self.each:
            if not isinstance(store, MemoryStore):
                continue
            kept = snapshot.Kept(store.streams(), store.once())
            if any(kept):
                try:
                    await asyncio.to_thread(snapshot.write, folder, kept)
                except OSError as error:
                    logger.warning("streams cannot be kept, and begin new epochs: %s", error)

    async def sweep(self) -> None:
        """Give back the memory of what has expired."""
        for store in self.each:
            if isinstance(store, MemoryStore):
                await store.sweep()

    def _number(self, address: str) -> int:
        return server_of(group_name(address), len(self.each)) if len(self.each) > 1 else 0


def stores_of(redis_url: str) -> Stores:
    """The stores of `REDIS_URL`."""
    return Stores([RedisStore(url) for url in redis_urls.split(redis_url)] if redis_url else [MemoryStore()])
