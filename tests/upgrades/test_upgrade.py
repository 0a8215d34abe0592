"""The next version comes while workers of the version before run; clients notice the close at their end."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg
import pytest
from django.conf import settings

from tests.conftest import SCALED_OUT
from tests.project.exchanges import Site
from tests.services.databases import Databases, sql
from tests.services.server import Server
from tests.upgrades import next_version
from tests.upgrades.next_version import ADDED, APPS, INDEXED
from tests.upgrades.traffic import Customers, Held, Traffic

MIGRATE: Final = [sys.executable, "manage.py", "migrate", "--no-input", "--lock-timeout", "0.3"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return next_version.make(tmp_path_factory.mktemp("tree"))


@dataclass
class Rows:
    """Rows of all apps that a server writes over REST, and another one reads.

    An account is optional: hashes of passwords are slow.
    """

    name: str
    key: str
    account: dict[str, str] | None

    @classmethod
    def write(cls, site: Site, account: bool) -> Rows:
        name = secrets.token_hex(4)
        site.call("/api/tokens/", {"token": name})
        site.call("/api/rooms/", {"namespace": "bus", "name": name, "note": name})
        site.call("/api/rules/", {"pattern": f"token:{name}", "history_size": 3})
        site.call("/api/publishers/", {"name": name})
        made = site.call("/api/keys/", {"name": name, "scopes": ["read", "publish"]})
        if not account:
            return cls(name, made["key"], None)
        user = {"email": f"{name}@example.com", "password": "correct horse battery staple"}
        site.call("/user/register", user)
        return cls(name, made["key"], user)

    def read(self, site: Site) -> None:
        """Read each with the key, which is one of them."""
        reader = Site(site.port, self.key)
        for path, field, value in (
            ("tokens", "token", self.name),
            ("rooms", "note", self.name),
            ("rules", "pattern", f"token:{self.name}"),
            ("publishers", "name", self.name),
        ):
            rows = site.call(f"/api/{path}/?page_size=1000")["results"]
            assert value in {row[field] for row in rows}
        assert reader.call("/api/publish", {"addresses": ["token:nobody"], "message": "x"}) is not None
        assert self.account is None or site.call("/user/login", self.account)["token"]


def applied(url: str) -> list[tuple[str, str]]:
    """The new migrations that are recorded, each as often as it is."""
    rows = sql(url, "SELECT app, name FROM django_migrations WHERE name IN (%s, %s)", ADDED, INDEXED)
    return sorted((app, name) for app, name in rows)


ALL: Final = sorted((app.label, name) for app in APPS for name in (ADDED, INDEXED))


def ranks(url: str) -> dict[str, set[int | None]]:
    """The values of the new column in each table."""
    return {app.table: {rank for (rank,) in sql(url, f"SELECT later_rank FROM {app.table}")} for app in APPS}


@dataclass
class Upgrade:
    """Servers of both versions on one database, of which the first one runs, and what holds its clients."""

    old: Server
    new: Server
    again: Server
    """The version before, as it comes back."""
    site: Site
    customers: Customers
    rows: Rows
    held: Held


@pytest.fixture
def upgrade(databases: Databases, tree: Path, tmp_path: Path) -> Iterator[Upgrade]:
    # The player that is held answers no PING.
    options = {"REDIS_URL": settings.REDIS_URL, "SESSIONS_PING_SECONDS": "600"}
    options["DATABASE_URL"] = url = databases.create()
    old, new, again = servers = (
        Server(_folder(tmp_path, "old"), options | {"WORKERS": "2"}),
        Server(_folder(tmp_path, "new"), options, tree=tree),
        Server(_folder(tmp_path, "again"), options),
    )
    try:
        old.start()
        site = Site(old.port, old.api_key)
        [(secret,)] = sql(url, "SELECT material FROM sessions_app_publisherkey")
        customers = Customers(secret)
        with ExitStack() as opened:
            held = Held(site, customers, opened)
            yield Upgrade(old, new, again, site, customers, Rows.write(site, account=True), held)
    finally:
        for server in servers:
            server.close()
        databases.drop(url)


def _folder(parent: Path, name: str) -> Path:
    (parent / name).mkdir()
    return parent / name


@pytest.mark.skipif(not SCALED_OUT, reason="SQLite has one process, which is stopped first")
def test_nobody_notices_a_migration_and_clients_are_told_of_a_restart(upgrade: Upgrade) -> None:
    old, new, again, held = upgrade.old, upgrade.new, upgrade.again, upgrade.held
    url = old.database_url
    upgrade.rows.read(upgrade.site)
    with ExitStack() as ended, Traffic(upgrade.site, upgrade.customers) as traffic:
        traffic.goes_on()

        # A transaction that somebody has forgotten is in the way: workers do not wait behind `migrate`.
        with psycopg.connect(url) as forgotten:
            forgotten.execute("SELECT count(*) FROM rooms_room")
            migrate = new.command(MIGRATE, new.folder / "migrate.log")
            ended.callback(migrate.kill_session)
            told = f"waits for the lock of a table: process {forgotten.info.backend_pid} of PostgreSQL"
            migrate.wait_until(lambda: told in migrate.log_text())
            assert "holds rooms_room" in migrate.log_text()

            # Another one that would migrate, too.
            new.launch()
            new.process.wait_until(lambda: "migrate: waits for process" in new.log_text())
            traffic.goes_on()
            assert migrate.exit_code is None
            forgotten.rollback()

        assert migrate.wait(100) == 0
        assert applied(url) == ALL
        traffic.goes_on()
        assert ranks(url) == {app.table: {7} for app in APPS}

        new.process.wait_until(new.serves)
        beside = Site(new.port, new.api_key)
        upgrade.rows.read(beside)
        Rows.write(beside, account=False).read(upgrade.site)
        for site in (upgrade.site, beside):
            held.publish(site, f"from port {site.port}")
        assert all(held.alive().values())

        traffic.site = beside
        traffic.goes_on()
        assert old.stop() == 0
        assert held.codes() == dict.fromkeys(held.sockets, 1012)

        # The way back: the version before starts on the new tables.
        again.start()
        traffic.site = Site(again.port, again.api_key)
        traffic.goes_on()
    assert traffic.failures == []
    assert [server.stop() for server in (new, again)] == [0, 0]


@pytest.mark.skipif(SCALED_OUT, reason="PostgreSQL need not be stopped")
def test_sqlite_is_stopped_and_started_again(databases: Databases, tree: Path, tmp_path: Path) -> None:
    url = databases.create()
    options = {"DATABASE_URL": url, "REDIS_URL": ""}
    old = Server(_folder(tmp_path, "old"), options)
    new = Server(_folder(tmp_path, "new"), options, tree=tree)
    try:
        old.start()
        rows = Rows.write(Site(old.port, old.api_key), account=True)
        assert old.stop() == 0

        new.start()
        rows.read(Site(new.port, new.api_key))
        assert applied(url) == ALL
        assert new.stop() == 0
    finally:
        old.close()
        new.close()
        databases.drop(url)
