"""Changes of tables while others use them: one process at a time makes them, and none is waited for long.

Only PostgreSQL needs it. SQLite has one writer at a time, and one process of ours.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import psycopg
from django.db import DatabaseError, OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper

from routing_app.core.patience import patience

logger = logging.getLogger(__name__)

ADVISORY_LOCK: Final = 0x5357_4244
"""Number of PostgreSQL's advisory lock of a process that changes tables: "SWBD" in ASCII."""
POLL_SECONDS: Final = 0.2
LOCK_SECONDS: Final = 2.0
"""How long one try waits for the lock of a table. All queries of the table wait behind it. PostgreSQL ends a
vacuum that is in the way after a second, so it has to be longer than that."""
TRIES: Final = 100
PAUSE_SECONDS: Final = 2.0
"""Between two tries, for the queries that have waited."""
TRIED_AGAIN: Final = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)

_HOLDER: Final = """
SELECT l.pid, host(a.client_addr)
FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.classid = 0 AND l.objid = %s AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_IN_THE_WAY: Final = """
SELECT a.pid, host(a.client_addr), a.state,
  extract(epoch FROM clock_timestamp() - a.xact_start)::int,
  string_agg(DISTINCT l.relation::regclass::text, ', ' ORDER BY l.relation::regclass::text)
FROM pg_locks l
JOIN pg_stat_activity a USING (pid)
JOIN pg_class c ON c.oid = l.relation
WHERE l.granted AND l.locktype = 'relation' AND c.relkind IN ('r', 'p')
  AND c.relnamespace <> 'pg_catalog'::regnamespace
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND a.pid <> pg_backend_pid()
  AND (a.xact_start IS NULL OR a.xact_start < clock_timestamp() - make_interval(secs => %s))
GROUP BY a.pid, a.client_addr, a.state, a.xact_start
ORDER BY a.xact_start NULLS LAST
LIMIT 3
"""
"""Of other users' transactions only the id is known, unless our user is a superuser."""


@contextmanager
def turn(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Within it this process alone prepares the database; turns of one connection may be nested.

    The lock is asked for again and again. A statement that waited for it would be a transaction, and
    `CREATE INDEX CONCURRENTLY` of the process that has the turn would wait for that one.
    """
    if connection.vendor != "postgresql":
        yield
        return
    _take_turn(connection)
    try:
        yield
    finally:
        with suppress(DatabaseError), connection.cursor() as cursor:  # a session that has ended has none
            cursor.execute("SELECT pg_advisory_unlock(%s)", [ADVISORY_LOCK])


def _take_turn(connection: BaseDatabaseWrapper) -> None:
    is_told = False
    with connection.cursor() as cursor:
        while True:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [ADVISORY_LOCK])
            if cursor.fetchone()[0]:
                return
            if not is_told:
                cursor.execute(_HOLDER, [ADVISORY_LOCK])
                holders = [_process(pid, address) for pid, address in cursor.fetchall()]
                logger.info(
                    "migrate: waits for %s, which prepares this database", ", ".join(holders) or "another"
                )
                is_told = True
            time.sleep(POLL_SECONDS)


def change_tables(
    connection: BaseDatabaseWrapper,
    change: Callable[[], object],
    lock_seconds: float = LOCK_SECONDS,
    tries: int = TRIES,
) -> None:
    """Run a change of tables, which may be run again where it was ended before its end.

    A wait for a table that others use ends after `lock_seconds`, and with it the change, so that no worker
    waits longer behind it. Then the log says what is in the way, and the change is tried again. Statements
    may take any time. Raises OperationalError when the last try has failed like that.
    """
    with patience(0), _limits(connection, lock_seconds):
        for left in reversed(range(tries)):
            try:
                change()
                return
            except OperationalError as error:
                if not isinstance(error.__cause__, TRIED_AGAIN) or not left:
                    raise
            logger.warning(
                "migrate: waits for the lock of a table: %s. It is tried again %d times",
                _in_the_way(connection, lock_seconds),
                left,
            )
            time.sleep(PAUSE_SECONDS)


@contextmanager
def _limits(connection: BaseDatabaseWrapper, lock_seconds: float) -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
    limit_waits(connection, lock_seconds)
    try:
        yield
    finally:
        with suppress(DatabaseError), connection.cursor() as cursor:
            cursor.execute("RESET lock_timeout")
            cursor.execute("RESET statement_timeout")


def limit_waits(connection: BaseDatabaseWrapper, seconds: float) -> None:
    """Have each wait for a lock end after so many seconds; 0: when it has the lock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, false)", [f"{seconds * 1000:.0f}"])


def _in_the_way(connection: BaseDatabaseWrapper, seconds: float) -> str:
    """The oldest transactions that hold tables for longer than a try: who, and which tables."""
    with connection.cursor() as cursor:
        cursor.execute(_IN_THE_WAY, [seconds])
        found = cursor.fetchall()
    if not found:
        return "the transaction that held it has ended"
    return "; ".join(
        f"{_process(pid, address)} ({state or 'of another user'}{'' if age is None else f', for {age} s'})"
        f" holds {tables}"
        for pid, address, state, age, tables in found
    )


def _process(pid: int, address: str | None) -> str:
    return f"process {pid} of PostgreSQL" + (f" for {address}" if address else "")
