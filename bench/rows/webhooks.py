"""Webhooks: deliveries a second of one worker to a receiver that answers at once."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Final

import psycopg

from bench.bench import Bench, Usage
from bench.contestants import Running, switchboard
from bench.machine import SERVER_CORE
from bench.receiver import Receiver
from bench.section import Column, Mark, Reading, Results, Row, Section, Unavailable, at_least
from tests.services.postgres import Postgres, find_postgres
from tests.services.waiting import wait_until
from tests.tokens.client import call

SQLITE, POSTGRES = "SQLite", "PostgreSQL"
LEAST: Final = 300
SECONDS: Final = 120
"""A limit for what hangs."""
BODY: Final = json.dumps(
    {
        "type": "user.registered",
        "timestamp": "2026-11-29T00:00:00.000Z",
        "data": {"id": "17", "email": "x" * 80},
    }
)
INSERT: Final = (
    "INSERT INTO core_delivery (id, webhook_id, type, body, status, attempts, last_error)"
    " VALUES ({0}, {0}, 'user.registered', {0}, 'pending', 0, '')"
)


@contextmanager
def _server(bench: Bench, database: str) -> Iterator[Running]:
    if database == SQLITE:
        with switchboard("serve", WEBHOOKS_PRIVATE="yes")(bench) as running:
            yield running
        return
    if find_postgres() is None:
        raise Unavailable("PostgreSQL is not installed")
    with (
        Postgres() as postgres,
        switchboard("serve", WEBHOOKS_PRIVATE="yes", DATABASE_URL=postgres.url())(bench) as running,
    ):
        yield running


def _deliver(database: str, webhooks: int, bench: Bench) -> Reading:
    count = 400 if bench.quick else 4_000
    with _server(bench, database) as running, Receiver() as receiver:
        assert running.server is not None
        ids = [_make(running, receiver.port) for _ in range(webhooks)]
        before = Usage.now(running.pids(), SERVER_CORE)
        _write(running.server.database_url, [(f"msg_{n}", ids[n % webhooks], BODY) for n in range(count)])
        wait_until(lambda: receiver.received().count >= count, SECONDS)
        used = Usage.now(running.pids(), SERVER_CORE) - before
        received = receiver.received()
    seconds = received.last - received.first
    bench.disturbance = max(bench.disturbance, used.disturbed / seconds)
    if received.count > count:
        return {"rate": f"{received.count - count} came twice", "us": ""}
    return {"rate": (count - 1) / seconds, "us": used.used * 1e6 / count}


def _make(running: Running, port: int) -> int:
    assert running.server is not None
    body = {"name": "load", "url": f"http://127.0.0.1:{port}/", "events": ["user.registered"]}
    return int(call(running.server, "POST", "/api/webhooks/", body).json()["id"])


def _write(url: str, rows: list[tuple[str, int, str]]) -> None:
    """The rows that one transaction would leave."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=20)) as database, database:
            database.executemany(INSERT.format("?"), rows)
        return
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.executemany(INSERT.format("%s"), rows)


def _marks(results: Results) -> list[Mark]:
    return [
        mark
        for label in (_label(SQLITE, 1), _label(POSTGRES, 1))
        for mark in at_least(f"{label}: at least {LEAST} a second", results.get(label, {}).get("rate"), LEAST)
    ]


def _label(database: str, webhooks: int) -> str:
    return f"{database}, {webhooks} webhook{'s' if webhooks > 1 else ''}"


SECTION = Section(
    name="webhooks",
    title="Webhooks: deliveries of one worker to a fast receiver",
    columns=(Column("rate", "deliveries/s"), Column("us", "CPU µs each")),
    rows=tuple(
        Row(_label(database, webhooks), partial(_deliver, database, webhooks), quick=database == SQLITE)
        for database in (SQLITE, POSTGRES)
        for webhooks in (1, 8)
    ),
    note="4,000 rows of the outbox are there at once, each 183 bytes; the receiver answers 204."
    " The time is from the first call to the last; PostgreSQL's own use is not counted.",
    marks=_marks,
    order=98,
)
