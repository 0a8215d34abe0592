"""Checks before the server starts: each problem is one line that names its cause."""

from __future__ import annotations

import logging
import socket
import sqlite3
from collections.abc import Callable
from copy import deepcopy
from errno import EADDRINUSE, EADDRNOTAVAIL
from pathlib import Path
from typing import Any, Final

import redis
from django.conf import settings
from django.core.checks import ERROR, run_checks
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor
from django.db.utils import ConnectionHandler

from broker_project.serving.table_changes import turn
from routing_app.core import tracing
from routing_app.core.cluster.redis_urls import opened, split, without_password
from switchboard_server.endpoints import BACKLOG
from switchboard_server.proxy import Proxies

logger = logging.getLogger(__name__)

CONNECT_SECONDS: Final = 5
"""Longest wait for a database or a Redis that does not answer."""


class StartProblem(Exception):
    """The server cannot start; the message is one line."""


def check_settings(workers: int) -> None:
    """Raise StartProblem for settings that are wrong alone or together."""
    if workers > 1 and not settings.REDIS_URL:
        raise StartProblem(
            f"WORKERS: {workers} workers need REDIS_URL: the in-memory layer reaches only its own process"
        )
    try:
        Proxies(settings.TRUSTED_PROXIES)
    except ValueError as error:
        raise StartProblem(f"TRUSTED_PROXIES: {error}") from None
    if reason := tracing.missing():
        raise StartProblem(reason)
    for found in run_checks():
        if found.level >= ERROR:
            raise StartProblem(f"{found.id}: {_one_line(found.msg)}")


def check_database() -> None:
    """Raise StartProblem unless the database can be opened and asked something."""
    database = settings.DATABASES["default"]
    if not database["ENGINE"].endswith("postgresql"):
        _make_folder(Path(database["NAME"]).parent)
    connection = unpooled()
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except (DatabaseError, OSError, sqlite3.Error) as error:
        raise StartProblem(f"DATABASE_URL: cannot open {database_name()}: {_one_line(error)}") from None
    finally:
        connection.close()


def unpooled() -> BaseDatabaseWrapper:
    """A connection of its own to the database, not opened yet; the caller closes it.

    A pool would try again for a while before it reports that the server does not answer.
    """
    database = deepcopy(settings.DATABASES["default"])
    options = database.setdefault("OPTIONS", {})
    options.pop("pool", None)
    if database["ENGINE"].endswith("postgresql"):
        options["connect_timeout"] = CONNECT_SECONDS
    return ConnectionHandler({"default": database})["default"]


def prepare_database(migrate: bool, first_run: Callable[[], list[str]]) -> list[str]:
    """Bring the tables up to date, if so wanted, and do what a first run needs; the lines to print.

    Servers that start at the same time on one PostgreSQL take turns. Raises StartProblem.
    """
    try:
        with turn(connections["default"]):
            if migrate and _is_behind():
                call_command("migrate", interactive=False, verbosity=0)
            return first_run()
    except (CommandError, DatabaseError, OSError) as error:
        raise StartProblem(f"DATABASE_URL: cannot prepare {database_name()}: {_one_line(error)}") from None
    finally:
        connections.close_all()


def _is_behind() -> bool:
    """True when tables have to be made or changed; to find that out takes a fifth of `migrate`."""
    executor = MigrationExecutor(connections["default"])
    return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def check_redis() -> None:
    """Raise StartProblem unless one of the servers of REDIS_URL answers; nothing when there is none.

    Others that do not answer are logged: their share works when they are back.
    """
    if not settings.REDIS_URL:
        return
    try:
        urls = split(settings.REDIS_URL)
    except ValueError as error:
        raise StartProblem(f"REDIS_URL: {error}") from None
    problems = [problem for url in urls if (problem := _problem_of(url))]
    if len(problems) == len(urls):
        raise StartProblem(f"REDIS_URL: {problems[0]}")
    for problem in problems:
        logger.warning("REDIS_URL: %s: starting without it", problem)


def _problem_of(url: str) -> str:
    """The reason for which a Redis server does not answer; "" for one that does."""
    try:
        with opened(url, socket_connect_timeout=CONNECT_SECONDS, socket_timeout=CONNECT_SECONDS) as client:
            client.ping()
    except (redis.RedisError, OSError) as error:
        return f"cannot reach {without_password(url)}: {_one_line(error)}"
    except ValueError:  # its message may hold a part of the password
        raise StartProblem(
            f"REDIS_URL: expected redis://host:port/number, but got {without_password(url)}"
        ) from None
    return ""


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on the port, for this process and its workers. Raises StartProblem."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise StartProblem(f"HOST: {host} is not an address of this machine: {_one_line(error)}") from None
    # A name that stands for both kinds of address means the IPv4 one, as it did to the original token broker.
    family, kind, protocol, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise StartProblem(_cannot_listen(error, host, port)) from None
    return listening


def database_name() -> str:
    """The URL of the database, without its user and password."""
    database: dict[str, Any] = settings.DATABASES["default"]
    if database["ENGINE"].endswith("sqlite3"):
        return f"sqlite:///{database['NAME']}"
    return (
        f"postgres://{database.get('HOST') or 'localhost'}:{database.get('PORT') or 5432}/{database['NAME']}"
    )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StartProblem(f"DATABASE_URL: cannot make {folder}: {_one_line(error)}") from None


def _cannot_listen(error: OSError, host: str, port: int) -> str:
    if error.errno == EADDRINUSE:
        return f"PORT: port {port} on {host} is in use by another process"
    if error.errno == EADDRNOTAVAIL:
        return f"HOST: {host} is not an address of this machine"
    return f"PORT: cannot listen on port {port} of {host}: {_one_line(error.strerror)}"


def _one_line(error: object) -> str:
    return " ".join(str(error).split()) or type(error).__name__
