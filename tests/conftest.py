"""Fixtures for every test: which stack it runs on, servers beside it, and Switchboard as real processes.

`pytest` alone runs on SQLite and the in-memory layer. `make test` runs everything twice, the second time with
DATABASE_URL and REDIS_URL pointing at a PostgreSQL and a Redis that it started.
"""

from __future__ import annotations

import gc
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
import websockets.asyncio.client
import websockets.sync.client
from asgiref.sync import SyncToAsync
from django.conf import settings
from django.db import connections, transaction
from django.db.backends.postgresql.base import DatabaseWrapper as PostgresWrapper
from django.test import TransactionTestCase
from pytest_django import DjangoDbBlocker

from routing_app.core.patience import PatientConnection
from tests.services.browser import Browser, Chromium, find_chromium
from tests.services.databases import Databases, PostgresDatabases, SQLiteDatabases
from tests.services.postgres import OLDEST as OLDEST_POSTGRES
from tests.services.postgres import Postgres, find_postgres
from tests.services.redis import OLDEST as OLDEST_REDIS
from tests.services.redis import Redis, find_redis
from tests.services.server import Server

# Next to nothing of what is imported and collected is garbage, and all of it stays.
gc.disable()

# No deadline: a slow machine is not a wrong answer. `make soak` looks longer.
hypothesis.settings.register_profile("default", deadline=None, print_blob=True, max_examples=50)
hypothesis.settings.register_profile(
    "soak", parent=hypothesis.settings.get_profile("default"), max_examples=10_000
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

# The stack that the second pass of `make test` runs on.
SCALED_OUT = bool(settings.REDIS_URL)

ServerFactory = Callable[..., Server]


LONGEST = (
    *("faults", "console", "interop", "clients", "tokens", "rooms", "sessions", "events"),
    *("compliance", "services", "server", "project", "documents", "reported", "audit", "requests"),
)
"""Folders that come first, the longest one at first; the others fill what is left."""


def pytest_configure() -> None:
    """Hash passwords in no time: Django's usual hash takes half a second of a processor for each log-in.

    And give the handshakes of all clients time.
    """
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher", *settings.PASSWORD_HASHERS]
    # A handshake takes as long as a busy machine needs, and not the ten seconds that the library gives it.
    for opens in (websockets.asyncio.client.connect.__init__, websockets.sync.client.connect):
        opens.__kwdefaults__ = {**(opens.__kwdefaults__ or {}), "open_timeout": 150}


def pytest_collection_finish() -> None:
    """Spare the garbage collector the modules and the tests: there are a million objects of them."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the tests that are marked `once` to the first pass; what is left out is counted as deselected.

    The tests of a folder stay together, so that the servers that they share end with the folder: a hundred
    that idle take more of a machine than those that are tested.
    """
    if SCALED_OUT:
        once = [item for item in items if item.get_closest_marker("once")]
        config.hook.pytest_deselected(items=once)
        items[:] = [item for item in items if item not in once]
    order: dict[Path, tuple[int, int]] = {}
    for item in items:
        name = item.path.parent.name
        place = LONGEST.index(name) if name in LONGEST else len(LONGEST)
        order.setdefault(item.path.parent, (place, len(order)))
    items.sort(key=lambda item: order[item.path.parent])


@pytest.fixture(scope="session")
def django_db_modify_db_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Give every run a database of its own; SQLite's is a file, because threads share it."""
    database = settings.DATABASES["default"]
    if database["ENGINE"].endswith("sqlite3"):
        name = str(tmp_path_factory.mktemp("database") / "test.sqlite3")
    else:
        name = f"test_{database['NAME']}_{os.getpid()}"
        database["OPTIONS"]["pool"]["timeout"] = 30  # a busy machine takes its time to connect
    database.setdefault("TEST", {})["NAME"] = name


MADE_BY_MIGRATIONS = {"auth_permission", "django_content_type"}


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Give up a connection that is closed, or under suspicion, in both threads that tests use the ORM in.

    On a busy machine one that was silent for too long puts all others under suspicion (`core/patience.py`),
    and no request ends here that would notice.
    """
    if SCALED_OUT:
        _give_up_connection()
        SyncToAsync.single_thread_executor.submit(_give_up_connection).result()


def _give_up_connection() -> None:
    connection = connections["default"].connection
    if isinstance(connection, PatientConnection) and (connection.closed or connection.is_suspect):
        connections["default"].close()


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Empty tables fast after tests that commit, and end what pools and threads still hold in the end, or
    PostgreSQL refuses to drop the test database.

    Django's `flush` truncates all tables and makes permissions again, for longer than most tests take.
    """
    with django_db_blocker.unblock():
        names = connections["default"].introspection.django_table_names(only_existing=True)
    tables = sorted(set(names) - MADE_BY_MIGRATIONS)

    def empty(test: TransactionTestCase) -> None:
        _give_up_connection()
        with transaction.atomic(), connections["default"].cursor() as cursor:
            for table in tables:
                cursor.execute(f'DELETE FROM "{table}"')

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", empty)
        yield
    connection = connections["default"]
    if isinstance(connection, PostgresWrapper):
        with django_db_blocker.unblock(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            connection.close()
            connection.close_pool()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis for tests that need one whichever stack they run on."""
    if settings.REDIS_URL:
        yield settings.REDIS_URL
        return
    if find_redis() is None:
        pytest.skip(f"redis-server {OLDEST_REDIS} or newer is not installed (make test installs it)")
    with Redis(tmp_path_factory.mktemp("redis")) as redis:
        yield redis.url


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL for tests that need one whichever stack they run on."""
    if settings.DATABASE_URL.startswith("postgres"):
        yield settings.DATABASE_URL
        return
    if find_postgres() is None:
        pytest.skip(f"PostgreSQL {OLDEST_POSTGRES} or newer is not installed (make test installs it)")
    with Postgres() as postgres:
        yield postgres.url()


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Databases:
    """Fresh databases of the kind that this run tests."""
    folder = tmp_path_factory.mktemp("databases")
    if settings.DATABASE_URL.startswith("postgres"):
        return PostgresDatabases(settings.DATABASE_URL, folder)
    return SQLiteDatabases(folder)


@pytest.fixture
def server(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerFactory]:
    """Start servers: `server(runner="serve", *arguments, start=True, NAME="value")`; all end with the test.

    Each gets a fresh database and the Redis of this run; `DATABASE_URL=first.database_url` shares one.
    They are killed: one that outlives the test takes those of its database for dead, some seconds later, and
    tells its clients of a gap.
    """
    started: list[Server] = []
    created: list[str] = []

    def launch(runner: str = "serve", *arguments: str, start: bool = True, **options: str) -> Server:
        if "DATABASE_URL" not in options:
            created.append(databases.create())
            options["DATABASE_URL"] = created[-1]
        options.setdefault("REDIS_URL", settings.REDIS_URL)
        one = Server(tmp_path_factory.mktemp("server"), options, runner, *arguments)
        started.append(one)
        if start:
            one.start()
        return one

    yield launch
    for one in started:
        one.close()
    for url in created:
        databases.drop(url)


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """One browser process for all tests."""
    if find_chromium() is None:
        pytest.skip("Chromium is not installed (make test installs it)")
    with Chromium(tmp_path_factory.mktemp("chromium")) as chromium:
        yield chromium


@pytest.fixture
async def browser(chromium: Chromium) -> AsyncIterator[Browser]:
    """A visitor of this test alone, whose stores are empty."""
    async with Browser(chromium) as browser:
        yield browser
