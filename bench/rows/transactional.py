"""Messages after a commit, and for later: from the commit, and from their time, to a receiver."""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from statistics import quantiles
from typing import Any, Final
from urllib.request import Request, urlopen

import psycopg
from websockets.sync.client import ClientConnection, connect

from bench.bench import Bench, Usage
from bench.contestants import Running, switchboard
from bench.machine import SERVER_CORE, on_core
from bench.section import Column, Figure, Mark, Reading, Results, Row, Section, Unavailable, at_most
from tests.services.postgres import Postgres, find_postgres
from tests.services.server import Server

SQLITE, POSTGRES = "SQLite, 1 worker", "PostgreSQL and Redis, 2 workers"
PAUSE: Final = 0.0437
"""Between two commits: in no step with anything that looks twice a second."""
DUE: Final = 10_000
AHEAD: Final = 20.0
"""Seconds in which the messages for later are scheduled."""
WAIT: Final = 60
KEPT: Final = {"pattern": "token:kept", "history_size": 10_000, "history_seconds": 600}
INSERT: Final = "INSERT INTO outbox_message (id, addresses, message) VALUES "
"""Of another program, as docs/transactional.md shows it."""

Write = Callable[[str, str], float]
"""Commits a message to an address; the time right before the commit."""


@contextmanager
def _on_postgres(bench: Bench) -> Iterator[Running]:
    if find_postgres() is None:
        raise Unavailable("PostgreSQL is not installed")
    with on_core(SERVER_CORE):
        postgres = Postgres()
    with postgres:
        options = {"DATABASE_URL": postgres.url(), "REDIS_URL": bench.redis.url, "WORKERS": "2"}
        with switchboard("serve", **options)(bench) as running:
            yield running


STACKS: Final = {SQLITE: switchboard("serve"), POSTGRES: _on_postgres}


def _measure(stack: str, bench: Bench) -> Reading:
    with STACKS[stack](bench) as running:
        assert running.server is not None
        before, began = Usage.now(running.pids(), SERVER_CORE), time.monotonic()
        with _writing(running.server) as write:
            waits = sorted(_commits(running.server, write, 30 if bench.quick else 150))
        count = 1_000 if bench.quick else DUE
        _call(running.server, "/api/rules/", KEPT)
        reading = {
            **_percentiles(waits),
            "due": _due(running.server, "plain", count),
            "kept": _due(running.server, "kept", count),
        }
        used = Usage.now(running.pids(), SERVER_CORE) - before
        bench.disturbance = max(bench.disturbance, used.disturbed / (time.monotonic() - began))
    return reading


def _commits(server: Server, write: Write, count: int) -> list[float]:
    """Milliseconds from each commit to its receiver, which has all of them once."""
    committed: dict[str, float] = {}
    arrived: list[tuple[str, float]] = []

    def receive(socket: ClientConnection) -> None:
        while len(arrived) < count:
            arrived.append((str(socket.recv(WAIT)), time.time()))

    with _subscribed(server, "committed") as socket:
        receiving = threading.Thread(target=receive, args=(socket,))
        receiving.start()
        for number in range(count):
            committed[str(number)] = write("token:committed", str(number))
            time.sleep(PAUSE)
        receiving.join(WAIT)
    if [text for text, _ in arrived] != list(committed):
        raise Unavailable(f"INCOMPLETE: {len(arrived)} of {count}, or not in order")
    return [1000 * (at - committed[text]) for text, at in arrived]


def _percentiles(waits: list[float]) -> dict[str, Figure]:
    hundredths = quantiles(waits, n=100)
    return {"p50": hundredths[49], "p99": hundredths[98], "most": waits[-1]}


def _due(server: Server, token: str, count: int) -> Figure:
    """Seconds from the time of many messages to the last of them, each once and in order."""
    due = time.time() + AHEAD * count / DUE
    at = datetime.fromtimestamp(due, UTC)
    texts = [str(number) for number in range(count)]
    messages = [{"addresses": [f"token:{token}"], "message": text, "at": at.isoformat()} for text in texts]
    with _subscribed(server, token) as socket:
        for start in range(0, count, 1_000):
            _call(server, "/api/publish/batch", {"messages": messages[start : start + 1_000]})
        if time.time() > due:
            return "INCOMPLETE: due before all were scheduled"
        found = [str(socket.recv(WAIT)) for _ in range(count)]
        seconds = time.time() - due
    return seconds if found == texts else "INCOMPLETE: not each once and in order"


@contextmanager
def _subscribed(server: Server, token: str) -> Iterator[ClientConnection]:
    url = f"{server.ws_url}/ws?RegisterToken={token}"
    with connect(url, max_size=None, max_queue=None, proxy=None, compression=None) as socket:
        yield socket


@contextmanager
def _writing(server: Server) -> Iterator[Write]:
    """Commits of another program."""
    url = server.database_url
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=20)) as database:
            yield partial(_commit, database, "(?, ?, ?)", ())
        return
    with psycopg.connect(url) as database:
        yield partial(_commit, database, "(%s, %s, %s)", ("NOTIFY switchboard_outbox",))


def _commit(database: Any, marks: str, more: tuple[str, ...], address: str, text: str) -> float:
    database.execute(INSERT + marks, (secrets.token_hex(16), json.dumps([address]), json.dumps(text)))
    for statement in more:
        database.execute(statement)
    at = time.time()
    database.commit()
    return at


def _call(server: Server, path: str, body: Any) -> None:
    headers = {"X-API-Key": server.api_key, "Content-Type": "application/json"}
    with urlopen(Request(server.url + path, json.dumps(body).encode(), headers)) as response:
        for result in json.load(response).get("results", ()):
            if "error" in result:
                raise Unavailable(result["error"])


def _marks(results: Results) -> list[Mark]:
    sqlite, postgres = results.get(SQLITE, {}), results.get(POSTGRES, {})
    seconds = f"{DUE:,} due at one time: the last within 10 s"
    return [
        *at_most("PostgreSQL, from commit to receiver: p50 under 50 ms", postgres.get("p50"), 50, " ms"),
        *at_most("SQLite, from commit to receiver: at most 1 s", sqlite.get("most"), 1000, " ms"),
        *at_most(f"SQLite, {seconds}", sqlite.get("due"), 10, " s"),
        *at_most(f"SQLite with history, {seconds}", sqlite.get("kept"), 10, " s"),
        *at_most(f"PostgreSQL, {seconds}", postgres.get("due"), 10, " s"),
        *at_most(f"PostgreSQL with history, {seconds}", postgres.get("kept"), 10, " s"),
    ]


SECTION = Section(
    name="transactional",
    title="Messages after a commit, and for later",
    columns=(
        Column("p50", "from commit to receiver: p50 ms", 1),
        Column("p99", "p99 ms", 1),
        Column("most", "most ms", 1),
        Column("due", f"{DUE:,} due at one time: s until the last", 2),
        Column("kept", "the same with history", 2),
    ),
    rows=tuple(Row(stack, partial(_measure, stack)) for stack in STACKS),
    note="Another program commits 150 messages, 20 a second. Workers, PostgreSQL and Redis share ONE core.",
    marks=_marks,
    order=68,
)
