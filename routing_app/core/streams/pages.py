"""Pages of streams for replays: clients that come back at once mostly missed the same messages.

A page is read once for all that ask for it within a moment, and its frames are made once, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from routing_app.core.delivery.hub import Frames
from routing_app.core.delivery.publication import Position
from routing_app.core.streams.store import Bounds, Page
from routing_app.core.streams.stores import Stores

FRESH_SECONDS: Final = 0.1
"""A page serves others for so long: an end of the stream that is older could be told as the present one."""
PAGES: Final = 64
"""Pages that are remembered at once."""

Key = tuple[str, Position, int]
"""Address, position, limit."""


@dataclass(slots=True)
class SharedPage:
    """A page, and the frames that were made of its messages."""

    page: Page
    frames: Frames = field(default_factory=dict)


class Pages:
    """Reads streams for all replays of a process."""

    def __init__(self, stores: Stores, clock: Callable[[], float] = monotonic) -> None:
        self._stores = stores
        self._clock = clock
        self._known: dict[Key, tuple[float, asyncio.Future[SharedPage]]] = {}

    async def read(
        self, address: str, bounds: Bounds, since: Position, limit: int, end: Position | None = None
    ) -> SharedPage:
        """What follows a position; from a page that knows of `end`, where that is given.

        Raises StoreUnavailable.
        """
        key = address, since, limit
        now = self._clock()
        began, reading = self._known.get(key, (now, None))
        if reading is not None and began >= now - FRESH_SECONDS:
            shared = await self._result(key, reading)
            if end is None or shared.page.epoch != end.epoch or shared.page.offset >= end.offset:
                return shared
        self._forget(now)
        reading = asyncio.ensure_future(self._read(address, bounds, since, limit))
        self._known[key] = now, reading
        return await self._result(key, reading)

    async def _result(self, key: Key, reading: asyncio.Future[SharedPage]) -> SharedPage:
        try:
            return await asyncio.shield(reading)  # others may wait for it
        except BaseException:
            if self._known.get(key, (0.0, None))[1] is reading:
                del self._known[key]
            raise

    async def _read(self, address: str, bounds: Bounds, since: Position, limit: int) -> SharedPage:
        return SharedPage(await self._stores.of(address).read(address, bounds, since, limit))

    def _forget(self, now: float) -> None:
        old = [key for key, (began, _) in self._known.items() if began < now - FRESH_SECONDS]
        for key in old:
            del self._known[key]
        while len(self._known) >= PAGES:
            del self._known[next(iter(self._known))]
