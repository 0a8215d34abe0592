"""Rooms: a NOTIFY of one client reaches 500 members; clients join and leave, with rows committed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from websockets.asyncio.client import ClientConnection, connect

from bench.contestants import SOCKET_IO, Contestant, Running, switchboard
from bench.load import Dialect, Load
from bench.measures import RECEIVERS
from bench.section import Column, Figure, Mark, Reading, Results, Row, Section, Unavailable, at_least, ratio
from tests.services.postgres import Postgres, find_postgres

if TYPE_CHECKING:
    from bench.bench import Bench

FLOODS: Final = {"one": 1, "sixteen": 16, "many": 64}
"""Messages in flight by column."""
JOINERS: Final = 64
"""Clients that join and leave at the same time, each a room of its own that it shares with seven others."""

_JOIN: Final = json.dumps({"room": "load", "name": "member{n}"})


def _socket_io(version: int, *opened: str) -> Dialect:
    """A member of a room over Socket.IO; `opened` is what comes before it may connect to the namespace."""
    steps = [("expect", text) for text in opened]
    steps += [("send", "40/layout,"), ("expect", "40/layout")]
    steps += [("send", f'42/layout,0["JOIN",{_JOIN}]'), ("expect", "43/layout,0[]")]
    notify = '42/layout,["NOTIFY",{"room":"load","message":"'
    path = f"/socket.io/?EIO={version}&transport=websocket"
    return Dialect(path, notify, '"}]', steps, ("2", "3") if version == 4 else None)


PLAIN: Final = Dialect(
    "/layout",
    '["NOTIFY",{"room":"load","message":"',
    '"}]',
    # The answer to CLIENTS says that the JOIN before it is done.
    (
        ("send", f'["JOIN",{_JOIN}]'),
        ("send", '["CLIENTS",{"room":"nobody"}]'),
        ("expect", '["CLIENTS"'),
    ),
)
DIALECTS: Final = {
    "Switchboard, Socket.IO 4": _socket_io(4, "0"),
    "Switchboard, Socket.IO 2": _socket_io(3, "0", "40"),
    "Switchboard, plain sockets": PLAIN,
}


def _rooms(label: str, dialect: Dialect) -> Contestant:
    @contextmanager
    def start(bench: Bench) -> Iterator[Running]:
        with switchboard("serve")(bench) as running:
            yield Running(running.port, running.roots, dialect, dialect, running.server)

    return Contestant(label, start)


def _fan_out(contestant: Contestant, bench: Bench) -> Reading:
    """A client publishes that is no receiver itself, as NOTIFY leaves its sender out."""
    reading: dict[str, Figure] = {}
    with contestant.start(bench) as running, Load(running.port, running.broadcast) as load:
        load.open(RECEIVERS, at_once=32)
        if running.server is not None:
            load.open_publishers(1, running.port, running.broadcast.path)
        load.flood(0.3, 4)
        for key, in_flight in FLOODS.items():
            flood = bench.sample(running, load, partial(load.flood, bench.seconds, in_flight))
            reading[key] = flood.phase.uneven or flood.per_second
            reading[f"{key}_us"] = flood.phase.uneven or flood.server_us
    return reading


def _join_and_leave(bench: Bench, on_postgres: bool = False) -> Reading:
    """JOIN, its ack, LEAVE, its ack, and again; each ack speaks of a commit."""
    if not on_postgres:
        return _joins(bench)
    if find_postgres() is None:
        raise Unavailable("PostgreSQL is not installed")
    with Postgres() as postgres:
        return _joins(bench, DATABASE_URL=postgres.url())


def _joins(bench: Bench, **options: str) -> Reading:
    with switchboard("serve", **options)(bench) as running:
        return {"joins": asyncio.run(_pairs_per_second(running.port, bench.seconds))}


async def _pairs_per_second(port: int, seconds: float) -> float:
    async with AsyncExitStack() as stack:
        clients = [await _connected(stack, port) for _ in range(JOINERS)]
        start = time.monotonic()
        deadline = start + seconds
        pairs = await asyncio.gather(*(_come_and_go(c, n, deadline) for n, c in enumerate(clients)))
        return sum(pairs) / (time.monotonic() - start)


async def _connected(stack: AsyncExitStack, port: int) -> ClientConnection:
    url = f"ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket"
    socket = await stack.enter_async_context(connect(url, proxy=None))
    await socket.recv()
    await socket.send("40/layout,")
    await socket.recv()
    return socket


async def _come_and_go(socket: ClientConnection, number: int, deadline: float) -> int:
    room, pairs = f"room{number // 8}", 0
    join = json.dumps(["JOIN", {"room": room, "name": f"client{number}"}])
    leave = json.dumps(["LEAVE", {"room": room}])
    while time.monotonic() < deadline:
        for event in (join, leave):
            await socket.send(f"42/layout,0{event}")
            while await socket.recv() != "43/layout,0[]":
                await socket.send("3")
        pairs += 1
    return pairs


def _marks(results: Results) -> list[Mark]:
    def times(key: str, least: float) -> list[Mark]:
        label = next(iter(DIALECTS))
        text = f"{label}, {FLOODS[key]} in flight: at least {least:g} times Socket.IO on Node"
        return at_least(text, ratio(results, key, label, SOCKET_IO.label), least)

    return [*times("one", 1), *times("sixteen", 5), *times("many", 5)]


SECTION = Section(
    name="rooms",
    title=f"Deliveries per second in a room of {RECEIVERS}; JOIN and LEAVE with rows committed",
    columns=(
        Column("one", "1 in flight"),
        Column("sixteen", "16 in flight"),
        Column("many", "64 in flight"),
        Column("one_us", "CPU µs each at 1", 2),
        Column("sixteen_us", "at 16", 2),
        Column("many_us", "at 64", 2),
        Column("joins", f"JOIN + LEAVE/s, {JOINERS} clients"),
    ),
    rows=(
        *(Row(label, partial(_fan_out, _rooms(label, dialect))) for label, dialect in DIALECTS.items()),
        Row(SOCKET_IO.label, partial(_fan_out, SOCKET_IO)),
        Row("Switchboard, SQLite", _join_and_leave),
        Row("Switchboard, PostgreSQL", partial(_join_and_leave, on_postgres=True), quick=False),
    ),
    marks=_marks,
    order=15,
)
