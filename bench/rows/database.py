"""Requests whose handler reads a row: many on their way over one connection, one each over 50."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from bench.bench import Bench
from bench.contestants import Contestant, Running, switchboard
from bench.load import Dialect, Load
from bench.section import Column, Mark, Reading, Results, Row, Section, Unavailable, at_least
from tests.services.postgres import Postgres, find_postgres

CONNECTIONS: Final = 50
IN_FLIGHT: Final = 64
LEAST: Final = 2_000

READ: Final = Dialect("/connection", '{"direction":"REQUEST","type":"read","key":"k","text":"', '"}')
APPS: Final = {"EXTRA_APPS": "bench.asking"}


@contextmanager
def _on_postgres(bench: Bench) -> Iterator[Running]:
    if find_postgres() is None:
        raise Unavailable("PostgreSQL is not installed")
    with (
        Postgres() as postgres,
        switchboard("serve", **APPS, DATABASE_URL=postgres.url())(bench) as running,
    ):
        yield running


SERVE: Final = Contestant("Switchboard, `manage.py serve`, SQLite", switchboard("serve", **APPS))
POSTGRES: Final = Contestant("Switchboard, `manage.py serve`, PostgreSQL", _on_postgres)
DAPHNE: Final = Contestant("Switchboard, plain Daphne, SQLite", switchboard("daphne", **APPS))


def _read(contestant: Contestant, bench: Bench) -> Reading:
    with contestant.start(bench) as running:
        with Load(running.port, READ) as load:
            load.open(1)
            load.flood(0.3, IN_FLIGHT)
            one = bench.sample(running, load, partial(load.flood, bench.seconds, IN_FLIGHT))
        with Load(running.port, READ) as load:
            load.open(CONNECTIONS)
            load.echo(0.3, CONNECTIONS)
            many = bench.sample(running, load, partial(load.echo, bench.seconds, CONNECTIONS))
    return {
        "one": one.phase.fault or one.per_second,
        "one_us": one.phase.fault or one.server_us,
        "many": many.phase.fault or many.per_second,
        "many_us": many.phase.fault or many.server_us,
        "p50": many.phase.fault or many.phase.p50_ms,
        "p99": many.phase.fault or many.phase.p99_ms,
    }


def _marks(results: Results) -> list[Mark]:
    serve = results.get(SERVE.label, {})
    return [
        *at_least(f"serve, one connection: at least {LEAST:,} requests/s", serve.get("one"), LEAST),
        *at_least(f"serve, {CONNECTIONS} connections: at least {LEAST:,}", serve.get("many"), LEAST),
    ]


SECTION = Section(
    name="database",
    title="Requests with a database read",
    columns=(
        Column("one", f"one connection, {IN_FLIGHT} on their way: requests/s"),
        Column("one_us", "CPU µs each"),
        Column("many", f"{CONNECTIONS} connections, one each: requests/s"),
        Column("many_us", "CPU µs each"),
        Column("p50", "p50 ms", 1),
        Column("p99", "p99 ms", 1),
    ),
    rows=tuple(
        Row(contestant.label, partial(_read, contestant), quick=contestant is SERVE)
        for contestant in (SERVE, POSTGRES, DAPHNE)
    ),
    note="The handler fetches one row by its key with the ORM. PostgreSQL's own use is not counted.",
    marks=_marks,
    order=66,
)
