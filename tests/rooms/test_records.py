"""Rows of rooms: acked when committed, gone with their worker, written again after an outage, limits kept."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from websockets.exceptions import ConnectionClosed

from routing_app.core import database
from routing_app.core.address import WORKER_ID_LENGTH
from routing_app.core.models import ConnectionRecord, Subscription, WorkerRecord
from routing_app.core.worker import current_worker, drop_worker
from routing_app.engineio.session import Fault
from routing_app.rooms import tasks
from routing_app.rooms.members import members_of
from routing_app.rooms.models import Membership, Room
from tests.compliance.engineio.client import Site
from tests.conftest import ServerFactory
from tests.rooms.client import SOCKET_IO, Api, plain, socketio
from tests.rooms.conftest import Pair
from tests.services.databases import sql
from tests.services.server import Server
from tests.services.waiting import until_equal


async def test_join_is_acked_after_its_row_is_committed(pair: Pair, stack: AsyncExitStack, room: str) -> None:
    """The next to ask, in another process, sees it at once."""
    first, second = pair
    asker = await plain(stack, second, "layout")

    for number in range(20):
        client = await socketio(stack, first, "layout", 3 + number % 2)
        await client.ask("JOIN", json.dumps({"room": room, "name": number + 1}))
        assert (await asker.clients(room))[-1] == number + 1
        await client.ask("LEAVE", json.dumps({"room": room}))
        assert await asker.clients(room) == []


async def test_nothing_remains_of_a_killed_worker(
    server: ServerFactory, redis_url: str, stack: AsyncExitStack, room: str
) -> None:
    """Its rows do not show once its lease of 15 s has run out; the database is told here that it has.

    A worker that asks another one for a session of its own learns that there is none.
    """
    second = server(REDIS_URL=redis_url)
    first = server(REDIS_URL=redis_url, DATABASE_URL=second.database_url)
    killed = await socketio(stack, first, "layout")
    await killed.ask("JOIN", {"room": room, "name": "killed"})
    asker = await plain(stack, second, "layout")
    assert await asker.clients(room) == ["killed"]
    sid = await Site(first.port, 4, SOCKET_IO).open()
    first.kill()
    table = WorkerRecord._meta.db_table
    sql(
        second.database_url,
        f"UPDATE {table} SET renewed_at = '2000-01-01 00:00:00+00:00' WHERE id = '{sid[:WORKER_ID_LENGTH]}'",
    )

    assert await asker.clients(room) == []
    assert (await Api(second).room("layout", room))["member_count"] == 0
    answer = await Site(second.port, 4, SOCKET_IO).get(sid)
    assert (answer.status, json.loads(answer.body)["code"]) == (400, Fault.UNKNOWN_SID)


async def test_memberships_are_written_again_when_the_database_lost_them(
    broker: Server, stack: AsyncExitStack, room: str
) -> None:
    """Another worker may sweep this one after an outage; its next renewal brings everything back."""
    client = await socketio(stack, broker, "layout")
    lobby = await socketio(stack, broker, "lobby", lobbyId=room)
    await lobby.settled()
    await client.ask("JOIN", {"room": room, "name": "back again"})
    for model in (Membership, Subscription, ConnectionRecord, WorkerRecord):
        sql(broker.database_url, f"DELETE FROM {model._meta.db_table}")
    asker = await plain(stack, broker, "layout")

    await until_equal(["back again"], lambda: asker.clients(room))
    await until_equal(1, lambda: member_count(Api(broker), "lobby", room))


async def member_count(api: Api, namespace: str, room: str) -> int:
    return int((await api.room(namespace, room))["member_count"])


async def restricted(api: Api, room: str, **fields: Any) -> int:
    return int((await api.json("POST", "/api/rooms/", {"namespace": "layout", "name": room, **fields}))["id"])


async def test_an_allow_list_admits_names_and_addresses(
    broker: Server, stack: AsyncExitStack, room: str, api: Api
) -> None:
    number = await restricted(api, room, allowed=["alice"])
    member, other = await plain(stack, broker, "layout"), await plain(stack, broker, "layout")

    await other.say("JOIN", {"room": room, "name": "mallory"})
    assert (await other.receive())[0] == "ERROR"
    await member.join(room, "alice")
    await member.say("NOTIFY", {"room": room, "message": "for members"})
    await member.settled()

    assert await other.settled() == []
    assert await member.clients(room) == ["alice"]
    await api.json("PATCH", f"/api/rooms/{number}/", {"allowed": ["127.0.0.1"]})
    await other.join(room, "mallory")
    assert await member.clients(room) == ["alice", "mallory"]


async def test_a_limit_holds_however_many_come_at_once(pair: Pair, stack: AsyncExitStack, room: str) -> None:
    first, second = pair
    await restricted(Api(first), room, member_limit=5)
    clients = [await plain(stack, one, "layout") for _ in range(15) for one in (first, second)]

    await asyncio.gather(*(client.join(room, f"n{n}") for n, client in enumerate(clients)))

    assert len(await clients[0].clients(room)) == 5
    inside = await clients[0].clients(room)
    await clients[int(inside[0][1:])].say("LEAVE", {"room": room})
    await clients[int(inside[0][1:])].settled()
    # A member may join again, under another name, and one seat is free.
    await clients[int(inside[1][1:])].join(room, "renamed")
    await asyncio.gather(*(client.join(room, f"again{n}") for n, client in enumerate(clients[:20])))
    assert len(await clients[0].clients(room)) == 5


async def test_a_refused_join_is_not_acked(
    broker: Server, stack: AsyncExitStack, room: str, api: Api
) -> None:
    await restricted(api, room, member_limit=0)
    client = await socketio(stack, broker, "layout")

    await client.emit("JOIN", {"room": room, "name": "n"}, id=1)

    reason = "the room is full, or not for this client"
    assert await client.receive() == ["ERROR", {"event": "JOIN", "reason": reason}]
    assert await client.settled() == []


async def test_a_full_lobby_sends_away(broker: Server, stack: AsyncExitStack, room: str, api: Api) -> None:
    await api.json("POST", "/api/rooms/", {"namespace": "lobby", "name": room, "member_limit": 0})
    client = await socketio(stack, broker, "lobby", lobbyId=room)

    assert (await client.receive())[0] == "ERROR"
    assert await client.receive_packet() == "41/lobby,"


async def test_a_deleted_room_is_empty_and_can_be_joined_again(
    broker: Server, stack: AsyncExitStack, room: str, api: Api
) -> None:
    client, other = await socketio(stack, broker, "layout"), await plain(stack, broker, "layout")
    await client.ask("JOIN", {"room": room, "name": "n"})

    await api.json("DELETE", f"/api/rooms/{(await api.room('layout', room))['id']}/")
    await other.say("NOTIFY", {"room": room, "message": "to nobody"})
    await other.settled()

    assert await client.settled() == []
    assert await api.room("layout", room) == {}
    await client.ask("JOIN", {"room": room, "name": "n"})
    await other.say("NOTIFY", {"room": room, "message": 1})
    assert (await client.receive())[1]["message"] == 1
    assert await other.clients(room) == ["n"]


async def test_mass_arrival_and_departure_leave_nothing(
    broker: Server, stack: AsyncExitStack, room: str, api: Api
) -> None:
    async def come_and_go(number: int) -> None:
        async with AsyncExitStack() as mine:
            try:
                client = await socketio(mine, broker, "layout", 3 + number % 2)
                await client.emit("JOIN", {"room": room, "name": f"n{number}"})
                if number % 3:
                    await client.settled()
                if number % 5 == 0:
                    client.frames.connection.transport.abort()
            except ConnectionClosed:
                pass

    await asyncio.gather(*(come_and_go(number) for number in range(60)))

    asker = await plain(stack, broker, "layout")
    await until_equal([], lambda: asker.clients(room))
    await until_equal(0, lambda: subscriptions(api, room))


async def subscriptions(api: Api, room: str) -> int:
    return int((await api.json("GET", f"/api/clients/?address=room:layout/{room}"))["count"])


@pytest.mark.django_db(transaction=True)
async def test_rooms_that_nobody_needs_are_deleted(settings: Any) -> None:
    settings.ROOMS_KEEP_SECONDS = 3600
    worker = current_worker()
    await database.query(old_rooms, timezone.now() - timedelta(hours=2))
    await database.query(Room.objects.create, namespace="layout", name="new")
    members_of(worker).used.add(("layout", "used just now"))

    await tasks.keep(worker)

    rooms = await database.query(lambda: set(Room.objects.values_list("name", flat=True)))
    assert rooms == {"new", "used just now", "noted", "limited", "listed", "occupied"}
    drop_worker()


def old_rooms(then: datetime) -> None:
    """Rooms that were used last at a time."""
    described: dict[str, dict[str, Any]] = {
        **{name: {} for name in ("unused", "used just now", "occupied")},
        "noted": {"note": "n"},
        "limited": {"member_limit": 5},
        "listed": {"allowed": ["alice"]},
    }
    for name, fields in described.items():
        Room.objects.create(namespace="layout", name=name, last_used_at=then, **fields)
    worker = WorkerRecord.objects.create(id="w", host="h", pid=1)
    member = ConnectionRecord.objects.create(id="c", worker=worker, protocol="rooms", connected_at=then)
    Membership.objects.create(room=Room.objects.get(name="occupied"), connection=member, joined_at=then)
