"""The database beside the loop: bounded, parallel queries; grouped writes, told after the commit."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import IntegrityError, OperationalError, connection
from django.db.backends.base.base import BaseDatabaseWrapper

from routing_app.core import database
from routing_app.core.database import GroupedWrites, Overloaded, insert_rows, query, query_apart
from routing_app.core.models import WorkerRecord
from tests.core.harness import Counted, replaced

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def writes() -> GroupedWrites:
    return GroupedWrites()


@pytest.fixture
def names_on_disk() -> Callable[[], set[str]]:
    """Reads the committed workers over a connection that Django knows nothing of."""
    config = connection.settings_dict
    if connection.vendor == "sqlite":

        def read() -> set[str]:
            with sqlite3.connect(config["NAME"]) as second:
                return {name for (name,) in second.execute("SELECT id FROM core_workerrecord")}
    else:
        where = {"host": config["HOST"], "port": config["PORT"], "user": config["USER"]}

        def read() -> set[str]:
            with psycopg.connect(**where, dbname=config["NAME"], password=config["PASSWORD"]) as second:
                return {name for (name,) in second.execute("SELECT id FROM core_workerrecord")}

    return read


def make_worker(name: str) -> str:
    WorkerRecord.objects.create(id=name, host="h", pid=1)
    return name


class Many:
    """A bulk write that remembers its calls."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def __call__(self, names: list[str]) -> None:
        self.calls.append(names)
        WorkerRecord.objects.bulk_create([WorkerRecord(id=name, host="h", pid=1) for name in names])


# --- queries ----------------------------------------------------------------------------------------------


async def test_queries_run_side_by_side_as_many_as_there_are_threads():
    """Each call waits for the others: were they one after another, the barrier would break."""
    barrier = threading.Barrier(settings.DATABASE_THREADS)
    now: list[int] = []
    most = []

    def work(number: int) -> int:
        WorkerRecord.objects.count()
        now.append(number)
        most.append(len(now))
        barrier.wait(60)
        now.remove(number)
        return number

    numbers = range(3 * settings.DATABASE_THREADS)
    assert await asyncio.gather(*[query(work, number) for number in numbers]) == list(numbers)
    assert max(most) == settings.DATABASE_THREADS


async def test_work_apart_waits_behind_no_query():
    release = threading.Event()
    busy = [asyncio.ensure_future(query(release.wait, 60)) for _ in range(2 * settings.DATABASE_THREADS)]
    await asyncio.sleep(0)

    try:
        assert await asyncio.wait_for(query_apart(WorkerRecord.objects.count), 60) == 0
        assert not any(task.done() for task in busy)
    finally:
        release.set()
    await asyncio.gather(*busy)


async def test_a_query_passes_arguments_result_and_exception():
    def work(one: int, *, two: int) -> int:
        return one + two

    assert await query(work, 1, two=2) == 3
    with pytest.raises(WorkerRecord.DoesNotExist):
        await query(WorkerRecord.objects.get, id="nobody")


async def test_a_thread_keeps_its_sqlite_connection_and_gives_that_to_postgresql_back():
    def used() -> Any:
        connection.ensure_connection()
        return connection.connection

    first = await query_apart(used)
    kept = await asyncio.wrap_future(database._apart.submit(lambda: connection.connection))
    assert kept is (first if connection.vendor == "sqlite" else None)


@pytest.mark.skipif(
    not settings.DATABASE_URL.startswith("postgres"), reason="SQLite has no connections on a server"
)
async def test_postgresql_never_sees_more_connections_than_the_pool_has(writes: GroupedWrites):
    config = connection.settings_dict
    counts = []
    with psycopg.connect(
        host=config["HOST"], port=config["PORT"], user=config["USER"], dbname="postgres"
    ) as second:
        second.autocommit = True
        together = threading.Barrier(settings.DATABASE_THREADS)

        def nap(_: Any = None) -> None:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_sleep(0.01)")

        def nap_together() -> None:
            nap()
            together.wait(60)  # a pool that is slow to connect would have a few do the work of all

        def look() -> None:
            [count] = second.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = %s AND backend_type = 'client backend'",  # autovacuum has some, too
                [config["NAME"]],
            ).fetchone() or [0]
            counts.append(count)

        work = [asyncio.ensure_future(query(nap_together)) for _ in range(settings.DATABASE_THREADS)]
        work += [asyncio.ensure_future(query(nap)) for _ in range(200)]
        work += [asyncio.ensure_future(waiter(writes.submit(nap))) for _ in range(5)]
        while not all(task.done() for task in work):
            look()
            await asyncio.sleep(0.005)
        await asyncio.gather(*work)
        look()  # the pool keeps its connections
    pool = config["OPTIONS"]["pool"]["max_size"]

    assert settings.DATABASE_THREADS <= max(counts) <= pool


async def waiter(future: asyncio.Future[Any]) -> Any:
    return await future


# --- grouped writes ---------------------------------------------------------------------------------------


async def test_a_waiter_is_told_after_the_commit(
    writes: GroupedWrites, names_on_disk: Callable[[], set[str]]
):
    seen_when_told: dict[str, bool] = {}
    futures = []
    for number in range(50):
        name = f"w{number}"
        future = writes.submit(partial(make_worker, name))
        future.add_done_callback(
            lambda done: seen_when_told.setdefault(done.result(), done.result() in names_on_disk())
        )
        futures.append(future)
    assert await asyncio.gather(*futures) == [f"w{number}" for number in range(50)]
    await writes.settled()

    assert seen_when_told == dict.fromkeys((f"w{number}" for number in range(50)), True)


async def test_writes_keep_their_order(writes: GroupedWrites):
    def rename(number: int) -> None:
        WorkerRecord.objects.filter(host=str(number - 1)).update(host=str(number))

    make = writes.submit(lambda: WorkerRecord.objects.create(id="w", host="0", pid=1))
    for number in range(1, 300):
        writes.submit(partial(rename, number))
        if number % 70 == 0:
            await asyncio.sleep(0.005)
    await make
    await writes.settled()

    assert await query(lambda: WorkerRecord.objects.get().host) == "299"


async def test_neighbours_share_a_statement_and_later_ones_the_next_transaction(
    writes: GroupedWrites,
):
    many, other = Many(), Many()
    for name in ("a", "b", "c"):
        writes.submit_item(many, name)
    writes.submit_item(other, "d")
    writes.submit_item(many, "e")
    await writes.settled()

    assert (many.calls, other.calls) == ([["a", "b", "c"], ["e"]], [["d"]])


async def test_many_writes_are_few_transactions(writes: GroupedWrites):
    many = Many()
    committed = Counted("switchboard_writes_total", outcome="committed")
    await asyncio.gather(*[writes.submit_item(many, f"w{number}") for number in range(500)])

    assert len(many.calls) <= 2
    assert committed.grown == 500


async def test_one_bad_write_fails_alone(writes: GroupedWrites, names_on_disk: Callable[[], set[str]]):
    many = Many()
    await writes.submit(lambda: make_worker("taken"))
    futures: list[Any] = [writes.submit_item(many, name) for name in ("a", "taken", "b")]
    futures += [
        writes.submit(lambda: make_worker("c")),
        writes.submit(lambda: 1 / 0),
        writes.submit(lambda: "d"),
    ]
    failed = Counted("switchboard_writes_total", outcome="failed")
    results = await asyncio.gather(*futures, return_exceptions=True)

    assert [type(result) for result in results] == [
        type(None),
        IntegrityError,
        type(None),
        str,
        ZeroDivisionError,
        str,
    ]
    assert names_on_disk() == {"taken", "a", "b", "c"}
    assert failed.grown == 2


async def test_a_write_that_nobody_waits_for_any_more_is_done_all_the_same(writes: GroupedWrites):
    given_up, kept = writes.submit(lambda: make_worker("a")), writes.submit(lambda: make_worker("b"))
    given_up.cancel()
    await kept
    failing = writes.submit(lambda: 1 / 0)
    await writes.settled()

    assert isinstance(failing.exception(), ZeroDivisionError)
    assert await query(WorkerRecord.objects.count) == 2


async def test_too_many_writes_are_refused(writes: GroupedWrites):
    order: list[Any] = []
    with replaced(database, "MAX_PENDING", 3), replaced(database, "MAX_BATCH", 1):
        first = writes.submit(lambda: order.append("first"))
        await asyncio.sleep(0)  # it is on its way
        waiting = [writes.submit(partial(order.append, number)) for number in range(3)]
        with pytest.raises(Overloaded):
            writes.submit(lambda: order.append("too many"))
        await asyncio.gather(first, *waiting)
        await writes.submit(lambda: order.append("room again"))

    assert order == ["first", 0, 1, 2, "room again"]


async def test_while_the_database_is_out_every_waiter_is_told_at_once(
    writes: GroupedWrites, monkeypatch: pytest.MonkeyPatch
):
    """One attempt to connect takes up to ten seconds; one for each write would take hours."""
    attempts = []

    def refuse(self: BaseDatabaseWrapper) -> None:
        attempts.append(1)
        raise OperationalError("connection refused")

    with monkeypatch.context() as patched:
        patched.setattr(BaseDatabaseWrapper, "ensure_connection", refuse)
        futures = [writes.submit(lambda: make_worker("never")) for _ in range(100)]
        results = await asyncio.gather(*futures, return_exceptions=True)
        assert {type(result) for result in results} == {OperationalError}
        assert len(attempts) <= 2

    assert await writes.submit(lambda: make_worker("after")) == "after"


@pytest.mark.parametrize(
    ("refused", "told"),
    [({1}, {1}), ({0, 5}, {0, 5}), ({2, 3}, set(range(2, 10))), (set(range(10)), set(range(10)))],
    ids=["one", "two apart", "two in a row", "all"],
)
async def test_two_refusals_of_the_database_in_a_row_are_not_the_fault_of_the_write(
    writes: GroupedWrites, refused: set[int], told: set[int]
):
    runs = []

    def work(number: int) -> None:
        runs.append(number)
        if number in refused:
            raise OperationalError("locked")

    futures = [writes.submit(partial(work, number)) for number in range(10)]
    results = await asyncio.gather(*futures, return_exceptions=True)

    assert {number for number, result in enumerate(results) if result is not None} == told
    assert len(runs) <= 20


async def test_writes_and_queries_side_by_side_lock_nobody_out(writes: GroupedWrites):
    """SQLite has one writer at a time; the others wait for it."""

    def write(number: int) -> None:
        WorkerRecord.objects.create(id=f"q{number}", host="h", pid=1)

    await asyncio.gather(
        *[query(write, number) for number in range(40)],
        *[writes.submit_item(MANY, f"w{number}") for number in range(200)],
    )

    assert await query(WorkerRecord.objects.count) == 240


MANY = Many()


async def test_writes_that_come_shortly_after_a_transaction_share_the_next(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(database, "monotonic", lambda: 0.0)  # however long the first one takes
    writes, many = GroupedWrites(apart=2), Many()
    turn, over, pauses = asyncio.sleep, asyncio.Event(), []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        await over.wait()

    with monkeypatch.context() as held:
        held.setattr(asyncio, "sleep", pause)
        await writes.submit_item(many, "first")
        futures = []
        for name in ("b", "c", "d"):
            futures.append(writes.submit_item(many, name))
            await turn(0)
        assert (many.calls, pauses) == ([["first"]], [2])
        over.set()
        await asyncio.gather(*futures)
        await writes.settled()

    assert many.calls == [["first"], ["b", "c", "d"]]


def test_rows_are_inserted_in_statements_of_a_size_and_known_ones_are_left_alone():
    insert_rows(WorkerRecord, ("id", "host", "pid"), [("w7", "first", 1)])
    insert_rows(WorkerRecord, ("id", "host", "pid"), [(f"w{n}", "second", n) for n in range(1500)])
    rows = WorkerRecord.objects.order_by("pid", "host").values_list("id", "host", "pid")
    expected = [(f"w{n}", "second", n) for n in range(1500) if n != 7]
    assert sorted(rows) == sorted([*expected, ("w7", "first", 1)])


def test_no_rows_are_no_statement():
    insert_rows(WorkerRecord, ("id", "host", "pid"), [])
    assert not WorkerRecord.objects.exists()
