"""The price of history: fan-out, publishes, and a thousand clients that come back at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Final
from urllib.request import Request, urlopen

from bench.bench import Bench
from bench.contestants import SOCKET_IO, Running, Start, switchboard, through_redis
from bench.load import Dialect, Load
from bench.machine import SERVER_CORE, on_core
from bench.measures import RECEIVERS
from bench.section import Column, Figure, Mark, Reading, Results, Row, Section, at_least, at_most, ratio
from tests.services.databases import REPOSITORY

ADDRESS: Final = "token:load"
KEPT: Final = "1000"
RETURNING: Final = 1_000
MISSED: Final = 100
PUBLISHERS: Final = 50
LAST: Final = "the last one"

PLAIN: Final = "`serve`, no history"
MEMORY: Final = "`serve`, history in memory"
REDIS: Final = "`serve` and Redis, history"
TWO: Final = "two workers through Redis, history"


def _fan_out(start: Start, bench: Bench) -> Reading:
    with start(bench) as running, Load(running.port, running.broadcast) as load:
        load.open(RECEIVERS, at_once=32)
        if running.publishing_port is not None:
            load.open_publishers(PUBLISHERS, running.publishing_port, "/ws?RegisterToken=publisher")
        load.flood(0.3, 4)
        flood = bench.sample(running, load, partial(load.flood, bench.seconds, 16))
    fault = flood.phase.uneven
    return {"rate": fault or flood.per_second, "us": fault or flood.server_us}


def _publishes(start: Start, bench: Bench) -> Reading:
    """Messages of many clients to one receiver: what the store takes."""
    with start(bench) as running, Load(running.port, running.broadcast) as load:
        load.open(1)
        load.open_publishers(PUBLISHERS, running.port, "/ws?RegisterToken=publisher")
        load.flood(0.3, 4)
        flood = bench.sample(running, load, partial(load.flood, bench.seconds, 64, PUBLISHERS))
    return {"publishes": flood.phase.uneven or flood.per_second}


def _returns(start: Start, bench: Bench) -> Reading:
    """Clients that missed as many messages as there are: seconds until the last has the last one."""
    with start(bench) as running:
        assert running.server is not None
        messages = [f"{number:0100}" for number in range(MISSED - 1)] + [f"{LAST:100}"]
        body = {"messages": [{"addresses": [ADDRESS], "message": message} for message in messages]}
        results = _post(running, "/api/publish/batch", body)["results"]
        first = results[0]["positions"][ADDRESS]
        since = {ADDRESS: {**first, "offset": first["offset"] - 1}}
        subscribe = {
            "direction": "REQUEST",
            "key": 1,
            "type": "subscribe",
            "addresses": [ADDRESS],
            "since": since,
        }
        delivery = {"type": "delivery", "address": ADDRESS, "message": LAST}
        steps = (
            ("send", json.dumps({**subscribe, "addresses": [ADDRESS]})),
            ("expect", json.dumps(delivery, separators=(",", ":")).removesuffix('"}')),
        )
        path = f"/connection?key={running.server.api_key}"
        before = _delivered(running)
        with Load(running.port, Dialect(path, steps=steps)) as load:
            with bench.meter(running, load):
                seconds: Figure = load.open(RETURNING, at_once=RETURNING)
            delivered = _delivered(running) - before
    if delivered != RETURNING * MISSED:
        seconds = f"INCOMPLETE: {delivered:,.0f} of {RETURNING * MISSED:,}"
    return {"seconds": seconds}


def _post(running: Running, path: str, body: Mapping[str, Any]) -> Any:
    assert running.server is not None
    headers = {"X-API-Key": running.server.api_key, "Content-Type": "application/json"}
    with urlopen(Request(running.server.url + path, json.dumps(body).encode(), headers)) as response:
        return json.load(response)


def _delivered(running: Running) -> float:
    assert running.server is not None
    request = Request(running.server.url + "/metrics", headers={"X-API-Key": running.server.api_key})
    with urlopen(request) as response:
        lines = response.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("switchboard_delivered_total"))


def _bytes(bench: Bench) -> Reading:
    env = os.environ | {
        "DJANGO_SETTINGS_MODULE": "broker_project.settings",
        "VAR_DIR": str(bench.new_folder()),
    }
    command = [sys.executable, "-m", "bench.streams_probe"]
    with on_core(SERVER_CORE):
        answer = subprocess.run(command, cwd=REPOSITORY, env=env, capture_output=True, text=True, check=True)
    return {"bytes": float(json.loads(answer.stdout)["bytes"])}


def _kept(bench: Bench) -> AbstractContextManager[Running]:
    return switchboard("serve", HISTORY_SIZE=KEPT)(bench)


def _kept_on_redis(bench: Bench) -> AbstractContextManager[Running]:
    return switchboard("serve", HISTORY_SIZE=KEPT, REDIS_URL=bench.redis.url)(bench)


def _without(bench: Bench) -> Reading:
    start = switchboard("serve")
    return {**_fan_out(start, bench), **_publishes(start, bench)}


def _with_history(start: Start, bench: Bench) -> Reading:
    return {**_fan_out(start, bench), **_publishes(start, bench), **_returns(start, bench)}


def _in_memory(bench: Bench) -> Reading:
    return {**_with_history(_kept, bench), **_bytes(bench)}


def _on_redis(bench: Bench) -> Reading:
    return _with_history(_kept_on_redis, bench)


def _marks(results: Results) -> list[Mark]:
    seconds = "1,000 clients with 100 missed messages each: at most 3 s"
    return [
        *at_least(
            "in memory: at least 0.7 times the fan-out without", ratio(results, "rate", MEMORY, PLAIN), 0.7
        ),
        *at_least("Redis: at least 5 times Socket.IO", ratio(results, "rate", REDIS, SOCKET_IO.label), 5),
        *at_least(
            "two workers and Redis on one core: at least 5 times Socket.IO, which has it alone",
            ratio(results, "rate", TWO, SOCKET_IO.label),
            5,
        ),
        *at_least("Redis: at least 5,000 publishes/s", results.get(REDIS, {}).get("publishes"), 5_000),
        *at_most(f"in memory, {seconds}", results.get(MEMORY, {}).get("seconds"), 3),
        *at_most(f"Redis, {seconds}", results.get(REDIS, {}).get("seconds"), 3),
        *at_most("a kept message of 100 bytes: at most 500", results.get(MEMORY, {}).get("bytes"), 500),
    ]


SECTION = Section(
    name="streams",
    title="Streams",
    columns=(
        Column("rate", f"deliveries/s, {RECEIVERS} receivers, 16 in flight"),
        Column("us", "CPU µs each", 2),
        Column("publishes", f"publishes/s of {PUBLISHERS} clients, one receiver"),
        Column("seconds", f"{RETURNING:,} clients come back, {MISSED} missed messages each: s", 2),
        Column("bytes", "bytes of a kept message of 100"),
    ),
    rows=(
        Row(PLAIN, _without),
        Row(MEMORY, _in_memory),
        Row(REDIS, _on_redis),
        Row(TWO, partial(_fan_out, through_redis("serve", HISTORY_SIZE=KEPT))),
        Row(SOCKET_IO.label, partial(_fan_out, SOCKET_IO.start)),
    ),
    note="Redis and all workers share ONE core.",
    marks=_marks,
    order=32,
)
