"""Streams in the memory of this process; a graceful stop hands them to the next start (`snapshot`)."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from itertools import islice
from time import time
from typing import Final

from routing_app.core.delivery.publication import Position
from routing_app.core.streams.record import decode
from routing_app.core.streams.store import (
    IDLE_SECONDS,
    Append,
    Appended,
    Bounds,
    Done,
    Page,
    Row,
    StoreUnavailable,
    new_epoch,
)

SWEPT: Final = 1000
"""Streams that are looked through before other callbacks of the loop get a turn."""


Once = OrderedDict[str, tuple[float, Appended]]
"""Messages that were published under an id: until when that is known, and their positions."""


class MemoryStream:
    """One stream. `rows` end at `offset`, without a hole."""

    __slots__ = ("bounds", "epoch", "former", "offset", "rows", "used_at")

    def __init__(self, epoch: str, bounds: Bounds, used_at: float, offset: int = 0) -> None:
        self.epoch = epoch
        self.offset = offset
        self.rows: deque[Row] = deque()
        self.bounds = bounds
        self.used_at = used_at
        self.former: Position | None = None

    def trim(self, bounds: Bounds, now: float) -> None:
        """Forget what is too old or too many."""
        self.bounds, self.used_at = bounds, now
        self.expire(now)

    def expire(self, now: float) -> None:
        """The same by the bounds of its last use."""
        rows, oldest = self.rows, now - self.bounds.seconds
        while rows and (len(rows) > self.bounds.size or rows[0][1] < oldest):
            rows.popleft()


class MemoryStore:
    """All streams of a process."""

    def __init__(self, clock: Callable[[], float] = time) -> None:
        self._clock = clock
        self._streams: dict[str, MemoryStream] = {}
        self._once: Once = OrderedDict()
        self._stopped = False

    def append(self, append: Append, done: Done) -> None:
        """Append, and call `done` at once."""
        if self._stopped:
            done(StoreUnavailable("this process stops"))
            return
        now = self._clock()
        if append.once and not append.settles and (known := self._known(append.once, now)) is not None:
            done(known._replace(repeated=True))
            return
        streams = {address: self._open(address, bounds, now) for address, bounds in append.streams.items()}
        several = [[one.epoch, one.offset + 1] for one in streams.values()] if len(streams) > 1 else None
        positions = {}
        for address, stream in streams.items():
            stream.offset += 1
            stream.rows.append((stream.offset, now, append.record, several))
            stream.trim(append.streams[address], now)
            positions[address] = Position(stream.epoch, stream.offset)
        appended = Appended(positions, pending=append.pending)
        if append.once:
            self._once[append.once] = now + append.once_seconds, appended
        done(appended)

    async def read(
        self, address: str, bounds: Bounds, since: Position | None = None, limit: int = 100
    ) -> Page:
        """Messages of a stream."""
        stream = self._opened(address, bounds)
        rows, last = stream.rows, stream.offset
        first = last - len(rows) + 1
        if since is None:
            found = list(islice(reversed(rows), limit))[::-1]
            entries = [decode(address, stream.epoch, row) for row in found]
            return Page(stream.epoch, last, entries, former=stream.former)
        if since.epoch != stream.epoch or not first - 1 <= since.offset <= last:
            return Page(stream.epoch, last, recovered=False, first=first, former=stream.former)
        start = since.offset - first + 1
        found = list(islice(rows, start, start + limit))
        entries = [decode(address, stream.epoch, row) for row in found]
        more = len(rows) - start > limit
        return Page(stream.epoch, last, entries, more=more, former=stream.former)

    async def positions(self, streams: Mapping[str, Bounds]) -> dict[str, Page]:
        """The end of each stream."""
        opened = {address: self._opened(address, bounds) for address, bounds in streams.items()}
        return {address: Page(one.epoch, one.offset, former=one.former) for address, one in opened.items()}

    async def delete(self, address: str, bounds: Bounds) -> Position:
        """Begin a new epoch, with nothing in it."""
        before = self._opened(address, bounds)
        stream = self._streams[address] = MemoryStream(new_epoch(), bounds, self._clock())
        stream.former = Position(before.epoch, before.offset)
        return Position(stream.epoch, 0)

    async def end(self, is_kept: Callable[[str], bool]) -> None:
        """Forget the streams of addresses that are not kept."""
        self._streams = {address: one for address, one in self._streams.items() if is_kept(address)}

    async def settle(self) -> None:
        """Nothing is ever on its way."""

    async def stop(self) -> None:
        """Take nothing more."""
        self._stopped = True

    async def sweep(self) -> None:
        """Give back the memory of expired messages, and forget streams that nobody uses."""
        now = self._clock()
        addresses = list(self._streams)
        for start in range(0, len(addresses), SWEPT):
            for address in addresses[start : start + SWEPT]:
                if (stream := self._streams.get(address)) is None:
                    continue
                stream.expire(now)
                if not stream.rows and now - stream.used_at > stream.bounds.seconds + IDLE_SECONDS:
                    del self._streams[address]
            await asyncio.sleep(0)

    def streams(self) -> dict[str, MemoryStream]:
        """All streams, for a snapshot; `restore` takes them."""
        now = self._clock()
        for stream in self._streams.values():
            stream.expire(now)
        return self._streams

    def once(self) -> Once:
        """All ids of messages that are known, for a snapshot."""
        self._forget(self._clock())
        return self._once

    def restore(self, streams: Mapping[str, MemoryStream], once: Once) -> None:
        """Go on with streams and ids of a process that has stopped; those that are here already stay."""
        self._streams = {**streams, **self._streams}
        self._once = once | self._once

    def _forget(self, now: float) -> None:
        while self._once and next(iter(self._once.values()))[0] <= now:
            self._once.popitem(last=False)

    def _known(self, once: str, now: float) -> Appended | None:
        self._forget(now)
        until, appended = self._once.get(once, (now, None))
        return appended if until > now else None

    def _opened(self, address: str, bounds: Bounds) -> MemoryStream:
        if self._stopped:
            raise StoreUnavailable("this process stops")
        now = self._clock()
        stream = self._open(address, bounds, now)
        stream.trim(bounds, now)
        return stream

    def _open(self, address: str, bounds: Bounds, now: float) -> MemoryStream:
        stream = self._streams.get(address)
        if stream is None:
            stream = self._streams[address] = MemoryStream(new_epoch(), bounds, now)
        return stream
