"""Presence: rows are a copy of what a worker knows, and count only while its lease holds."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from time import monotonic
from typing import Any

import pytest
from django.conf import settings
from django.db import OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from django.db.models.functions import Now

from routing_app.core import database
from routing_app.core.cluster.layers import ProcessChannelLayer
from routing_app.core.database import GroupedWrites, query
from routing_app.core.delivery.connection import Connection, Peer
from routing_app.core.leases import presence, reach
from routing_app.core.leases.presence import Presence, kept_seconds, sweep
from routing_app.core.models import LEASE_SECONDS, ConnectionRecord, Reach, Subscription, WorkerRecord
from tests.core.harness import Node, replaced
from tests.services.waiting import until

WRITES = 2_000
"""Writes that wait: 20 s and more, of which a renewal must not wait for more than the first."""

pytestmark = pytest.mark.django_db(transaction=True)


class PresenceNode:
    """A process with presence: connections arrive and leave as the base consumer has them do."""

    def __init__(self) -> None:
        self.node = Node(ProcessChannelLayer())
        self.id = self.node.id
        self.writes = GroupedWrites()
        self.presence = Presence(self.id, self.writes)

    async def arrive(self, *addresses: str, identity: str = "") -> Connection:
        one = self.node.connect()
        one.identity = identity
        one.peer = Peer("10.0.0.1", 4000)
        await self.node.hub.subscribe(one, *addresses)
        self.presence.arrive(one)
        return one

    def leave(self, one: Connection) -> None:
        self.node.hub.drop(one)
        self.presence.leave(one)


@pytest.fixture
async def node() -> AsyncIterator[Callable[[], PresenceNode]]:
    """Makes processes on one database."""
    nodes: list[PresenceNode] = []

    def make() -> PresenceNode:
        one = PresenceNode()
        one.presence.start()
        nodes.append(one)
        return one

    yield make
    for one in nodes:
        await one.presence.stop()
        await one.writes.settled()
        await one.node.relay.stop()


async def listing(address: str = "") -> set[str]:
    """Ids of the connections that count as connected now."""
    rows = ConnectionRecord.objects.present()
    if address:
        rows = rows.subscribed(address)
    return set(await query(lambda: list(rows.values_list("id", flat=True))))


async def age(node: PresenceNode, seconds: float) -> None:
    """Make it so that a worker last renewed `seconds` ago, by the clock of the database."""
    ago = Now() - timedelta(seconds=seconds)
    await query(WorkerRecord.objects.filter(id=node.id).update, renewed_at=ago, leased_at=ago)


# --- the copy ---------------------------------------------------------------------------------------------


async def test_a_connection_is_listed_with_all_its_subscriptions(node: Callable[[], PresenceNode]):
    one = node()
    connection = await one.arrive("token:a", "token:b", identity="somebody")
    await one.writes.settled()
    row = await query(lambda: ConnectionRecord.objects.select_related("worker").get())

    assert (row.id, row.protocol, row.identity, row.peer) == (
        connection.id,
        "test",
        "somebody",
        "10.0.0.1:4000",
    )
    assert row.worker.id == one.id
    assert await listing("token:a") == await listing("token:b") == {connection.id}
    assert await listing("token:c") == set()


async def test_the_arrival_is_told_after_the_commit(node: Callable[[], PresenceNode]):
    one = node()
    connection = one.node.connect()
    await one.presence.arrive(connection)

    assert await listing() == {connection.id}


async def test_change_rewrites_identity_and_addresses(node: Callable[[], PresenceNode]):
    one = node()
    connection = await one.arrive("token:a", "token:b", identity="before")
    await one.node.hub.subscribe(connection, "token:c")
    one.node.hub.unsubscribe(connection, "token:a")
    connection.identity = "after"
    await one.presence.change(connection)

    assert [len(await listing(f"token:{name}")) for name in "abc"] == [0, 1, 1]
    assert await query(lambda: ConnectionRecord.objects.get().identity) == "after"
    one.node.hub.unsubscribe(connection, *connection.addresses)
    await one.presence.change(connection)
    assert await query(Subscription.objects.count) == 0


async def test_a_leaver_is_listed_no_more_however_fast(node: Callable[[], PresenceNode]):
    one = node()
    for _ in range(50):
        connection = await one.arrive("token:a")
        one.presence.change(connection)
        one.leave(connection)
        one.leave(connection)
        one.presence.change(connection)
    kept = await one.arrive("token:a")
    await one.writes.settled()

    assert await listing() == {kept.id}
    assert await query(Subscription.objects.count) == 1


async def test_300_that_leave_at_once_leave_no_row(node: Callable[[], PresenceNode]):
    one = node()
    crowd = [await one.arrive(f"token:{number}", "token:all") for number in range(300)]
    await one.writes.settled()
    assert len(await listing("token:all")) == 300
    for leaver in crowd:
        one.leave(leaver)
    await one.writes.settled()

    assert await query(lambda: (ConnectionRecord.objects.count(), Subscription.objects.count())) == (0, 0)


@pytest.mark.parametrize("text", ["\x00", "a\x00b", "\ud800", "x" * 600, "ü" * 300, "\U0001f600" * 600])
async def test_a_text_that_no_database_takes_spoils_nothing(node: Callable[[], PresenceNode], text: str):
    """One bad row would fail every copy that it is part of."""
    one = node()
    good, bad = await one.arrive("token:good"), await one.arrive(f"token:{text}", identity=text)
    await one.writes.settled()
    assert await listing() == {good.id, bad.id}

    await query(ConnectionRecord.objects.all().delete)
    one.presence._stale = True
    await one.presence.renew()
    await one.presence.change(bad)
    await one.writes.settled()
    assert await listing() == {good.id, bad.id}
    assert await query(Subscription.objects.count) == 2


# --- the lease --------------------------------------------------------------------------------------------


async def test_a_dead_workers_connections_are_in_no_listing_and_swept_later(node: Callable[[], PresenceNode]):
    alive, dead = node(), node()
    kept, gone = await alive.arrive("token:a"), await dead.arrive("token:a")
    await alive.writes.settled()
    await dead.writes.settled()
    assert await listing("token:a") == {kept.id, gone.id}

    await alone(dead)
    await age(dead, LEASE_SECONDS - 8)
    assert await listing("token:a") == {kept.id, gone.id}
    await age(dead, LEASE_SECONDS + 1)
    assert await listing("token:a") == {kept.id}
    assert await query(lambda: [worker.id for worker in WorkerRecord.objects.alive()]) == [alive.id]

    await renewed(alive)
    assert await query(WorkerRecord.objects.count) == 2
    await age(dead, kept_seconds() + 1)
    await renewed(alive)
    assert await query(WorkerRecord.objects.count) == 1
    assert await query(lambda: (ConnectionRecord.objects.count(), Subscription.objects.count())) == (1, 1)


async def test_a_worker_that_was_only_slow_counts_again_with_its_next_renewal(
    node: Callable[[], PresenceNode],
):
    one = node()
    connection = await one.arrive("token:a")
    await one.writes.settled()
    await alone(one)
    await age(one, LEASE_SECONDS + 1)
    assert await listing() == set()
    await one.presence.renew()

    assert await listing() == {connection.id}


async def test_a_worker_that_was_swept_registers_and_copies_again(node: Callable[[], PresenceNode]):
    one, other = node(), node()
    stays, leaves = await one.arrive("token:a", identity="i"), await one.arrive("token:a")
    await one.writes.settled()
    await alone(one)
    await alone(other)
    await age(one, kept_seconds() + 1)
    assert await query(sweep) == 1
    late = await one.arrive("token:late")  # its row has no worker to belong to
    one.leave(leaves)
    await one.writes.settled()
    assert await listing() == set()

    await renewed(one)
    assert await listing() == {stays.id, late.id}
    assert await listing("token:a") == {stays.id}
    assert await listing("token:late") == {late.id}
    await renewed(other)
    assert await listing() == {stays.id, late.id}


async def test_workers_that_could_not_renew_while_the_database_was_out_are_not_swept(
    node: Callable[[], PresenceNode],
):
    """Rows of protocols hang on theirs, and would go before they have come to renew."""
    one, other = node(), node()
    connection = await one.arrive("token:a")
    await one.writes.settled()
    await other.writes.settled()
    ago = Now() - timedelta(hours=1)
    await query(WorkerRecord.objects.update, renewed_at=ago)
    await query(Reach.objects.update, reached_at=ago, witnessed_at=ago)
    await renewed(other)
    assert await query(WorkerRecord.objects.count) == 2
    await renewed(one)

    assert await listing() == {connection.id}


async def test_the_lease_of_a_worker_that_is_cut_off_outlasts_an_outage_for_all_only(
    node: Callable[[], PresenceNode], outage: threading.Event
):
    """Half an hour in which nobody renews; then another does, and this one still cannot."""
    one, other = node(), node()
    hurry = 0.0
    one.presence.lease.clock = lambda: monotonic() + hurry
    assert await one.presence.renew()
    assert await other.presence.renew()
    await alone(one)
    outage.set()
    for _ in range(1800):
        hurry += 1
        if one.presence.lease.age > 6:
            await one.presence.look()
        assert one.presence.lease.holds(30)
    assert not await one.presence.renew()
    outage.clear()
    for _ in range(45):
        assert await other.presence.renew()
        hurry += 1
        await one.presence.look()

    assert one.presence.lease.holds(30) is not settings.REDIS_URL.startswith("redis")
    assert await one.presence.renew()
    assert one.presence.lease.holds(30)


async def test_a_renewal_is_five_statements_however_many_connections(
    node: Callable[[], PresenceNode], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reach, "STALL_SECONDS", 60.0)  # a later one reads the clock again
    one = node()
    for number in range(100):
        await one.arrive(f"token:{number}")
    await one.writes.settled()
    await alone(one)
    with noted_statements() as statements:
        await renewed(one)
        # The clock is read and set forward, the lease renewed, and looked whom to sweep; nobody is.
        await until(lambda: len(statements) == 5)
    assert [sql.split()[0] for sql in statements] == ["SELECT", "UPDATE", "UPDATE", "SELECT", "SELECT"]


async def test_a_copy_that_is_right_is_only_read(node: Callable[[], PresenceNode]):
    """Rows of protocols hang on those of connections, and would go with them."""
    one = node()
    for number in range(50):
        await one.arrive(f"token:{number}", identity=str(number))
    await one.writes.settled()
    await alone(one)
    one.presence._stale = True
    with noted_statements() as statements:
        await renewed(one)

    assert len(statements) > 2
    assert [sql for sql in statements if sql.split()[0] in ("INSERT", "UPDATE", "DELETE")][2:] == []


async def alone(one: PresenceNode) -> None:
    """From here on it renews when it is told to, and not by itself, nor goes on with what it has begun."""
    assert one.presence._task is not None
    one.presence._task.cancel()
    await asyncio.wait([one.presence._task])
    for begun in (one.presence._renewing, one.presence._sweeping):
        if begun is not None:
            await begun


@contextmanager
def noted_statements() -> Iterator[list[str]]:
    """The statements of every thread, but those that begin and end transactions."""
    statements: list[str] = []
    execute = CursorWrapper.execute

    def note(self: CursorWrapper, sql: str, params: Any = None) -> Any:
        if sql.startswith(("SELECT", "INSERT", "UPDATE", "DELETE")):
            statements.append(sql)
        return execute(self, sql, params)

    with replaced(CursorWrapper, "execute", note):
        yield statements


async def renewed(node: PresenceNode) -> None:
    """Renew, and wait for all that comes of it."""
    if (before := node.presence._sweeping) is not None:
        await before  # it may have looked already, and another one does not begin beside it
    await node.presence.renew()
    await node.writes.settled()
    sweeping = node.presence._sweeping
    assert sweeping is not None
    await sweeping


async def test_a_renewal_waits_for_nothing_but_the_batch_that_is_on_its_way(node: Callable[[], PresenceNode]):
    """Behind tens of thousands of writes a lease would lapse although its worker lives."""
    one = node()
    await one.arrive("token:a")
    await one.writes.settled()
    await alone(one)
    written: list[int] = []
    queued = 0
    renewing, loop = True, asyncio.get_running_loop()

    def submit() -> None:
        nonlocal queued
        one.writes.submit(partial(write, queued))
        queued += 1

    def write(number: int) -> None:
        if renewing:
            time.sleep(0.01)  # a write takes its time, and another one follows: the queue stays long
            loop.call_soon_threadsafe(submit)
        written.append(number)

    with replaced(database, "MAX_BATCH", 1):
        for _ in range(WRITES):
            submit()
        one.presence._stale = True
        for _ in range(3):
            await age(one, LEASE_SECONDS + 1)
            before = queued
            await one.presence.renew()
            assert len(written) < before
            assert len(await listing()) == 1
        renewing = False
        await until(lambda: len(written) >= WRITES)
        await one.writes.settled()
    assert written == list(range(queued))


async def test_a_clean_stop_removes_everything_at_once(node: Callable[[], PresenceNode]):
    one, other = node(), node()
    for _ in range(10):
        await one.arrive("token:a")
    kept = await other.arrive("token:a")
    await one.writes.settled()
    await other.writes.settled()
    await one.presence.stop()
    await one.presence.stop()

    assert await query(lambda: [worker.id for worker in WorkerRecord.objects.all()]) == [other.id]
    assert await query(lambda: list(ConnectionRecord.objects.values_list("id", flat=True))) == [kept.id]


async def test_the_lease_is_kept_without_being_asked(node: Callable[[], PresenceNode]):
    with replaced(presence, "RENEW_SECONDS", 0.02):
        one = node()
        await one.arrive("token:a")
        await one.writes.settled()
        for _ in range(3):
            await age(one, LEASE_SECONDS + 1)
            await alive_again(one)


async def alive_again(node: PresenceNode) -> None:
    await until(lambda: query(WorkerRecord.objects.alive().filter(id=node.id).exists))


# --- a database that is out -------------------------------------------------------------------------------


@pytest.fixture
def outage(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """While it is set, no thread gets a connection."""
    down = threading.Event()
    connect: Callable[[Any], None] = BaseDatabaseWrapper.ensure_connection

    def ensure(self: BaseDatabaseWrapper) -> None:
        if down.is_set():
            raise OperationalError("connection refused")
        connect(self)

    monkeypatch.setattr(BaseDatabaseWrapper, "ensure_connection", ensure)
    return down


async def test_connections_live_on_while_the_database_is_out_and_are_listed_when_it_is_back(
    node: Callable[[], PresenceNode], outage: threading.Event
):
    outage.set()
    one = node()
    for _ in range(3):
        await one.arrive("token:early")
    await one.writes.settled()
    await one.presence.renew()
    await alone(one)
    outage.clear()
    await renewed(one)
    assert len(await listing("token:early")) == 3

    outage.set()
    late = await one.arrive("token:late")
    for early in one.node.hub.members("token:early"):
        one.leave(early)
    changed = await one.arrive("token:x")
    await one.node.hub.subscribe(changed, "token:y")
    one.presence.change(changed)
    await one.writes.settled()
    outage.clear()
    assert len(await listing("token:early")) == 3
    await renewed(one)
    assert await listing() == {late.id, changed.id}
    assert await listing("token:y") == {changed.id}


async def test_too_many_writes_at_once_are_made_good_with_the_next_renewal(node: Callable[[], PresenceNode]):
    one = node()
    await one.writes.settled()
    await alone(one)
    with replaced(database, "MAX_PENDING", 5):
        crowd = [await one.arrive("token:a") for _ in range(20)]
        await one.writes.settled()
        assert len(await listing()) < 20
    await renewed(one)

    assert await listing() == {connection.id for connection in crowd}


async def test_workers_that_sweep_side_by_side_disturb_nobody(node: Callable[[], PresenceNode]):
    nodes = [node() for _ in range(4)]
    for one in nodes:
        await one.arrive("token:a")
        await one.writes.settled()
    await query(
        WorkerRecord.objects.bulk_create,
        [WorkerRecord(id=secrets.token_hex(8), host="h", pid=1) for _ in range(20)],
    )
    await query(
        WorkerRecord.objects.exclude(id__in=[one.id for one in nodes]).update,
        renewed_at=Now() - timedelta(hours=1),
    )
    await asyncio.gather(*[query(sweep) for _ in range(8)], *[one.presence.renew() for one in nodes])

    assert await query(WorkerRecord.objects.count) == 4
    assert len(await listing()) == 4
    await until(lambda: not any(one.presence._stale for one in nodes))
