"""The metrics by themselves: publishes that are timed until they are written, and ones that are not."""

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

MANY: Final = "500 subscribers"
ROWS: Final = {"1 subscriber": 1, MANY: 500}
MORE_PERCENT: Final = 3


def _probe(receivers: int, bench: Bench) -> Reading:
    env = os.environ | {
        "DJANGO_SETTINGS_MODULE": "broker_project.settings",
        "VAR_DIR": str(bench.new_folder()),
    }
    command = [sys.executable, "-m", "bench.metrics_probe", str(receivers)]
    with on_core(SERVER_CORE):
        answer = subprocess.run(
            command, cwd=REPOSITORY, env=env, capture_output=True, text=True, check=True
        ).stdout
    reading: dict[str, float] = json.loads(answer)
    return reading


def _marks(results: Results) -> list[Mark]:
    more = results.get(MANY, {}).get("more")
    return at_most(f"fan-out with metrics: at most {MORE_PERCENT}% more", more, MORE_PERCENT)


SECTION = Section(
    name="metrics",
    title="Publishes that are timed until they are written",
    columns=(
        Column("timed_us", "CPU µs a publish", 2),
        Column("untimed_us", "not timed", 2),
        Column("more", "more, in %", 1),
    ),
    rows=tuple(Row(label, partial(_probe, receivers)) for label, receivers in ROWS.items()),
    marks=_marks,
    order=81,
)
