"""Processes that change tables take turns, and a wait for a table is short and told."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import psycopg
import pytest
from django.db import DataError, OperationalError, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations import CreateModel
from django.db.migrations.state import ProjectState
from django.db.utils import ConnectionHandler
from pytest_django import DjangoDbBlocker

from broker_project.management.commands import migrate
from broker_project.serving import table_changes
from broker_project.serving.table_changes import ADVISORY_LOCK, change_tables, turn
from routing_app.broker import stores
from routing_app.core.operations import AddIndexBesideWrites
from routing_app.core.patience import BESIDE_SECONDS, PatientConnection
from tests.services.databases import REPOSITORY
from tests.services.waiting import wait_until

pytestmark = pytest.mark.once

STATEMENT_SECONDS: Final = 60.0
SOON: Final = 2.0
"""The same of a test that waits for such an end."""
COLUMN: Final = "ALTER TABLE thing ADD COLUMN more text"
PAGE: Final = (REPOSITORY / "docs" / "upgrades.md").read_text(encoding="utf-8")
Open = Callable[[], Any]


@pytest.fixture(scope="module")
def database(postgres_url: str) -> Iterator[str]:
    """A database without tables of ours."""
    cluster, name = postgres_url.rpartition("/")[0], f"table_changes_{os.getpid()}"
    with psycopg.connect(f"{cluster}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
        yield f"{cluster}/{name}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def seconds() -> float:
    """After which statements end."""
    return STATEMENT_SECONDS


@pytest.fixture
def opened(
    database: str,
    seconds: float,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    django_db_blocker: DjangoDbBlocker,
) -> Iterator[Open]:
    """Opens connections with the limits of a server whose statements end after so many seconds."""
    monkeypatch.setattr(PatientConnection, "seconds", 0.0)  # which `stores.database` sets

    @contextmanager
    def connected() -> Iterator[BaseDatabaseWrapper]:
        handler = ConnectionHandler({"default": stores.database(database, tmp_path, 4, seconds)})
        with closing(handler["default"]) as connection:
            yield connection
        connection.close_pool()  # type: ignore[attr-defined]

    with django_db_blocker.unblock():
        yield connected


@pytest.fixture
def connection(opened: Open) -> Iterator[BaseDatabaseWrapper]:
    """One of them, and a table `thing` with a row."""
    with opened() as connection:
        run(connection, "DROP TABLE IF EXISTS thing")
        run(connection, "CREATE TABLE thing AS SELECT 1::bigint AS id, 'x'::varchar(20) AS name")
        yield connection


@pytest.fixture
def holder(database: str, connection: BaseDatabaseWrapper) -> Iterator[psycopg.Connection]:
    """A transaction that uses the table, and has done so for longer than a try."""
    with psycopg.connect(database) as holder:
        holder.execute("SELECT * FROM thing")
        yield holder
        holder.rollback()


def run(connection: BaseDatabaseWrapper, statement: str) -> Any:
    """The first value that a statement returns."""
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()[0] if cursor.description else None


def pauses(monkeypatch: pytest.MonkeyPatch, does: Callable[[], object]) -> list[float]:
    """Have each pause between two tries do something; the seconds of each that there was."""
    made: list[float] = []

    def sleep(seconds: float) -> None:
        made.append(seconds)
        does()

    monkeypatch.setattr(table_changes, "time", SimpleNamespace(sleep=sleep))
    return made


@contextmanager
def waiting_for_its_turn(opened: Open, caplog: pytest.LogCaptureFixture) -> Iterator[threading.Event]:
    """Another process, as a thread with a connection of its own, that waits; set when it has its turn."""
    had = threading.Event()

    def wait() -> None:
        with opened() as connection, turn(connection):
            had.set()

    thread = threading.Thread(target=wait)
    thread.start()
    wait_until(lambda: "migrate: waits for process" in caplog.text)
    yield had
    thread.join(60)


def test_one_process_at_a_time_has_the_turn(
    connection: BaseDatabaseWrapper, opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with ExitStack() as waiting, turn(connection):
        pid = run(connection, "SELECT pg_backend_pid()")
        with turn(connection):  # `serve` migrates within its own
            pass
        had = waiting.enter_context(waiting_for_its_turn(opened, caplog))
        assert f"waits for process {pid} of PostgreSQL" in caplog.text
        assert not had.is_set()
    assert had.is_set()
    assert run(connection, f"SELECT count(*) FROM pg_locks WHERE objid = {ADVISORY_LOCK}") == 0


def test_an_index_does_not_wait_for_a_process_that_waits_for_its_turn(
    connection: BaseDatabaseWrapper, opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """`SELECT pg_advisory_lock()` would be a transaction that is older than the index."""
    caplog.set_level("INFO")
    with ExitStack() as waiting, turn(connection):
        had = waiting.enter_context(waiting_for_its_turn(opened, caplog))
        change_tables(connection, lambda: run(connection, "CREATE INDEX CONCURRENTLY ON thing (name)"))
        assert not had.is_set()
    assert had.is_set()


def test_a_table_that_is_in_use_is_tried_again_and_the_user_named(
    connection: BaseDatabaseWrapper,
    holder: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = pauses(monkeypatch, holder.rollback)
    change_tables(connection, lambda: run(connection, COLUMN), lock_seconds=0.1)

    assert len(made) == 1
    [told] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert f"process {holder.info.backend_pid} of PostgreSQL" in told
    [example] = re.findall(r"^WARNING \S+ (migrate: waits for the lock.*)$", PAGE, re.MULTILINE)
    assert _shape(told) == _shape(example).replace("rooms_room", "thing")
    assert run(connection, "SELECT count(more) FROM thing") == 0


def _shape(line: str) -> str:
    """Without the address and the numbers of a case."""
    return re.sub(r"\d+", "0", re.sub(r"( of PostgreSQL) for [0-9.:]+", r"\1", line))


def test_it_gives_up_after_the_last_try_and_leaves_the_connection_as_it_was(
    connection: BaseDatabaseWrapper, holder: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = pauses(monkeypatch, lambda: None)
    with pytest.raises(OperationalError) as refused:
        change_tables(connection, lambda: run(connection, COLUMN), lock_seconds=0.05, tries=3)

    assert isinstance(refused.value.__cause__, psycopg.errors.LockNotAvailable)
    assert len(made) == 2
    assert run(connection, "SHOW lock_timeout") == "0"
    assert run(connection, "SHOW statement_timeout") == "1min"


def test_another_error_is_raised_at_once(
    connection: BaseDatabaseWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = pauses(monkeypatch, lambda: None)
    with pytest.raises(DataError):
        change_tables(connection, lambda: run(connection, "SELECT 1 / 0"))
    assert made == []


@pytest.mark.parametrize("seconds", [SOON])
def test_a_change_of_tables_may_take_any_time(connection: BaseDatabaseWrapper, seconds: float) -> None:
    longer = f"SELECT pg_sleep({seconds + BESIDE_SECONDS + 0.3})"
    with pytest.raises(OperationalError):
        run(connection, longer)
    change_tables(connection, lambda: run(connection, longer))


def test_a_migration_that_cannot_be_tried_again_waits(connection: BaseDatabaseWrapper) -> None:
    command = migrate.Command()
    command._connection, command._seconds, command.verbosity = connection, 1.5, 0
    command.migration_progress_callback("apply_start", SimpleNamespace(atomic=False))
    assert run(connection, "SHOW lock_timeout") == "0"
    command.migration_progress_callback("apply_start", SimpleNamespace(atomic=True))
    assert run(connection, "SHOW lock_timeout") == "1500ms"


def test_an_index_replaces_one_that_was_not_made_to_its_end(
    connection: BaseDatabaseWrapper, caplog: pytest.LogCaptureFixture
) -> None:
    state = ProjectState()
    fields: list[Any] = [
        ("id", models.BigAutoField(primary_key=True)),
        ("name", models.CharField(max_length=20)),
    ]
    CreateModel("Thing", fields, {"db_table": "thing"}).state_forwards("shop", state)
    operation = AddIndexBesideWrites("Thing", models.Index(fields=["name"], name="thing_name"))
    after = state.clone()
    operation.state_forwards("shop", after)
    run(connection, "INSERT INTO thing VALUES (2, 'x')")
    with pytest.raises(Exception, match="could not create unique index"):
        run(connection, "CREATE UNIQUE INDEX CONCURRENTLY thing_name ON thing (name)")
    valid = "SELECT array_agg(indisvalid) FROM pg_index WHERE indexrelid::regclass::text = 'thing_name'"
    assert run(connection, valid) == [False]

    def make() -> None:
        with connection.schema_editor(atomic=False) as editor:
            operation.database_forwards("shop", editor, state, after)

    change_tables(connection, make)
    assert run(connection, valid) == [True]
    with connection.schema_editor(atomic=False) as editor:
        operation.database_backwards("shop", editor, after, state)
    assert run(connection, valid) is None
