"""The price of a rate limit for one message, without sockets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from typing import Final

from bench.bench import Bench
from bench.machine import SERVER_CORE, on_core
from bench.section import Column, Mark, Reading, Results, Row, Section, Unavailable, at_most
from tests.services.databases import REPOSITORY
from tests.services.redis import find_redis

MOST_US: Final = 1.5
LABELS: Final = {
    "none": "no limit",
    "connection": "one per connection",
    "network": "one per network address",
    "identity": "one per identity",
    "two": "two: per connection and per identity",
}
THROUGH_REDIS: Final = "one per identity, counted by Redis, 100 checks in a turn"


def _probe(kind: str, bench: Bench, redis: bool = False) -> Reading:
    if redis and find_redis() is None:
        raise Unavailable("redis-server is not installed")
    command = [sys.executable, "-m", "bench.limits_probe", "redis" if redis else "memory"]
    env = os.environ | {
        "DJANGO_SETTINGS_MODULE": "broker_project.settings",
        "REDIS_URL": bench.redis.url if redis else "",
        "VAR_DIR": str(bench.new_folder()),
    }
    with on_core(SERVER_CORE):
        answer = subprocess.run(
            command, cwd=REPOSITORY, env=env, capture_output=True, text=True, check=True
        ).stdout
    return {"us": float(json.loads(answer)[kind])}


def _marks(results: Results) -> list[Mark]:
    return [
        mark
        for kind in ("connection", "network", "identity")
        for mark in at_most(
            f"{LABELS[kind]}, in memory: at most {MOST_US} µs a message",
            results.get(LABELS[kind], {}).get("us"),
            MOST_US,
        )
    ]


SECTION = Section(
    name="limits",
    title="Rate limits: processor time of the worker for one message",
    columns=(Column("us", "CPU µs a message", 2),),
    rows=(
        *(Row(label, partial(_probe, kind)) for kind, label in LABELS.items()),
        Row(THROUGH_REDIS, partial(_probe, "identity", redis=True)),
    ),
    marks=_marks,
    order=26,
)
