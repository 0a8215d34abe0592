"""Each Redis of REDIS_URL: its version, what it throws away, what it keeps, and how quickly it answers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median
from typing import Any, Final, NamedTuple

import redis

from broker_project.doctor.finding import Finding, error, ok, warning
from broker_project.serving.preflight import CONNECT_SECONDS
from routing_app.core.cluster.redis_urls import opened

OLDEST: Final = 6
TESTED: Final = 7
KEEPS_ALL: Final = "noeviction"
SLOW_SECONDS: Final = 0.005
PINGS: Final = 5


class Reading(NamedTuple):
    """What a server says of itself."""

    version: str
    maxmemory: int
    """Bytes; 0: without a bound."""
    used: int
    policy: str
    saves: bool | None
    """It writes snapshots; None where it does not tell."""
    appends: bool
    """It writes a log of commands (AOF)."""
    last_write_failed: bool
    latency: float
    """Seconds of a PING, the median of PINGS."""


def read(url: str) -> Reading:
    """Ask a server. Raises RedisError, OSError."""
    with opened(url, socket_connect_timeout=CONNECT_SECONDS, socket_timeout=CONNECT_SECONDS) as client:
        client.ping()
        latency = median(_seconds_of_a_ping(client) for _ in range(PINGS))
        found: dict[str, Any] = client.info()  # type: ignore[assignment]  # of a client that waits
        return Reading(
            version=str(found["redis_version"]),
            maxmemory=int(found.get("maxmemory", 0)),
            used=int(found.get("used_memory", 0)),
            policy=str(found.get("maxmemory_policy", KEEPS_ALL)),
            saves=_saves(client),
            appends=bool(found.get("aof_enabled")),
            last_write_failed="err"
            in (found.get("rdb_last_bgsave_status"), found.get("aof_last_write_status")),
            latency=latency,
        )


def judge(name: str, reading: Reading) -> Iterator[Finding]:
    """A finding for each subject; `name` tells servers apart."""
    yield _version(name, reading.version)
    yield _eviction(f"{name} eviction", reading)
    yield _persistence(f"{name} persistence", reading)
    yield _latency(f"{name} latency", reading.latency)


def _seconds_of_a_ping(client: redis.Redis) -> float:
    began = time.perf_counter()
    client.ping()
    return time.perf_counter() - began


def _saves(client: redis.Redis) -> bool | None:
    try:
        found: dict[str, str] = client.config_get("save")  # type: ignore[assignment]
    except redis.ResponseError:  # a hosted one, or an ACL, forbids CONFIG
        return None
    return bool(found.get("save"))


def _version(name: str, version: str) -> Finding:
    shown = f"Redis {version} answers"
    first = version.partition(".")[0]
    major = int(first) if first.isdecimal() else 0
    if major < OLDEST:
        return error(name, f"{shown}: too old", f"use Redis {TESTED} or newer, or a Valkey")
    if major < TESTED:
        return warning(name, f"{shown}, which is not tested", f"use Redis {TESTED} or newer, or a Valkey")
    return ok(name, shown)


def _eviction(name: str, reading: Reading) -> Finding:
    if not reading.maxmemory:
        return ok(name, "maxmemory is not set, so nothing is thrown away")
    share = reading.used / reading.maxmemory
    shown = f"{share:.0%} of maxmemory are in use, and maxmemory-policy is {reading.policy}"
    if reading.policy != KEEPS_ALL:
        return warning(
            name,
            f"{shown}: kept messages, rate limits and log-in counts are thrown away when it is full",
            f"set maxmemory-policy {KEEPS_ALL}, or give Switchboard a Redis of its own",
        )
    if share > 0.8:
        return warning(
            name, f"{shown}: writes are refused when it is full", "raise maxmemory, or keep fewer messages"
        )
    return ok(name, shown)


def _persistence(name: str, reading: Reading) -> Finding:
    if reading.last_write_failed:
        return error(
            name,
            "the last write to its disk has failed, and Redis may refuse commands until one succeeds",
            "make room on its disk, and look into its log",
        )
    if reading.saves is False and not reading.appends:
        return warning(
            name,
            "neither snapshots nor AOF: a restart forgets kept messages, and clients are told of a gap",
            "set `appendonly yes` or `save 300 1` where histories shall outlive a restart",
        )
    kept = [word for word, on in (("snapshots", reading.saves), ("AOF", reading.appends)) if on]
    return ok(name, " and ".join(kept) or "it does not tell")


def _latency(name: str, seconds: float) -> Finding:
    shown = f"{seconds * 1000:.1f} ms a PING"
    if seconds > SLOW_SECONDS:
        return warning(
            name,
            f"{shown}: each message to another worker takes as long",
            "put Redis nearer to the workers, or find what keeps it busy (`redis-cli SLOWLOG GET`)",
        )
    return ok(name, shown)
