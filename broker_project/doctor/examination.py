"""All checks, one after another; one that cannot be made is a finding, too."""

from __future__ import annotations

import http.client
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import redis
from django.conf import settings
from django.db import DatabaseError

from broker_project.doctor import (
    descriptors,
    files,
    kernel,
    memory,
    migrations,
    postgresql,
    proxies,
    redis_server,
    safety,
    sqlite,
    tls,
)
from broker_project.doctor.finding import Bound, Finding, error, ok, one_line
from broker_project.doctor.plan import Plan, of_settings
from broker_project.doctor.report import Report
from broker_project.serving.preflight import StartProblem, check_settings, database_name, unpooled
from routing_app.core.cluster.redis_urls import split, without_password
from routing_app.core.unsafe import unsafe_settings


def examine(url: str = "") -> Report:
    """Check this machine, its settings and services, and with a URL the server that answers there."""
    report, plan = Report(), of_settings()
    report.findings += [*_start(plan), *_machine(report.bounds, plan)]
    report.findings += [*_database(plan), *_redis(), *_reached(url)]
    report.findings += [*files.judge(files.read(settings.VAR_DIR)), *safety.judge(unsafe_settings())]
    report.bounds.append(Bound("MAX_CONNECTIONS", plan.connections))
    report.bounds.sort(key=lambda bound: bound.limit)
    return report


def _start(plan: Plan) -> Iterator[Finding]:
    try:
        check_settings(plan.workers)
    except StartProblem as problem:
        yield error("start", str(problem), "the server does not start: change what is named")
    else:
        yield ok("start", "the settings fit together")


def _machine(bounds: list[Bound], plan: Plan) -> Iterator[Finding]:
    limits, values, room = descriptors.read(), kernel.read(), memory.read()
    bounds += [descriptors.bound(limits, plan), *kernel.bounds(values, plan)]
    if room is not None:
        bounds.append(memory.bound(room, plan))
    yield descriptors.judge(limits, plan)
    yield from kernel.judge(values, plan)
    yield memory.judge(room, plan)


def _database(plan: Plan) -> Iterator[Finding]:
    database = settings.DATABASES["default"]
    is_file = database["ENGINE"].endswith("sqlite3")
    if is_file and not Path(database["NAME"]).exists():  # which a connection would make
        yield ok("database", f"{database_name()} is not there yet: the first start makes it")
        return
    connection = unpooled()
    try:
        if is_file:
            yield from sqlite.judge(sqlite.read(connection, Path(database["NAME"])), plan)
        else:
            yield from postgresql.judge(postgresql.read(connection), plan)
        yield migrations.judge(migrations.read(connection))
    except (DatabaseError, OSError, sqlite3.Error) as problem:
        yield error(
            "database",
            f"cannot read {database_name()}: {one_line(problem)}",
            "start it, or correct DATABASE_URL; no client is let in without it",
        )
    finally:
        connection.close()


def _redis() -> Iterator[Finding]:
    if not settings.REDIS_URL:
        yield ok("redis", "none: this is for one process")
        return
    urls = split(settings.REDIS_URL)
    for number, url in enumerate(urls, 1):
        name = "redis" if len(urls) == 1 else f"redis {number}"
        try:
            yield from redis_server.judge(name, redis_server.read(url))
        except (redis.RedisError, OSError) as problem:
            yield error(
                name,
                f"cannot reach {without_password(url)}: {one_line(problem)}",
                "start it, or correct REDIS_URL; messages between workers wait for it",
            )
        except ValueError:  # its message may hold a part of the password
            yield error(
                name, f"cannot read {without_password(url)}", "write REDIS_URL as redis://host:port/number"
            )


def _reached(url: str) -> Iterator[Finding]:
    yield proxies.judge_settings(settings.TRUSTED_PROXIES, settings.HOST)
    if settings.TLS_CERT:
        try:
            yield from tls.judge("TLS_CERT", tls.read_file(Path(settings.TLS_CERT)))
        except (OSError, ValueError) as problem:
            yield error("TLS_CERT", one_line(problem), "name a certificate chain in PEM form")
    if not url:
        return
    if url.startswith("https://"):
        try:
            yield from tls.judge("tls", tls.read_url(url))
        except OSError as problem:
            yield error("tls", f"{url}: {one_line(problem)}", "have TLS served there")
    try:
        yield proxies.judge_seen(proxies.ask(url), settings.TRUSTED_PROXIES)
    except (OSError, http.client.HTTPException) as problem:
        yield error(proxies.SEEN, f"{url}: {one_line(problem)}", "start the server, or correct --url")
    except DatabaseError as problem:
        yield error(proxies.SEEN, one_line(problem), "see what is said of the database")
