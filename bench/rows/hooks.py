"""The price of a hook: 50 publishers, each of which sends to one receiver, and a backend that decides."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final
from urllib.request import Request, urlopen

from bench.bench import Bench
from bench.contestants import Running, switchboard
from bench.load import Dialect, Load
from bench.machine import LOAD_CORE, on_core
from bench.section import Column, Mark, Reading, Results, Row, Section, at_least
from tests.services.databases import REPOSITORY

PAIRS: Final = 50
TOKENS: Final = Dialect("/ws?RegisterToken=receiver{n}", before="receiver{n}|")
LEAST: Final = 1_500
LABELS: Final = {
    "": "no hook",
    "token:other": "a hook on `publish` for other addresses",
    "*": "a hook on `publish`",
}


def _measure(pattern: str, bench: Bench) -> Reading:
    with (
        switchboard("serve")(bench) as running,
        _backend() as port,
        Load(running.port, TOKENS) as load,
    ):
        if pattern:
            _add_hook(running, pattern, port)
        load.open(PAIRS)
        load.open_publishers(PAIRS, running.port, TOKENS.path)
        load.pairs(0.3, PAIRS)
        sample = bench.sample(running, load, partial(load.pairs, bench.seconds, PAIRS))
    return sample.reading(sample.phase.fault)


@contextmanager
def _backend() -> Iterator[int]:
    command = [sys.executable, "-m", "bench.hook_backend"]
    with on_core(LOAD_CORE):
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def _add_hook(running: Running, pattern: str, port: int) -> None:
    assert running.server is not None
    row = {"protocol": "tokens", "on": "publish", "pattern": pattern, "url": f"http://127.0.0.1:{port}/"}
    headers = {"X-API-Key": running.server.api_key, "Content-Type": "application/json"}
    with urlopen(Request(f"{running.server.url}/api/hooks/", json.dumps(row).encode(), headers)) as response:
        response.read()


def _marks(results: Results) -> list[Mark]:
    rate = results.get(LABELS["*"], {}).get("rate")
    return at_least(f"a hook on `publish`: at least {LEAST:,} messages/s through one worker", rate, LEAST)


SECTION = Section(
    name="hooks",
    title=f"Hooks: {PAIRS} publishers to one receiver each, `serve`",
    columns=(
        Column("rate", "messages/s"),
        Column("us", "CPU µs each", 1),
        Column("p50", "p50 ms", 1),
        Column("p99", "p99 ms", 1),
    ),
    rows=tuple(Row(label, partial(_measure, pattern)) for pattern, label in LABELS.items()),
    note="The backend shares a core with the load. Each message is one signed POST over a kept connection.",
    marks=_marks,
    order=27,
)
