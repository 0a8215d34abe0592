"""The hub by itself: memory of an address, and a publish that reaches nobody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from typing import Final

from bench.bench import Bench
from bench.machine import SERVER_CORE, on_core
from bench.section import Column, Mark, Reading, Results, Row, Section, at_most
from tests.services.databases import REPOSITORY

MANY: Final = 100_000
NEAR_ZERO_US: Final = 10
"""As much as a few deliveries."""


def _probe(addresses: int, bench: Bench) -> Reading:
    command = [sys.executable, "-m", "bench.hub_probe", str(addresses)]
    env = os.environ | {
        "DJANGO_SETTINGS_MODULE": "broker_project.settings",
        "VAR_DIR": str(bench.new_folder()),
    }
    with on_core(SERVER_CORE):
        answer = subprocess.run(
            command, cwd=REPOSITORY, env=env, capture_output=True, text=True, check=True
        ).stdout
    reading: dict[str, float] = json.loads(answer)
    return reading


def _marks(results: Results) -> list[Mark]:
    many = results.get(f"{MANY:,} addresses", {})
    return [
        *at_most("at most 1,000 bytes of hub per address", many.get("bytes"), 1_000),
        *at_most(
            f"a publish without a subscriber here: at most {NEAR_ZERO_US} µs",
            many.get("nobody_us"),
            NEAR_ZERO_US,
        ),
    ]


SECTION = Section(
    name="hub",
    title="The hub by itself, one subscriber an address",
    columns=(
        Column("bytes", "bytes of hub an address"),
        Column("nobody_us", "CPU µs a publish without a subscriber here", 1),
        Column("one_us", "CPU µs a publish to one connection", 1),
    ),
    rows=tuple(Row(f"{count:,} addresses", partial(_probe, count)) for count in (1, 1_000, MANY)),
    marks=_marks,
    order=80,
)
