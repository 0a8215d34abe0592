"""A statement whose answer is swallowed by something that acknowledges all the same: it ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from django.conf import settings
from django.db import OperationalError
from psycopg_pool import ConnectionPool

from routing_app.core import database
from routing_app.core.database import GroupedWrites, Job
from routing_app.core.patience import PatientConnection, patience
from tests.core.harness import replaced
from tests.faults.proxy import Proxy

SECONDS = 0.3
LIMIT = 30.0
"""Longest wait for a connection: for what hangs, not for what is slow."""


@pytest.fixture
def proxy(postgres_url: str) -> Iterator[Proxy]:
    """Between us and PostgreSQL."""
    with Proxy(urlsplit(postgres_url).port or 5432) as proxy:
        yield proxy


@pytest.fixture
def pool(proxy: Proxy, postgres_url: str) -> Iterator[ConnectionPool[PatientConnection]]:
    """Three connections through the proxy, checked when one is taken, as Django has it."""
    port = urlsplit(postgres_url).port
    with pool_of(3, postgres_url.replace(f":{port}/", f":{proxy.port}/")) as pool:
        yield pool


@contextmanager
def pool_of(size: int, url: str) -> Iterator[ConnectionPool[PatientConnection]]:
    """As Django has it; an attempt to connect that the proxy has swallowed ends, and another follows."""
    with ConnectionPool(
        url,
        connection_class=PatientConnection,
        kwargs={"autocommit": True, "connect_timeout": 2},
        min_size=size,
        max_size=size,
        check=ConnectionPool.check_connection,
        timeout=LIMIT,
    ) as pool:
        pool.wait(LIMIT)
        yield pool


def one(connection: PatientConnection) -> object:
    row = connection.execute("SELECT 1").fetchone()
    return row and row[0]


def test_a_statement_without_an_answer_ends_and_the_next_goes_another_way(
    proxy: Proxy, pool: ConnectionPool[PatientConnection]
):
    with pool.connection() as connection:
        assert one(connection) == 1
        proxy.swallow()
        with patience(SECONDS), pytest.raises(psycopg.OperationalError):
            one(connection)
        assert connection.closed
    proxy.heal()
    with pool.connection() as another:
        assert one(another) == 1


def test_after_one_that_was_swallowed_no_older_connection_is_waited_for(
    proxy: Proxy, pool: ConnectionPool[PatientConnection]
):
    """Each of them would cost its own time, one after the other."""
    older = [pool.getconn() for _ in range(3)]
    proxy.swallow()
    with patience(SECONDS), pytest.raises(psycopg.OperationalError):
        one(older[0])
    with pytest.raises(psycopg.OperationalError, match="another connection"):
        one(older[1])
    for connection in older:
        pool.putconn(connection)
    proxy.heal()
    with pool.connection() as connection:
        assert one(connection) == 1
        assert connection not in older


MANY = 8
"""Connections of a pool that needs a minute to find out by itself that all of them have ended."""


@pytest.mark.parametrize("how", ["ended", "silent"])
def test_all_connections_that_ended_at_a_time_cost_the_next_caller_no_wait(
    proxy: Proxy, postgres_url: str, how: str
):
    port = urlsplit(postgres_url).port
    with pool_of(MANY, postgres_url.replace(f":{port}/", f":{proxy.port}/")) as pool:
        if how == "silent":
            with pool.connection() as first:
                proxy.swallow()
                with patience(SECONDS), pytest.raises(psycopg.OperationalError):
                    one(first)
                proxy.heal()
        else:
            proxy.cut()
        with pool.connection() as connection:
            assert one(connection) == 1


def test_a_transaction_that_is_under_way_on_an_older_connection_goes_on(
    proxy: Proxy, pool: ConnectionPool[PatientConnection]
):
    slow, other = pool.getconn(), pool.getconn()
    with other.transaction():
        one(other)
        with patience(SECONDS), pytest.raises(psycopg.OperationalError):
            slow.execute("SELECT pg_sleep(60)")
        assert one(other) == 1
    for connection in (slow, other):
        pool.putconn(connection)


@pytest.mark.skipif(
    not settings.DATABASE_URL.startswith("postgres"), reason="SQLite has no server that ends statements"
)
@pytest.mark.django_db
def test_the_server_ends_statements_and_transactions_that_nobody_waits_for_any_more():
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        statement = cursor.fetchone()
        cursor.execute("SHOW idle_in_transaction_session_timeout")
        assert statement == cursor.fetchone() == (f"{settings.DATABASE_SECONDS:g}s",)


@pytest.mark.django_db(transaction=True)
async def test_a_writing_thread_that_hangs_is_replaced():
    release, first = threading.Event(), threading.Event()
    commit = database._commit

    def hang_once(jobs: Sequence[Job]) -> list[Any]:
        if not first.is_set():
            first.set()
            release.wait(60)
        return commit(jobs)

    writes, others = GroupedWrites(), GroupedWrites()
    done: list[str] = []
    try:
        with replaced(database, "HUNG_SECONDS", 3), replaced(database, "_commit", hang_once):
            hung = writes.submit(partial(done.append, "late"))
            await asyncio.to_thread(first.wait, 60)
        waiting = writes.submit(partial(done.append, "same"))
        behind = others.submit(partial(done.append, "other"))
        with pytest.raises(OperationalError):
            await hung
        await asyncio.gather(waiting, behind)
        assert sorted(done) == ["other", "same"]
    finally:
        release.set()
