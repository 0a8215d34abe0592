"""The database beside the event loop: a bounded executor for queries, one thread for grouped writes.

A socket holds no connection: threads take one from the pool for a call and give it back (PostgreSQL), or
keep their own open (SQLite).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from time import monotonic
from typing import Any, Final, ParamSpec, TypeVar

from django.conf import settings
from django.db import OperationalError, connection, transaction
from django.db.models import Field, Model

from routing_app.core import metrics
from routing_app.core.patience import patience
from routing_app.core.standstill import comes_within

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

MAX_PENDING: Final = 50_000
"""Jobs that may wait for the writing thread."""
MAX_BATCH: Final = 2_000
"""Jobs in one transaction."""
ROWS_AT_ONCE: Final = 500
"""Rows in one statement of `insert_rows`."""
HUNG_SECONDS: Final = 60.0
"""A batch that takes longer hangs, and its thread is replaced. A statement that gets no answer ends much
earlier."""
APART_SECONDS: Final = 4.0
"""Longest time of one statement of `query_apart`: what renews a lease must not wait as long as others may."""

_queries = ThreadPoolExecutor(settings.DATABASE_THREADS, thread_name_prefix="query")
_apart = ThreadPoolExecutor(1, thread_name_prefix="apart")


class Overloaded(Exception):
    """Too many writes wait already."""


async def query(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function that uses the ORM in a thread of the bounded executor."""
    loop = asyncio.get_running_loop()
    # In a copy of the context, so that log lines and audit entries of the thread have the request's id.
    run = copy_context().run
    begun = monotonic()
    try:
        return await loop.run_in_executor(_queries, run, lambda: _call(function, *args, **kwargs))
    finally:
        metrics.QUERY.observe(monotonic() - begun)


async def query_apart(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The same in a thread of its own, for a short query that may wait behind nothing else."""

    def run() -> T:
        with patience(APART_SECONDS):
            return _call(function, *args, **kwargs)

    return await asyncio.get_running_loop().run_in_executor(_apart, run)


def _call(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        return function(*args, **kwargs)
    finally:
        _give_back()


def _give_back() -> None:
    """Return the thread's connection to the pool; SQLite's stays open unless it is broken."""
    if connection.vendor == "sqlite":
        # CONN_MAX_AGE is for the threads of requests, which end; to open a file again costs two queries.
        connection.close_at = None
        connection.close_if_unusable_or_obsolete()
    else:
        connection.close()


Item = TypeVar("Item")


@dataclass(slots=True)  # never changed; `frozen` would take a microsecond for each
class Job:
    """One write: `run(items)` for all adjacent jobs that have the same `run`, their items in order."""

    run: Callable[[list[Any]], Any]
    item: Any
    future: asyncio.Future[Any]
    submitted: float


class GroupedWrites:
    """Many small writes as few transactions: jobs that come while one commits go into the next.

    Every waiter is told after the commit. When a transaction fails, its jobs are tried one by one, so that
    only those which fail by themselves are told so; while the database is out, all of them at once.

    Transactions start at least `apart` seconds one after the other, so that under load many jobs share what
    each costs by itself. A job that comes when nothing was written lately does not wait.
    """

    def __init__(self, apart: float = 0.0) -> None:
        self._apart = apart
        self._pending: list[Job] = []
        self._task: asyncio.Task[None] | None = None

    def submit(self, job: Callable[[], T]) -> asyncio.Future[T]:
        """Have `job` run in a transaction, in order; the future resolves with its result after the commit.

        Raises Overloaded when too many wait.
        """
        return self._add(lambda items: job(), None)

    def submit_item(self, write_many: Callable[[list[Item]], T], item: Item) -> asyncio.Future[T]:
        """The same for one item of a bulk statement: neighbours with the same `write_many` share a call.

        All items of a call get its result.
        """
        return self._add(write_many, item)

    async def settled(self) -> None:
        """Wait until nothing is pending."""
        while self._task is not None:
            await asyncio.shield(self._task)

    def _add(self, run: Callable[[list[Any]], Any], item: Any) -> asyncio.Future[Any]:
        if len(self._pending) >= MAX_PENDING:
            raise Overloaded("the database is behind")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._pending.append(Job(run, item, future, monotonic()))
        if self._task is None:
            self._task = asyncio.ensure_future(self._run())
        return future

    async def _run(self) -> None:
        try:
            while self._pending:
                batch, self._pending = self._pending[:MAX_BATCH], self._pending[MAX_BATCH:]
                begun = monotonic()
                for job in batch:
                    metrics.WRITE_WAIT.observe(begun - job.submitted)
                outcomes = await _thread.commit(batch)
                metrics.WRITE.observe(monotonic() - begun)
                _tell(batch, outcomes)
                if self._apart:
                    await asyncio.sleep(max(0.0, begun + self._apart - monotonic()))
        finally:
            self._task = None


class WritingThread:
    """The thread that commits; one that hangs is left to itself, and another takes its place."""

    def __init__(self) -> None:
        self._executor = self._new()

    async def commit(self, batch: Sequence[Job]) -> Sequence[Any]:
        """Each job's result, or the exception it ended with.

        A batch that hung counts as failed. Should its thread ever come to its end, it may be written all the
        same.
        """
        while True:
            executor = self._executor
            try:
                running = executor.submit(_commit, batch)
            except RuntimeError as error:  # the interpreter is about to end and takes no more work
                return [error] * len(batch)
            await comes_within(asyncio.wrap_future(running), HUNG_SECONDS)
            # One thread serves all loops of the process, so a batch may wait behind another one's. Cancelling
            # succeeds only before it has begun: then another try with the new thread is safe. One that has
            # begun may still commit, so it is not tried again.
            if running.cancelled() or running.cancel():
                continue
            if running.done():
                return running.result()
            if self._executor is executor:  # else another loop has replaced it already
                logger.error("database: the writing thread hung for %g s and is replaced", HUNG_SECONDS)
                self._executor = self._new()
                executor.shutdown(wait=False, cancel_futures=True)
            return [OperationalError("the writing thread hung")] * len(batch)

    @staticmethod
    def _new() -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1, thread_name_prefix="writer")


_thread = WritingThread()


def _commit(jobs: Sequence[Job]) -> list[Any]:
    """Run jobs in one transaction; each one's result, or the exception it ended with."""
    try:
        connection.ensure_connection()
    except Exception as error:
        return [error] * len(jobs)
    try:
        # Adjacent jobs only are joined: to bring all of a kind together would change the order of writes.
        with transaction.atomic():
            return [
                outcome
                for run, group in groupby(jobs, lambda job: job.run)
                for outcome in _run(run, list(group))
            ]
    except Exception as error:
        return [error] if len(jobs) == 1 else _commit_each(jobs)
    finally:
        _give_back()


def _commit_each(jobs: Sequence[Job]) -> list[Any]:
    """A transaction for each job.

    After two in a row that the database refuses the others get the same error, untried: with thousands of
    jobs an outage would otherwise take a timeout for each.
    """
    outcomes: list[Any] = []
    for job in jobs:
        outcomes += _commit([job])
        if len(outcomes) > 1 and all(isinstance(outcome, OperationalError) for outcome in outcomes[-2:]):
            return outcomes + outcomes[-1:] * (len(jobs) - len(outcomes))
    return outcomes


def _run(run: Callable[[list[Any]], Any], group: Sequence[Job]) -> list[Any]:
    return [run([job.item for job in group])] * len(group)


def _tell(jobs: Sequence[Job], outcomes: Sequence[Any]) -> None:
    failed = 0
    for future, outcome in zip((job.future for job in jobs), outcomes, strict=True):
        failed += isinstance(outcome, Exception)
        if future.done():
            continue
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
            future.exception()  # retrieved: nobody has to wait
        else:
            future.set_result(outcome)
    for word, count in (("committed", len(jobs) - failed), ("failed", failed)):
        if count:
            metrics.WRITES.labels(word).inc(count)


def insert_rows(
    model: type[Model], names: Sequence[str], rows: Sequence[Sequence[Any]], returning: Sequence[str] = ()
) -> list[tuple[Any, ...]]:
    """Insert rows, each the values of the fields `names`; those whose key is there already are left out.

    Of those that were inserted, the values of the fields `returning`, where there are any.

    For rows that come by the thousand: an instance and Django's compiler take 20 µs for each. Times have to
    be as `database_time` gives them.
    """
    columns = [_column(model, name) for name in names]
    into = ", ".join(map(connection.ops.quote_name, columns))
    # Names of tables and columns come from the model.
    insert = f"INSERT INTO {connection.ops.quote_name(model._meta.db_table)} ({into}) VALUES "  # noqa: S608
    marks = f"({', '.join(['%s'] * len(columns))})"
    most = connection.features.max_query_params
    at_once = min(ROWS_AT_ONCE, most // len(columns)) if most else ROWS_AT_ONCE
    end = "ON CONFLICT DO NOTHING"
    if returning:
        end += f" RETURNING {', '.join(connection.ops.quote_name(_column(model, one)) for one in returning)}"
    inserted: list[tuple[Any, ...]] = []
    with connection.cursor() as cursor:
        for start in range(0, len(rows), at_once):
            part = rows[start : start + at_once]
            statement = f"{insert}{', '.join([marks] * len(part))} {end}"
            cursor.execute(statement, [value for row in part for value in row])
            if returning:
                inserted += cursor.fetchall()
    return inserted


def _column(model: type[Model], name: str) -> str:
    field = model._meta.get_field(name)
    assert isinstance(field, Field)
    return str(field.column)


def database_time(at: datetime) -> Any:
    """A time as the database takes it for a DateTimeField."""
    return connection.ops.adapt_datetimefield_value(at)
