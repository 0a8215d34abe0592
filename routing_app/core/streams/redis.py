"""Streams on a Redis server; the steps are in `scripts`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any, Final

from routing_app.core.address import group_name
from routing_app.core.delivery.publication import Position
from routing_app.core.streams.lane import Lane
from routing_app.core.streams.record import decode
from routing_app.core.streams.scripts import APPEND, DELETE, END, LIST, READ
from routing_app.core.streams.store import (
    Append,
    Appended,
    Bounds,
    Done,
    Entry,
    Page,
    StoreUnavailable,
    new_epoch,
)

PREFIX: Final = "switchboard"


class RedisStore:
    """All streams on one server, shared by every process that uses it.

    `ahead` is how many seconds the time of the streams is ahead of the server's.
    """

    def __init__(self, url: str, prefix: str = PREFIX, ahead: Callable[[], float] = lambda: 0.0) -> None:
        self._prefix = prefix
        self._ahead = ahead
        self._writing = Lane(url)
        self._reading = Lane(url)

    def append(self, append: Append, done: Done) -> None:
        """Append in one step of the server."""
        keys = [self._server(), self._once(append.once)]
        milliseconds = int(append.once_seconds * 1000) if append.once else 0
        arguments: list[Any] = [
            *self._head(),
            -milliseconds if append.settles else milliseconds,
            json.dumps(append.pending or list(append.streams)) if append.once else "",
            append.record,
        ]
        for address, bounds in append.streams.items():
            keys += self._stream(address)
            arguments += (*bounds, _bytes(address))
        addresses = tuple(append.streams)
        self._writing.call(
            APPEND,
            tuple(keys),
            tuple(arguments),
            lambda answer: done(_appended(addresses, append.pending, answer)),
        )

    async def read(
        self, address: str, bounds: Bounds, since: Position | None = None, limit: int = 100
    ) -> Page:
        """Messages of a stream."""
        epoch, offset = since or ("", 0)
        arguments = (*self._head(), *bounds, _bytes(address), limit, epoch, offset)
        answer = await self._reading.ask(READ, (self._server(), *self._stream(address)), arguments)
        return _page(address, answer, descending=since is None)

    async def positions(self, streams: Mapping[str, Bounds]) -> dict[str, Page]:
        """The end of each stream."""
        pages = await asyncio.gather(
            *(self.read(address, bounds, limit=0) for address, bounds in streams.items())
        )
        return dict(zip(streams, pages, strict=True))

    async def delete(self, address: str, bounds: Bounds) -> Position:
        """Begin a new epoch, with nothing in it."""
        keys = (self._server(), *self._stream(address))
        arguments = (*self._head(), bounds.seconds, _bytes(address), new_epoch())
        # By the connection of appends: those that came before have been carried out then.
        return Position((await self._writing.ask(DELETE, keys, arguments)).decode(), 0)

    async def end(self, is_kept: Callable[[str], bool]) -> None:
        """Look through all keys of streams, and forget those of addresses that are not kept."""
        cursor = "0"
        while True:
            arguments = (*self._head(), cursor, f"{self._prefix}.m.*")
            following, found = await self._reading.ask(LIST, (self._server(),), arguments)
            addresses = (one.decode("utf-8", "surrogatepass") for one in found if one)
            ended = [key for one in addresses if not is_kept(one) for key in self._stream(one)]
            if ended:
                await self._writing.ask(END, (self._server(), *ended), self._head())
            if (cursor := _string(following)) == "0":
                return

    async def settle(self) -> None:
        """Wait for what is on its way."""
        await self._writing.settle()

    async def stop(self) -> None:
        """Close both connections."""
        await self._writing.stop()
        await self._reading.stop()

    def _head(self) -> tuple[int, str]:
        return int(self._ahead() * 1000), new_epoch()

    def _server(self) -> str:
        return f"{self._prefix}.now"

    def _stream(self, address: str) -> tuple[str, str]:
        name = group_name(address).removeprefix("sb.")
        return f"{self._prefix}.m.{name}", f"{self._prefix}.s.{name}"

    def _once(self, once: str) -> str:
        return (
            f"{self._prefix}.i.{blake2b(once.encode('utf-8', 'surrogatepass'), digest_size=16).hexdigest()}"
        )


def _appended(addresses: tuple[str, ...], pending: str, answer: Any) -> Appended | StoreUnavailable:
    if isinstance(answer, StoreUnavailable):
        return answer
    repeated, found = answer
    if repeated:
        names, found = json.loads(found)
        known = json.loads(names)
        pending, addresses = (known, ()) if isinstance(known, str) else ("", tuple(known))
    positions = {
        address: Position(_string(epoch), int(offset))
        for address, (epoch, offset) in zip(addresses, found, strict=True)
    }
    return Appended(positions, bool(repeated), pending)


def _page(address: str, answer: Any, descending: bool) -> Page:
    epoch, offset, base, former, final, recovered, more, first, rows = answer
    name = _string(epoch)
    entries = [_entry(address, name, row) for row in rows]
    return Page(
        name,
        offset,
        entries[::-1] if descending else entries,
        bool(recovered),
        bool(more),
        first,
        base,
        Position(_string(former), final) if former and final >= 0 else None,
    )


def _entry(address: str, epoch: str, row: Any) -> Entry:
    id, fields = row
    offset, _, milliseconds = id.partition(b"-")
    several = None
    if len(fields) > 2:
        several = [[one, int(number)] for one, number in json.loads(fields[3])]
    return decode(address, epoch, (int(offset), int(milliseconds) / 1000, fields[1], several))


def _bytes(address: str) -> bytes:
    return address.encode("utf-8", "surrogatepass")


def _string(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
