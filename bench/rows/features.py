"""The price of a feature: the fan-out of `serve` at 16 in flight, with one thing changed in each row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Final
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from bench.bench import Bench
from bench.contestants import TOKENS, Running, switchboard
from bench.load import Dialect, Load
from bench.measures import RECEIVERS
from bench.section import Column, Reading, Row, Section

LIMIT: Final = {
    "protocol": "*",
    "command": "*",
    "per": "connection",
    "rate": 1e6,
    "burst": 10**6,
    "then": "wait",
}
"""A rate limit that nothing is beyond."""
TEN: Final = ",".join(["load", *(f"other{number}" for number in range(9))])


def _measure(
    bench: Bench, options: Mapping[str, str], dialect: Dialect, size: int, redis: bool, limit: bool
) -> Reading:
    if redis:
        options = {**options, "REDIS_URL": bench.redis.url}
    with switchboard("serve", **options)(bench) as running, Load(running.port, dialect, size) as load:
        _register(running, "load")
        if limit:
            _add_limit(running)
        load.open(RECEIVERS, at_once=32)
        load.flood(0.3, 4)
        flood = bench.sample(running, load, partial(load.flood, bench.seconds, 16))
    return {"rate": flood.phase.uneven or flood.per_second, "us": flood.phase.uneven or flood.server_us}


def _register(running: Running, token: str) -> None:
    """Register a token, which TOKENS_ALLOW_UNREGISTERED=no asks for."""
    assert running.server is not None
    fields = urlencode({"method": "registerToken", "token": token, "key": running.server.api_key})
    with urlopen(Request(running.server.url, fields.encode(), method="POST")) as response:
        response.read()


def _add_limit(running: Running) -> None:
    assert running.server is not None
    headers = {"X-API-Key": running.server.api_key, "Content-Type": "application/json"}
    with urlopen(
        Request(f"{running.server.url}/api/limits/", json.dumps(LIMIT).encode(), headers)
    ) as response:
        response.read()


def _row(
    label: str,
    dialect: Dialect = TOKENS,
    size: int = 100,
    redis: bool = False,
    limit: bool = False,
    **options: str,
) -> Row:
    measure = partial(_measure, options=options, dialect=dialect, size=size, redis=redis, limit=limit)
    return Row(label, measure, quick=label == "as it starts")


SECTION = Section(
    name="features",
    title=f"The price of a feature: {RECEIVERS} receivers, 16 in flight, `serve`",
    columns=(Column("rate", "deliveries/s"), Column("us", "CPU µs each", 2)),
    rows=(
        _row("as it starts"),
        _row("a rate limit for each connection", limit=True),
        _row("registered tokens only", TOKENS_ALLOW_UNREGISTERED="no"),
        _row("the original's frames (TOKENS_WIRE_COMPAT)", TOKENS_WIRE_COMPAT="yes"),
        _row(
            "a group: every receiver has a token of its own",
            Dialect("/ws?RegisterToken=group/{n}", "group/|"),
        ),
        _row("ten addresses named, each receiver once", Dialect(TOKENS.path, f"{TEN}|")),
        _row("Redis configured, no other worker", redis=True),
        _row("messages of 1,000 bytes", size=1_000),
        _row("messages of 10,000 bytes", size=10_000),
    ),
    order=25,
)
