"""The revocations that a worker knows, and the connections that it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import OperationalError, transaction
from django.utils import timezone

from routing_app.core.access.grants import Grant, GrantKind
from routing_app.core.codes import REVOKED
from routing_app.core.database import query
from routing_app.core.delivery.connection import Connection, Peer, new_id
from routing_app.core.models import Revocation
from routing_app.core.revocations import known, lookup, service
from routing_app.core.revocations.known import Revocations, Revoked
from routing_app.core.revocations.names import Carried, Kind
from routing_app.core.worker import Worker, current_worker, drop_worker
from tests.core.harness import PLAIN, Recorder, replaced
from tests.services.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)

ALICE = Grant(GrantKind.TOKEN, subject="alice", jti="j1", issued_at=1000.0)
BOB = Grant(GrantKind.TOKEN, subject="bob", jti="j2", issued_at=1000.0)
KEY = Grant(GrantKind.KEY, key_prefix="sb_12345")


@dataclass
class Place:
    """A worker, and connections that come to it."""

    worker: Worker

    @property
    def revocations(self) -> Revocations:
        return self.worker.revocations

    def connect(self, grant: Grant = ALICE, host: str = "10.0.0.1") -> Connection:
        worker = self.worker
        connection = Connection(
            new_id(worker.id), "tokens", Recorder(), worker.flusher, PLAIN, Peer(host, 4000)
        )
        connection.grant = grant
        worker.hub.add(connection)
        return connection

    async def admits(self, grant: Grant = ALICE, host: str = "10.0.0.1") -> bool:
        revocations = self.revocations
        return not (await revocations.concern_grant(grant) or await revocations.concern_peer(Peer(host, 1)))


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    """A worker that serves."""
    worker = current_worker()
    await worker.start()
    yield Place(worker)
    await worker.stop()
    drop_worker()


async def make(**fields: Any) -> Revocation:
    return await query(service.make, **fields)


async def ended(connection: Connection) -> None:
    await until(lambda: connection.close_sent is not None)
    assert connection.close_sent is REVOKED


@pytest.mark.parametrize(
    ("fields", "grant", "host"),
    [
        ({"subject": "alice"}, ALICE, "10.0.0.1"),
        ({"jti": "j1"}, ALICE, "10.0.0.1"),
        ({"key": "sb_12345"}, KEY, "10.0.0.1"),
        ({"network": "192.0.2.0/24"}, BOB, "192.0.2.77"),
        ({"network": "192.0.2.0/24"}, BOB, "::ffff:192.0.2.77"),
        ({"network": "2001:db8::/32"}, BOB, "2001:db8:1::1"),
        ({"network": "2001:db8::1"}, BOB, "2001:db8::1"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
async def test_what_carries_a_revoked_name_ends_and_is_not_let_in(
    place: Place, fields: dict[str, str], grant: Grant, host: str
):
    doomed, other = place.connect(grant, host), place.connect(Grant(subject="carol"), "198.51.100.1")
    row = await make(**fields)

    await ended(doomed)
    assert not await place.admits(grant, host)
    assert await place.admits(Grant(subject="carol"), "198.51.100.1")
    assert other.close_sent is None

    await query(service.lift, [row])
    assert await place.admits(grant, host)


@pytest.mark.parametrize("broken", ["revocable", "end_revoked"])
async def test_a_connection_that_cannot_be_ended_keeps_no_other_one_open(
    place: Place, monkeypatch: pytest.MonkeyPatch, broken: str
):
    first, second = place.connect(), place.connect()
    protocol = place.worker.protocols["tokens"]
    does = getattr(protocol, broken)

    def breaks(connection: Connection) -> Any:
        if connection is first:
            raise LookupError
        return does(connection)

    monkeypatch.setattr(protocol, broken, breaks)
    await make(subject="alice")
    await ended(second)
    assert first.close_sent is (REVOKED if broken == "end_revoked" else None)


class Outage:
    """A protocol's part of ending what is revoked, for as often as it fails; then it notes the subjects."""

    def __init__(self, place: Place, monkeypatch: pytest.MonkeyPatch, fails: int) -> None:
        self.fails = fails
        self.calls = 0
        self.ended: list[set[str]] = []
        monkeypatch.setattr(place.worker.protocols["tokens"], "revoked", self.revoked)

    async def revoked(self, revoked: Revoked) -> None:
        self.calls += 1
        if self.calls <= self.fails:
            raise OperationalError("the database is out")
        self.ended.append({name.value for name in revoked.rows})


@pytest.fixture
def nothing_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that reads, and tries again, as it is told to."""
    monkeypatch.setattr(known, "READ_SECONDS", 3600.0)


@pytest.mark.usefixtures("nothing_by_itself")
async def test_what_a_protocol_could_not_end_is_tried_again(place: Place, monkeypatch: pytest.MonkeyPatch):
    outage = Outage(place, monkeypatch, fails=3)
    await make(subject="alice")
    await until(lambda: outage.calls == 1)
    await make(subject="bob")
    await until(lambda: outage.calls == 2)
    await place.revocations.end_left()
    assert (outage.calls, outage.ended) == (3, [])
    await place.revocations.end_left()
    assert outage.ended == [{"alice", "bob"}]
    await place.revocations.end_left()
    assert outage.calls == 4


async def test_a_worker_tries_again_by_itself_what_could_not_be_ended(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(known, "READ_SECONDS", 0.01)
    worker = current_worker()
    try:
        await worker.start()
        outage = Outage(Place(worker), monkeypatch, fails=2)
        await make(subject="alice")
        await until(lambda: outage.ended)
        assert outage.ended == [{"alice"}]
    finally:
        await worker.stop()
        drop_worker()


@pytest.mark.usefixtures("nothing_by_itself")
async def test_what_was_lifted_before_it_could_be_ended_is_left(
    place: Place, monkeypatch: pytest.MonkeyPatch
):
    outage = Outage(place, monkeypatch, fails=2)
    row = await make(subject="alice")
    await until(lambda: outage.calls == 1)
    await make(subject="bob")
    await until(lambda: outage.calls == 2)
    await query(service.lift, [row])
    await place.revocations.end_left()
    assert outage.ended == [{"bob"}]


async def test_a_subject_is_revoked_for_tokens_that_were_issued_before(place: Place):
    old, new = place.connect(ALICE), place.connect(Grant(subject="alice", issued_at=3000.0))
    nameless = place.connect(Grant(subject="alice"))
    await make(subject="alice", issued_before=datetime.fromtimestamp(2000, UTC))

    await ended(old)
    await ended(nameless)
    assert new.close_sent is None
    assert not await place.admits(ALICE)
    assert await place.admits(Grant(subject="alice", issued_at=2000.0))


async def test_a_revocation_is_over_by_itself(place: Place):
    await make(subject="alice", until=timezone.now() + timedelta(hours=1))
    assert not await place.admits()

    def over() -> None:
        Revocation.objects.update(until=timezone.now() - timedelta(seconds=1))

    await query(over)
    place.revocations._confirmed.clear()
    assert await place.admits()


@pytest.mark.usefixtures("nothing_by_itself")
async def test_a_message_that_was_lost_is_made_up_for_by_reading(place: Place):
    connection = place.connect()
    await query(Revocation.objects.create, subject="alice")
    assert connection.close_sent is None
    await place.revocations.read()

    await ended(connection)
    assert not await place.admits()


@pytest.mark.usefixtures("nothing_by_itself")
async def test_a_row_that_was_over_is_found_when_it_is_extended_and_the_message_is_lost(place: Place):
    row = await query(Revocation.objects.create, subject="alice", until=timezone.now() - timedelta(hours=1))
    await place.revocations.read()
    connection = place.connect()
    assert await place.admits()

    row.until = None
    with replaced(service, "_tell_after_commit", lambda event, message: None):
        await query(service.save_changed, row)
    assert connection.close_sent is None
    await place.revocations.read()
    await ended(connection)
    assert not await place.admits()


@pytest.mark.usefixtures("nothing_by_itself")
async def test_a_row_that_commits_after_a_later_one_is_found(place: Place):
    connection = place.connect()

    def leave_a_gap() -> tuple[int, Revocation]:
        first = Revocation.objects.create(subject="nobody")
        gap = Revocation.objects.create(subject="alice")
        last = Revocation.objects.create(subject="somebody")
        Revocation.objects.filter(pk=gap.pk).delete()
        return last.pk - first.pk, gap

    distance, gap = await query(leave_a_gap)
    await place.revocations.read()
    assert (distance, connection.close_sent) == (2, None)

    await query(Revocation(pk=gap.pk, subject="alice").save, force_insert=True)
    await place.revocations.read()
    await ended(connection)


async def test_rows_are_read_in_parts(place: Place, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lookup, "ROWS_AT_ONCE", 3)
    await query(Revocation.objects.bulk_create, [Revocation(subject=f"user-{n}") for n in range(10)])
    await place.revocations.read()
    assert len(place.revocations) == 10
    assert [await place.admits(Grant(subject=f"user-{n}")) for n in (0, 9, 10)] == [False, False, True]


@pytest.mark.usefixtures("nothing_by_itself")
async def test_a_network_that_another_program_wrote_wrongly_hurts_no_other_row(place: Place, caplog):
    wrong = [Revocation(network=text) for text in ("somewhere", "fe80::1%eth0", "192.0.2.1", "10.0.0.0/99")]
    await query(Revocation.objects.bulk_create, [*wrong, Revocation(subject="alice")])
    await place.revocations.read()
    assert not await place.admits(ALICE, "203.0.113.1")
    assert not await place.admits(BOB, "192.0.2.1")
    assert await place.admits(BOB, "192.0.2.2")
    assert caplog.text.count("is none, and is ignored") == 3


async def test_without_a_revocation_nothing_is_asked(place: Place, monkeypatch: pytest.MonkeyPatch):
    revocations = place.revocations
    monkeypatch.setattr(known, "named_by", None)
    monkeypatch.setattr(lookup, "rows_of", None)
    monkeypatch.setattr(Revocations, "carried_by", None)
    assert not revocations
    assert not await revocations.concern_connection(place.connect())
    assert not await revocations.concern_grant(ALICE)
    assert not await revocations.concern_peer(Peer("10.0.0.1", 1))


async def test_a_name_that_is_not_revoked_is_not_asked_of_the_database(
    place: Place, monkeypatch: pytest.MonkeyPatch
):
    await make(subject="alice")
    await make(network="192.0.2.0/24")
    monkeypatch.setattr(lookup, "rows_of", None)
    assert await place.admits(BOB)


async def test_many_tries_of_one_client_are_one_question(place: Place, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(known, "CONFIRMED_SECONDS", 3600.0)
    await make(subject="alice")
    asked = []

    def rows_of(names: Any, ask=lookup.rows_of) -> Any:
        asked.append(names)
        return ask(names)

    monkeypatch.setattr(lookup, "rows_of", rows_of)
    assert not any([await place.admits() for _ in range(20)])
    assert len(asked) == 1


async def test_a_lifted_name_is_forgotten_once_it_was_asked_for(place: Place):
    await query(service.lift, [await make(subject="alice"), await make(network="10.0.0.0/8")])
    assert len(place.revocations) == 2
    assert await place.admits()
    assert not place.revocations


async def test_a_row_that_comes_while_the_database_is_asked_stays_known(
    place: Place, monkeypatch: pytest.MonkeyPatch
):
    """The answer may be from before the new row: it says nothing about it."""
    await query(service.lift, [await make(subject="alice")])
    loop = asyncio.get_running_loop()

    def rows_of(names: Any, ask=lookup.rows_of) -> Any:
        rows = ask(names)
        asyncio.run_coroutine_threadsafe(make(subject="alice"), loop).result(60)
        return rows

    with replaced(lookup, "rows_of", rows_of):
        await place.admits()
    assert not await place.admits()


@pytest.mark.usefixtures("nothing_by_itself")
async def test_while_the_rows_are_not_read_the_database_is_asked(monkeypatch: pytest.MonkeyPatch):
    await query(Revocation.objects.create, subject="alice")
    await query(Revocation.objects.create, network="192.0.2.0/24")

    def fails(*arguments: Any) -> Any:
        raise OperationalError("the database is out")

    worker = current_worker()
    place = Place(worker)
    try:
        with replaced(lookup, "rows_after", fails):
            await worker.start()
        assert worker.revocations
        assert not await place.admits(ALICE)
        assert not await place.admits(BOB, "192.0.2.9")
        assert await place.admits(BOB)
        with replaced(lookup, "rows_of", fails), pytest.raises(OperationalError):
            await place.admits(Grant(subject="dave"))
        stays, goes = place.connect(BOB), place.connect(ALICE)
        await worker.revocations.read()
        await ended(goes)
        assert stays.close_sent is None
        assert len(worker.revocations) == 2
    finally:
        await worker.stop()
        drop_worker()


async def test_a_worker_knows_the_rows_from_its_start():
    await query(Revocation.objects.create, jti="j1")
    await query(Revocation.objects.create, subject="bob", until=timezone.now() - timedelta(seconds=1))
    worker = current_worker()
    try:
        await worker.start()
        assert len(worker.revocations) == 1
        assert not await Place(worker).admits(ALICE)
        assert await Place(worker).admits(BOB)
    finally:
        await worker.stop()
        drop_worker()


async def test_nothing_is_told_before_the_commit(place: Place):
    connection = place.connect()

    def roll_back() -> None:
        with transaction.atomic():
            service.make(subject="alice")
            transaction.set_rollback(True)

    await query(roll_back)
    await place.revocations.read()
    assert connection.close_sent is None
    assert await place.admits()


async def test_rows_that_are_over_go_in_the_end_and_stale_names_with_them(
    place: Place, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(known, "STALE", 5)
    await query(Revocation.objects.bulk_create, [Revocation(subject=f"user-{n}") for n in range(20)])
    await place.revocations.read()

    def end_all_but_one() -> None:
        over = Revocation.objects.exclude(subject="user-0")
        over.update(until=timezone.now() - timedelta(days=8))

    await query(end_all_but_one)
    await query(Revocation.objects.create, subject="young", until=timezone.now() - timedelta(days=6))
    await place.revocations.tidy()

    left = await query(lambda: set(Revocation.objects.values_list("subject", flat=True)))
    assert left == {"user-0", "young"}
    assert len(place.revocations) == 1
    assert not await place.admits(Grant(subject="user-0"))


async def test_synchronous_code_asks_only_where_a_name_may_be_revoked(
    place: Place, django_assert_num_queries: Any
):
    carried = [Carried(Kind.KEY, "sb_12345")]

    def ask(queries: int) -> bool:
        with django_assert_num_queries(queries):
            return known.is_revoked(carried)

    assert not await query(ask, 0)
    await make(key="sb_12345")
    assert await query(ask, 1)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({}, "exactly one"),
        ({"subject": "a", "jti": "b"}, "exactly one"),
        ({"jti": "a", "issued_before": timezone.now()}, "issued_before"),
        ({"subject": "a", "until": timezone.now() - timedelta(seconds=1)}, "until"),
        ({"network": "somewhere"}, "network"),
        ({"network": "fe80::1%eth0"}, "network"),
        ({"subject": "a\x00b"}, "subject"),
    ],
)
def test_a_revocation_that_makes_no_sense_is_refused(fields: dict[str, Any], named: str):
    with pytest.raises(ValidationError, match=named):
        service.make(**fields)
    assert not Revocation.objects.exists()
