"""Django's settings for the database, the channel layer and the cache, made from URLs.

A URL that cannot be understood is an `ImproperlyConfigured` of one line, which never holds a password.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import environ
from django.core.exceptions import ImproperlyConfigured
from psycopg import IsolationLevel

from routing_app.core.cluster import redis_urls
from routing_app.core.patience import PatientConnection

SQLITE_OPTIONS: Final = {
    "timeout": 20,
    "transaction_mode": "IMMEDIATE",
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA busy_timeout=20000;",
}
"""Readers go on while one thread writes; a transaction that began to write later could not wait for it."""


def database(url: str, folder: Path, threads: int, seconds: float) -> dict[str, Any]:
    """SQLite in WAL mode, in `folder` where the URL is empty; or PostgreSQL with psycopg's pool, where a
    statement takes `seconds` at most (0: any time)."""
    if not url:
        file = folder / "switchboard.sqlite3"  # not as a URL: a path may hold ? or #
        return _sqlite({"ENGINE": "django.db.backends.sqlite3", "NAME": str(file)}, folder)
    config = _parsed(url)
    # SQLite's memory is one thread's own.
    if not config or config["NAME"] in {"", ":memory:"}:
        raise ImproperlyConfigured(
            "DATABASE_URL: expected sqlite:///path or postgres://user:password@host/name"
        )
    if config["ENGINE"].endswith("sqlite3"):
        return _sqlite(config, folder)
    return _postgresql(config, threads, seconds)


def channel_layer(redis_url: str) -> dict[str, Any]:
    """The pub/sub layer on one or several Redis servers, or the in-memory one of a single process."""
    if not redis_url:
        return {"BACKEND": "routing_app.core.cluster.layers.ProcessChannelLayer"}
    hosts = [redis_urls.host_of(url) for url in _servers(redis_url)]
    return {"BACKEND": "routing_app.core.cluster.redis_layer.RedisLayer", "CONFIG": {"hosts": hosts}}


def cache(redis_url: str) -> dict[str, Any]:
    """Redis where there is one, so that all workers count logins together; else this process's memory."""
    if not redis_url:
        return {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    servers = _servers(redis_url)
    is_spread = len(servers) > 1 or redis_urls.is_sentinel(servers[0])
    return {
        "BACKEND": "routing_app.broker.cache.SpreadCache"
        if is_spread
        else "django.core.cache.backends.redis.RedisCache",
        "LOCATION": servers,
        "KEY_PREFIX": "switchboard",
    }


def _servers(redis_url: str) -> list[str]:
    try:
        return redis_urls.split(redis_url)
    except ValueError as error:
        raise ImproperlyConfigured(f"REDIS_URL: {error}") from None


def _parsed(url: str) -> dict[str, Any]:
    """The parts of a database's URL; nothing for a scheme that is not ours."""
    if not url.startswith(("sqlite:///", "postgres://", "postgresql://")):
        return {}
    try:
        return dict(environ.Env.db_url_config(url))
    except ValueError:  # its message may hold a part of the password
        raise ImproperlyConfigured(
            "DATABASE_URL: expected a URL; in a password / ? # [ ] @ are written %2F %3F %23 %5B %5D %40"
        ) from None


def _sqlite(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    config["OPTIONS"] = dict(SQLITE_OPTIONS)
    # Threads use the test database, so it has to be a file.
    config["TEST"] = {"NAME": str(folder / "test.sqlite3")}
    return config


def _postgresql(config: dict[str, Any], threads: int, seconds: float) -> dict[str, Any]:
    PatientConnection.seconds = seconds
    pool = {
        "connection_class": PatientConnection,
        "min_size": 1,
        "max_size": threads + 4,
        "timeout": 3,
        # A pool that goes on trying doubles its pauses up to minutes, and is late when the database is back.
        # One that gives up tries again with the next query.
        "reconnect_timeout": 1,
    }
    # A database whose host is gone does not answer: without these a thread waits a quarter of an hour.
    silence = {
        "connect_timeout": 5,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 2,
        "tcp_user_timeout": 20_000,
    }
    # A worker whose connection is lost while it holds locks must not hold them for good: PostgreSQL ends its
    # transaction.
    limit = f"{seconds * 1000:.0f}"
    server = f"-c statement_timeout={limit} -c idle_in_transaction_session_timeout={limit}"
    # The holder of a lock has to see the commit of the holder before it, whatever the database's default is.
    isolation = {"isolation_level": IsolationLevel.READ_COMMITTED}
    config["OPTIONS"] = {"options": server, **silence, **config.get("OPTIONS", {}), **isolation, "pool": pool}
    config["CONN_HEALTH_CHECKS"] = True  # a restart of the database fails no query after it
    return config
