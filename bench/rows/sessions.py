"""Session control: creates and takeovers a second, and what it costs to hold thousands of sessions."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import Final

from bench.bench import Bench
from bench.machine import LOAD_CORE, SERVER_CORE, cpu_seconds, family
from bench.section import Column, Figure, Mark, Reading, Results, Row, Section, Unavailable, at_least, at_most
from bench.sessions_load import Customers, flood, hold, pace
from tests.services.postgres import Postgres, find_postgres
from tests.services.server import Server
from tests.sessions.http import Http

CUSTOMERS: Final = 1_000
IN_FLIGHT: Final = 32
RATE: Final = 300
HELD: Final = 5_000
SQLITE, POSTGRES = "SQLite, 1 worker", "PostgreSQL, 2 workers"
CREATES, TAKEOVERS, HOT, HOLDING = "create", "takeover", "create, one customer", f"hold {HELD:,} bound"
HOT_LIMIT: Final = (
    "from sessions_app.models import Limit;"
    "Limit.objects.update(scope='account', maximum=3, policy='evict_oldest')"
)
"""A customer that creates without end has a limit; here each create evicts the oldest of three."""


@contextmanager
def _server(bench: Bench, stack: str) -> Iterator[Server]:
    """A server and what it stands on, on both cores: the load shares them."""
    options = {"WORKERS": "1"}
    os.sched_setaffinity(0, {SERVER_CORE, LOAD_CORE})
    postgres = Postgres()
    server = None
    try:
        if stack == POSTGRES:
            if find_postgres() is None:
                raise Unavailable("PostgreSQL is not installed")
            postgres.start()
            options = {"WORKERS": "2", "DATABASE_URL": postgres.url(), "REDIS_URL": bench.redis.url}
        server = Server(bench.new_folder(), options)
        server.start()
        yield server
    finally:
        if server is not None:
            server.close()
        postgres.__exit__()
        os.sched_setaffinity(0, {LOAD_CORE})


def _secret(server: Server) -> str:
    """The demo publisher's, from the lines of the first run."""
    [line] = [line for line in server.log_text().splitlines() if line.startswith("its secret:")]
    return line.split()[-1]


def _rest(stack: str, kind: str, bench: Bench) -> Reading:
    with _server(bench, stack) as server:
        if kind == HOT:
            server.manage("shell", "-c", HOT_LIMIT)
        return asyncio.run(_drive(server, kind, 2 if bench.quick else 6))


async def _drive(server: Server, kind: str, seconds: float) -> Reading:
    http = Http(server.url)
    customers = Customers(http, _secret(server), 1 if kind == HOT else CUSTOMERS)
    request = customers.take_over if kind == TAKEOVERS else customers.create
    numbers = count()
    await flood(request, IN_FLIGHT, 2, numbers)
    before = cpu_seconds(family([server.pid]))
    fast = await flood(request, IN_FLIGHT, seconds, numbers)
    used = cpu_seconds(family([server.pid])) - before
    steady = await pace(request, RATE, seconds, numbers)
    await http.close()
    failed = fast.failed + steady.failed
    fault = f"{failed} failed" if failed else ""
    return {
        "rate": fault or fast.rate,
        "ms": fault or 1000 * used / max(1, len(fast.latencies)),
        "p50": fault or steady.percentile(0.5),
        "p99": fault or steady.percentile(0.99),
    }


def _holding(bench: Bench) -> Reading:
    with _server(bench, SQLITE) as server:
        return asyncio.run(_hold(server, 300 if bench.quick else HELD, 30 if bench.quick else 60))


async def _hold(server: Server, players: int, seconds: float) -> Reading:
    http = Http(server.url)
    customers = Customers(http, _secret(server), players)
    holders = []
    for start in range(0, players, 100):
        numbers = range(start, min(players, start + 100))
        replies = await asyncio.gather(*[customers.create(number) for number in numbers])
        holders += await hold([reply.json["endpoint"] for reply in replies])
    await asyncio.sleep(5)
    before = cpu_seconds(family([server.pid]))
    heard = sum(holder.pongs for holder in holders)
    await asyncio.sleep(seconds)
    used = cpu_seconds(family([server.pid])) - before
    heard = sum(holder.pongs for holder in holders) - heard
    reading: dict[str, Figure] = {"percent": 100 * used / seconds}
    if heard < players * seconds / 30 * 0.8:
        reading["percent"] = f"only {heard} PONGs"
    for holder in holders:
        holder.close()
    await http.close()
    return reading


def _marks(results: Results) -> list[Mark]:
    label = f"{POSTGRES}: {CREATES}"
    creates, holding = results.get(label, {}), results.get(f"{SQLITE}: {HOLDING}", {})
    return [
        *at_least(f"PostgreSQL: at least {RATE} creates/s", creates.get("rate"), RATE),
        *at_most(f"PostgreSQL: p99 at most 100 ms at {RATE} creates/s", creates.get("p99"), 100, " ms"),
        *at_most(f"{HELD:,} bound sessions: at most 5 % of a core", holding.get("percent"), 5, " %"),
    ]


SECTION = Section(
    name="sessions",
    title=f"Session control, {CUSTOMERS:,} customers; server and load share two cores",
    columns=(
        Column("rate", f"requests/s, {IN_FLIGHT} in flight"),
        Column("ms", "CPU ms each", 2),
        Column("p50", f"p50 ms at {RATE}/s", 1),
        Column("p99", "p99 ms", 1),
        Column("percent", "% of a core", 2),
    ),
    rows=(
        *[
            Row(f"{stack}: {kind}", partial(_rest, stack, kind), quick=kind == CREATES)
            for stack in (POSTGRES, SQLITE)
            for kind in (CREATES, TAKEOVERS, HOT)
        ],
        Row(f"{SQLITE}: {HOLDING}", _holding, quick=False),
    ),
    marks=_marks,
    order=80,
)
