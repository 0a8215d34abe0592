"""Clients that come back to another worker than that of their session: two processes on one Redis."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.conftest import ServerFactory
from tests.rooms.client import Api, plain, socketio
from tests.rooms.conftest import Pair, two_servers
from tests.rooms.returning import Returning
from tests.rooms.test_recovery import TRANSPORTS, joined, notify
from tests.services.databases import Databases
from tests.services.server import Server
from tests.services.waiting import until_equal

pytestmark = pytest.mark.once  # its processes share a Redis on both stacks


@pytest.fixture(scope="module")
def keepers(databases: Databases, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two processes that keep sessions."""
    with two_servers(databases, redis_url, tmp_path_factory, ROOMS_RECOVERY_SECONDS="60") as servers:
        yield servers


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_it_goes_on_at_any_worker_as_if_at_its_own(
    keepers: Pair, stack: AsyncExitStack, room: str, transport: str
) -> None:
    owner, holder = keepers
    other = await plain(stack, holder, "layout")
    await other.join(room, "other")
    client = await joined(stack, owner, room, transport)
    sid = client.sid
    await notify(other, room, "before")
    assert await client.messages(1) == ["before"]

    for server in (holder, holder, owner, holder):
        await client.cut()
        await notify(other, room, *range(5))
        client.server = server
        assert await client.connect(stack)
        assert client.sid == sid
        assert await client.messages(5) == list(range(5))
        assert await other.clients(room) == ["other", "me"]
        await notify(other, room, "after")
        assert await client.messages(1) == ["after"]
        await client.emit("NOTIFY", {"room": room, "message": "é"})
        assert await other.receive() == ["EVENT", {"sender": "me", "room": room, "message": "é"}]
        await client.ask("JOIN", {"room": f"{room}-2", "name": "me"})

    await client.send("41/layout,")
    await until_equal(["other"], lambda: other.clients(room))
    client.server = owner
    assert not await client.connect(stack)


async def test_binary_data_crosses_both_ways(keepers: Pair, stack: AsyncExitStack, room: str) -> None:
    owner, holder = keepers
    client, sender = await joined(stack, owner, room), await joined(stack, holder, room)
    await client.cut()
    client.server = holder
    assert await client.connect(stack)
    message = {"b": [{"_placeholder": True, "num": 0}, {"_placeholder": True, "num": 1}]}
    for one, another in ((sender, client), (client, sender)):
        text = json.dumps(["NOTIFY", {"room": room, "message": message}])
        await one.send(f"452-/layout,{text}", b"one", b"\x00\xff")
        assert await another.messages(1) == [{"b": [b"one", b"\x00\xff"]}]


async def test_peers_in_a_lobby_see_nothing_of_it(keepers: Pair, stack: AsyncExitStack, room: str) -> None:
    owner, holder = keepers
    stays, goes = Returning(holder, "lobby", lobbyId=room), Returning(owner, "lobby", lobbyId=room)
    await stays.connect(stack)
    assert [await stays.receive(), await stays.receive()] == [["JOINED", stays.sid], ["PEERS", []]]
    await goes.connect(stack)
    assert [await goes.receive(), await goes.receive()] == [["JOINED", goes.sid], ["PEERS", [stays.sid]]]
    assert await stays.receive() == ["JOINED", goes.sid]
    goes.server = holder
    await goes.cut()
    assert await goes.connect(stack)
    await goes.emit("BROADCAST", {"message": "back"})
    for client in (stays, goes):
        assert await client.receive() == ["MESSAGE", {"from": goes.sid, "message": "back"}]


async def test_operators_reach_it_where_it_is(keepers: Pair, stack: AsyncExitStack, room: str) -> None:
    owner, holder = keepers
    client = await joined(stack, owner, room)
    await client.cut()
    client.server = holder
    assert await client.connect(stack)
    api = Api(holder)
    row = await api.room("layout", room)
    [member] = (await api.json("GET", f"/api/rooms/{row['id']}/members/"))["results"]

    await api.json("POST", f"/api/connections/{member['connection']}/send", {"message": {"n": 1}})
    assert await client.messages(1) == [{"n": 1}]
    await api.json("POST", f"/api/clients/{member['connection']}/disconnect/")
    assert (await client.packet()).removesuffix(",") == "41/layout"
    await client.send("40/bus,")
    assert (await client.packet()).startswith("40/bus,")


async def test_a_session_taken_over_elsewhere_ends_the_old_connection(
    keepers: Pair, stack: AsyncExitStack, room: str
) -> None:
    owner, holder = keepers
    client = await joined(stack, owner, room)
    for server in (holder, owner, holder, holder):
        old, client.server = client.frames, server
        assert await client.connect(stack)
        assert await old.closed() == 4002


async def test_a_thousand_missed_events_come_through_a_connection_that_reads_slowly(
    keepers: Pair, stack: AsyncExitStack, room: str
) -> None:
    """More than a slow reader may leave waiting."""
    owner, holder = keepers
    other = await plain(stack, owner, "layout")
    client = await joined(stack, owner, room)
    await client.cut()
    messages = [f"{number} {'x' * 600}" for number in range(1000)]
    await notify(other, room, *messages)
    client.server = holder
    client.transport = "polling"
    assert await client.connect(stack)
    assert await client.messages(1000) == messages


async def test_wherever_and_whenever_it_is_cut_each_event_comes_once_and_in_order(
    keepers: Pair, stack: AsyncExitStack, room: str
) -> None:
    chance = random.Random(room)
    publishers = [await plain(stack, server, "layout") for server in keepers]
    client = await joined(stack, keepers[0], room)
    published = [0, 0]
    received: list[list[int]] = [[], []]

    async def receive(count: int) -> None:
        for sender, number in await client.messages(count):
            received[sender].append(number)

    for _ in range(40):
        for sender in chance.choices((0, 1), k=chance.randrange(12)):
            message = [sender, published[sender]]
            await publishers[sender].say("NOTIFY", {"room": room, "message": message})
            published[sender] += 1
        waiting = sum(published) - sum(map(len, received))
        await receive(chance.randrange(waiting + 1))
        if chance.random() < 0.7:
            await client.cut()
        client.server, client.transport = chance.choice(keepers), chance.choice(TRANSPORTS)
        assert await client.connect(stack)
    await receive(sum(published) - sum(map(len, received)))

    assert received == [list(range(count)) for count in published]


@pytest.fixture
def two(server: ServerFactory, redis_url: str) -> tuple[Server, Server]:
    """Two processes of this test's alone: one is killed."""
    first = server(REDIS_URL=redis_url, ROOMS_RECOVERY_SECONDS="60")
    second = server(REDIS_URL=redis_url, ROOMS_RECOVERY_SECONDS="60", DATABASE_URL=first.database_url)
    return first, second


def kill(server: Server) -> None:
    os.kill(server.pid, signal.SIGKILL)


async def test_the_pid_of_no_worker_is_a_new_session(
    two: tuple[Server, Server], stack: AsyncExitStack
) -> None:
    for pid in ("0123456789abcdef" + "x" * 24, "f" * 16 + "/" * 24):
        client = Returning(two[0], "layout")
        client.pid = pid
        assert not await client.connect(stack)
        await client.ask("JOIN", {"room": "r", "name": "n"})


async def test_after_its_worker_is_killed_a_session_is_new(
    two: tuple[Server, Server], stack: AsyncExitStack, room: str
) -> None:
    owner, holder = two
    carried, returns = await joined(stack, owner, room), await joined(stack, owner, room)
    carried.server = returns.server = holder
    assert await carried.connect(stack)

    kill(owner)

    await carried.frames.closed()
    other = await plain(stack, holder, "layout")
    for client in (carried, returns):
        assert not await client.connect(stack)
        await client.ask("JOIN", {"room": room, "name": "new"})
        await notify(other, room, 1)
        assert await client.messages(1) == [1]


async def test_after_the_worker_that_carries_it_is_killed_a_session_is_whole(
    two: tuple[Server, Server], stack: AsyncExitStack, room: str
) -> None:
    owner, holder = two
    other = await plain(stack, owner, "layout")
    client = await joined(stack, owner, room)
    client.server = holder
    assert await client.connect(stack)
    await notify(other, room, 1)
    assert await client.messages(1) == [1]

    kill(holder)

    await notify(other, room, 2)
    client.server = owner
    assert await client.connect(stack)
    assert await client.messages(1) == [2]


async def test_a_worker_that_stops_hands_back_what_it_carried_and_ends_its_own(
    two: tuple[Server, Server], stack: AsyncExitStack, room: str
) -> None:
    owner, holder = two
    carried, own = await joined(stack, owner, room), await joined(stack, holder, room)
    carried.server = holder
    assert await carried.connect(stack)
    assert await asyncio.to_thread(holder.stop) == 0
    carried.server = own.server = owner
    assert await carried.connect(stack)
    assert not await own.connect(stack)


async def test_without_recovery_at_one_worker_the_session_is_new_there(
    two: tuple[Server, Server], server: ServerFactory, redis_url: str, stack: AsyncExitStack, room: str
) -> None:
    off = server(REDIS_URL=redis_url, DATABASE_URL=two[0].database_url)
    client = await joined(stack, two[0], room)
    answered: Any = await socketio(
        stack, off, "layout", connect=f",{json.dumps({'pid': client.pid, 'offset': 'x'})}"
    )
    assert answered.sid != client.sid
