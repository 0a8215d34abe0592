"""Fresh, migrated databases with an admin user, each a copy of one that was made once."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any, Final, Protocol

import psycopg

REPOSITORY: Final = Path(__file__).resolve().parents[2]
ADMIN_PASSWORD: Final = "correct horse battery staple"

# The admin user as a first start makes it, but for the hash: 0.2 s of each server that a test starts.
_PREPARE: Final = f"""
import django
django.setup()
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.contrib.auth.models import User
from django.core.management import call_command
call_command("migrate", verbosity=0)
password = PBKDF2PasswordHasher().encode("{ADMIN_PASSWORD}", "salt", iterations=1)
User.objects.create(username="admin", is_staff=True, is_superuser=True, password=password)
"""


class Databases(Protocol):
    """Makes databases for the servers that a test starts."""

    def create(self) -> str:
        """A new database with every table and no row but the admin user's; its DATABASE_URL."""

    def drop(self, url: str) -> None:
        """Remove a database that `create` made, whoever still uses it."""


class SQLiteDatabases:
    """SQLite files in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = count(1)
        self._template = folder / "template.sqlite3"
        _migrate(f"sqlite:///{self._template}", folder)

    def create(self) -> str:
        path = self._folder / f"{next(self._numbers)}.sqlite3"
        shutil.copy(self._template, path)
        return f"sqlite:///{path}"

    def drop(self, url: str) -> None:
        path = url.removeprefix("sqlite:///")
        for suffix in ("", "-wal", "-shm"):
            Path(path + suffix).unlink(missing_ok=True)


class PostgresDatabases:
    """Databases in the cluster that `url` (`postgres://…/name`) points into."""

    def __init__(self, url: str, folder: Path) -> None:
        self._cluster = url.rpartition("/")[0]
        self._prefix = f"switchboard_{os.getpid()}"
        self._numbers = count(1)
        self._template = f"{self._prefix}_template"
        self._run(f'CREATE DATABASE "{self._template}"')
        _migrate(f"{self._cluster}/{self._template}", folder)

    def create(self) -> str:
        name = f"{self._prefix}_{next(self._numbers)}"
        self._run(f'CREATE DATABASE "{name}" TEMPLATE "{self._template}"')
        return f"{self._cluster}/{name}"

    def drop(self, url: str) -> None:
        self._run(f'DROP DATABASE IF EXISTS "{url.rpartition("/")[2]}" WITH (FORCE)')

    def _run(self, statement: str) -> None:
        with psycopg.connect(f"{self._cluster}/postgres", autocommit=True) as connection:
            connection.execute(statement.encode())


def sql(url: str, statement: str, *values: object) -> Sequence[Any]:
    """Run one statement behind a server's back, its values marked `%s`; the rows it returns.

    A script of `manage.py` would take seconds.
    """
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=20)) as database, database:
            return database.execute(statement.replace("%s", "?"), values).fetchall()
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode(), values)
        return cursor.fetchall() if cursor.description else []


def _migrate(url: str, folder: Path) -> None:
    env = os.environ | {"DATABASE_URL": url, "REDIS_URL": "", "VAR_DIR": str(folder)}
    env["DJANGO_SETTINGS_MODULE"] = "broker_project.settings"
    command = [sys.executable, "-c", _PREPARE]
    result = subprocess.run(command, cwd=REPOSITORY, env=env, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise RuntimeError(f"the database could not be prepared:\n{result.stdout}{result.stderr}")
