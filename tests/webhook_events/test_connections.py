"""Connections and members: who inserts or deletes their rows reports it, in the same transaction, once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from routing_app.core.cluster.layers import ProcessChannelLayer
from routing_app.core.database import GroupedWrites, query
from routing_app.core.delivery.connection import Connection, Peer
from routing_app.core.leases import rows
from routing_app.core.leases.presence import Presence, kept_seconds, sweep
from routing_app.core.models import ConnectionRecord, WorkerRecord
from routing_app.core.models.webhooks import Delivery
from routing_app.rooms import records
from routing_app.rooms.members import MembershipEntry
from routing_app.rooms.records import Verb
from tests.core.harness import Node
from tests.webhook_events.outbox import counted, subscribe, told, told_of

pytestmark = pytest.mark.django_db(transaction=True)


class Process:
    """A worker's part of presence."""

    def __init__(self) -> None:
        self.node = Node(ProcessChannelLayer())
        self.writes = GroupedWrites()
        self.presence = Presence(self.node.id, self.writes)
        self.presence.start()

    async def arrive(self, *addresses: str, identity: str = "", protocol: str = "test") -> Connection:
        one = self.node.connect()
        one.protocol, one.identity, one.peer = protocol, identity, Peer("10.0.0.1", 4000)
        await self.node.hub.subscribe(one, *addresses)
        await self.presence.arrive(one)
        return one

    async def leave(self, one: Connection, code: int = 1000) -> None:
        self.node.hub.drop(one)
        self.presence.leave(one, code)
        await self.writes.settled()

    async def die(self) -> None:
        """It renews no more, and its lease has been over for long."""
        assert self.presence._task is not None
        self.presence._task.cancel()
        await self.writes.settled()
        ago = Now() - timedelta(seconds=kept_seconds() + 1)
        await query(WorkerRecord.objects.filter(pk=self.node.id).update, renewed_at=ago, leased_at=ago)


@pytest.fixture
async def process() -> AsyncIterator[Callable[[], Process]]:
    made: list[Process] = []

    def make() -> Process:
        made.append(Process())
        return made[-1]

    yield make
    for one in made:
        await one.presence.stop()
        await one.writes.settled()
        await one.node.relay.stop()


Make = Callable[[], Process]


async def seen(type: str) -> list[dict[str, Any]]:
    return await query(told_of, type)


async def numbers() -> Counter[str]:
    return await query(counted)


async def test_a_connection_is_reported_from_beginning_to_end(process: Make) -> None:
    await query(subscribe, "connection.*")
    one = await process().arrive("room:bus/a", identity="ann")
    known = {"connection": one.id, "protocol": "test", "identity": "ann", "peer": "10.0.0.1:4000"}
    assert await query(told) == [("connection.opened", known)]


async def test_a_close_has_its_code_and_the_seconds_of_the_connection(process: Make) -> None:
    await query(subscribe, "connection.closed")
    server = process()
    one = await server.arrive(identity="ann")
    await query(ConnectionRecord.objects.update, connected_at=Now() - timedelta(seconds=90))
    await server.leave(one, 4003)
    await server.leave(one, 4003)
    [data] = await seen("connection.closed")
    seconds = data.pop("seconds")
    assert data == {
        "connection": one.id,
        "protocol": "test",
        "identity": "ann",
        "peer": "10.0.0.1:4000",
        "code": 4003,
    }
    assert isinstance(seconds, float)
    assert seconds >= 89


async def test_what_is_written_again_is_not_reported_again(process: Make) -> None:
    await query(subscribe, "*")
    server = process()
    one = await server.arrive("room:bus/a")
    await server.presence.arrive(one)
    server.presence._stale = True
    await server.presence.renew()
    await server.writes.settled()
    assert await numbers() == {"connection.opened": 1, "member.joined": 1}


async def test_a_member_joins_and_leaves_each_address_once(process: Make) -> None:
    await query(subscribe, "member.*")
    server = process()
    one = await server.arrive("room:bus/a", "room:bus/b", identity="ann")
    member = {"connection": one.id, "name": "ann"}
    await server.node.hub.subscribe(one, "room:bus/c")
    server.node.hub.unsubscribe(one, "room:bus/a")
    await server.presence.change(one)
    joined = sorted(data["address"] for data in await seen("member.joined"))
    assert joined == ["room:bus/a", "room:bus/b", "room:bus/c"]
    assert await seen("member.left") == [{"address": "room:bus/a", **member}]
    await server.leave(one)
    assert sorted(data["address"] for data in await seen("member.left")) == joined


async def test_addresses_of_a_webhook_choose_its_members(process: Make) -> None:
    await query(subscribe, "*", addresses=["room:bus/*"])
    await process().arrive("room:bus/a", "room:layout/a")
    assert [data["address"] for data in await seen("member.joined")] == ["room:bus/a"]
    assert len(await seen("connection.opened")) == 1  # it has no address


async def test_what_lets_a_client_in_is_masked(process: Make) -> None:
    everything = await query(subscribe, "*")
    named = await query(subscribe, "member.*", addresses=["token:*"])
    one = await process().arrive("token:secret-12", identity="secret-12", protocol="tokens")
    [opened] = await seen("connection.opened")
    assert opened["identity"] == "se… (9)"
    member = {"connection": one.id, "name": "se… (9)"}
    [(_, hidden)] = [event for event in await query(told, everything) if event[0] == "member.joined"]
    assert hidden == {"address": "token:se… (9)", **member}
    assert await query(told, named) == [("member.joined", {"address": "token:secret-12", **member})]


async def test_members_of_rooms_have_their_nicknames(process: Make) -> None:
    await query(subscribe, "member.*")
    server = process()
    one = await server.arrive(protocol="rooms")
    entry = MembershipEntry(("bus", "a"), one.id, "ann", await query(_now), "", ("room:bus/a",))

    def apply(verb: Verb) -> Awaitable[Any]:
        return server.writes.submit_item(records._apply, (verb, entry))

    member = {"address": "room:bus/a", "connection": one.id, "name": "ann"}
    await apply(Verb.JOIN)
    await apply(Verb.JOIN)
    assert await query(told) == [("member.joined", member)]
    await apply(Verb.LEAVE)
    await apply(Verb.LEAVE)
    assert await seen("member.left") == [member]


def _now() -> Any:
    return WorkerRecord.objects.values_list(Now(), flat=True)[0]


async def test_who_sweeps_a_dead_worker_reports_its_connections_once(process: Make) -> None:
    await query(subscribe, "connection.closed", "member.left")
    dead = process()
    all = [await dead.arrive("room:bus/a", f"room:bus/{number}") for number in range(20)]
    await dead.die()
    swept = await asyncio.gather(*[query(sweep) for _ in range(6)])
    assert sum(swept) == 1
    closed = await seen("connection.closed")
    assert Counter(data["connection"] for data in closed) == Counter(one.id for one in all)
    assert {data["code"] for data in closed} == {1006}
    assert all_seconds(closed) == {0.0}  # it was known to live until its last renewal
    assert (await numbers())["member.left"] == 40


def all_seconds(closed: list[dict[str, Any]]) -> set[float]:
    return {data["seconds"] for data in closed}


async def test_a_connection_that_leaves_while_its_worker_is_swept_is_closed_once(process: Make) -> None:
    await query(subscribe, "connection.closed", "member.left")
    ends = 0
    for _ in range(5):
        late = process()
        ones = [await late.arrive("room:bus/a") for _ in range(10)]
        await late.die()
        for one in ones[:5]:
            late.presence.leave(one, 1001)
        await asyncio.gather(*[query(sweep) for _ in range(3)], late.writes.settled())
        ends += len(ones)
        assert await numbers() == {"connection.closed": ends, "member.left": ends}


async def test_a_worker_that_was_taken_for_dead_has_its_connections_opened_again(process: Make) -> None:
    await query(subscribe, "connection.*")
    late = process()
    one = await late.arrive()
    await late.die()
    assert await query(sweep) == 1
    assert await late.presence.renew()
    await late.writes.settled()
    events = [(type, data["connection"]) for type, data in await query(told)]
    assert sorted(events) == [("connection.closed", one.id), *[("connection.opened", one.id)] * 2]


async def test_a_worker_that_renews_meanwhile_is_not_forgotten(process: Make) -> None:
    await query(subscribe, "connection.closed")
    one = process()
    await one.arrive()
    await one.die()
    gone = WorkerRecord.objects.filter(renewed_at__lt=Now() - timedelta(seconds=60))
    assert await one.presence.renew()
    assert not await query(rows._forget, gone)
    assert (await numbers()).total() == 0


async def test_what_the_database_did_not_take_is_not_reported(
    process: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    await query(subscribe, "connection.opened")
    server = process()
    await server.writes.settled()
    insert = rows.insert

    def fail(arrivals: list[rows.Arrival]) -> None:
        insert(arrivals)
        raise OperationalError("gone")

    monkeypatch.setattr(rows, "insert", fail)
    with pytest.raises(OperationalError):
        await server.arrive()
    assert (await query(Delivery.objects.count), await query(ConnectionRecord.objects.count)) == (0, 0)


async def test_without_a_webhook_nothing_more_is_asked_or_locked(process: Make) -> None:
    server = process()
    one = await server.arrive("room:bus/a")

    def write_all() -> list[str]:
        arrival = rows.Arrival(one.id, server.node.id, "test", "", "", _now(), ("room:bus/a",))
        with CaptureQueriesContext(connection) as queries:
            rows.insert([arrival])
            rows.rewrite([(one.id, "bob", ("room:bus/b",))])
            rows.unsubscribe([(one.id, "room:bus/b")])
            rows.delete([rows.Departure(one.id, 1000, arrival.connected_at)])
        return [str(query["sql"]) for query in queries.captured_queries]

    statements = await query(write_all)
    assert len(statements) > 5
    assert not [sql for sql in statements if "webhook" in sql or "RETURNING" in sql or "FOR " in sql]
