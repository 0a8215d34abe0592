"""PostgreSQL: its version, isolation of transactions, room for the pools of all workers, and its clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from broker_project.doctor.finding import Finding, error, ok, warning
from broker_project.doctor.plan import Plan

NAME: Final = "database"
OLDEST: Final = 14
"""The oldest that Django 5.2 runs on."""
CLOCK_SECONDS: Final = 1.0
"""Leases are judged by the database's clock, tokens by this machine's."""
SPARE_CONNECTIONS: Final = 5
"""Of a worker beside its threads: those that the pool adds, and the one that listens for messages."""


class Reading(NamedTuple):
    """What a server says of itself; `clock` is its time minus ours, in seconds."""

    version: int
    isolation: str
    max_connections: int
    reserved: int
    """Connections of max_connections that only superusers get."""
    clock: float


def read(connection: Any) -> Reading:
    """Ask a server. Raises DatabaseError."""
    with connection.cursor() as cursor:

        def one(statement: str) -> Any:
            cursor.execute(statement)
            return cursor.fetchone()[0]

        version = int(one("SHOW server_version_num")) // 10_000
        isolation = str(one("SHOW transaction_isolation"))
        limits = int(one("SHOW max_connections")), int(one("SHOW superuser_reserved_connections"))
        before = time.time()
        there = float(one("SELECT extract(epoch FROM clock_timestamp())"))
        clock = there - (before + time.time()) / 2
    return Reading(version, isolation, *limits, clock)


def judge(reading: Reading, plan: Plan) -> Iterator[Finding]:
    """A finding for each subject."""
    yield _version(reading.version)
    yield _isolation(reading.isolation)
    yield _room(reading, plan)
    yield _clock(reading.clock)


def _version(version: int) -> Finding:
    shown = f"PostgreSQL {version} answers"
    if version < OLDEST:
        return error(NAME, f"{shown}: too old", f"use PostgreSQL {OLDEST} or newer")
    return ok(NAME, shown)


def _isolation(isolation: str) -> Finding:
    name = f"{NAME} isolation"
    if isolation != "read committed":
        return error(
            name,
            f"transactions are {isolation}: the holder of a lock does not see the commit before it",
            "take isolation_level out of OPTIONS; read committed is asked for",
        )
    return ok(name, isolation)


def _room(reading: Reading, plan: Plan) -> Finding:
    name = f"{NAME} connections"
    each = plan.database_threads + SPARE_CONNECTIONS
    needed, there = plan.workers * each, reading.max_connections - reading.reserved
    shown = f"max_connections leaves {there}, and WORKERS={plan.workers} may take {each} each"
    if there < needed:
        threads = there // plan.workers - SPARE_CONNECTIONS
        lower = f"set DATABASE_THREADS={threads}, or " if threads >= 1 else ""
        return error(name, shown, f"{lower}raise max_connections to {needed + reading.reserved} or more")
    if there < 2 * needed:
        return warning(
            name,
            f"{shown}: as many again on another host do not fit",
            "count the workers of all hosts, and raise max_connections or put PgBouncer between",
        )
    return ok(name, shown)


def _clock(clock: float) -> Finding:
    name = f"{NAME} clock"
    if abs(clock) > CLOCK_SECONDS:
        return warning(
            name,
            f"the clock of the database is {clock:+.1f} s off that of this machine",
            "run NTP (`timedatectl set-ntp true`) on both: tokens and times of messages go by them",
        )
    return ok(name, f"{abs(clock) * 1000:.0f} ms between the clock of the database and that of this machine")
