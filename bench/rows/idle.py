"""Idle connections: resident memory of each, and what keeping them alive costs."""

from __future__ import annotations

from functools import partial
from typing import Final

from bench.bench import Bench
from bench.contestants import DAPHNE, SERVE, SOCKET_IO, STOCK, UVICORN, WS, Contestant
from bench.load import Load
from bench.machine import resident_kb
from bench.section import Column, Figure, Mark, Reading, Results, Row, Section, at_most

WARM: Final = 100
"""Connections opened before the first look, so that what is loaded on first use is nobody's cost."""
STEPS: Final = {"small": 2_000, "large": 5_000}


def _idle(contestant: Contestant, bench: Bench) -> Reading:
    reading: dict[str, Figure] = {}
    with contestant.start(bench) as running, Load(running.port, running.broadcast) as load:
        load.open(WARM, at_once=32)
        load.idle(1)
        base, opened = resident_kb(running.pids()), WARM
        for key, count in STEPS.items():
            load.open(count - opened, at_once=32)
            opened = count
            load.idle(2)
            reading[key] = (resident_kb(running.pids()) - base) / (count - WARM)
        with bench.meter(running, load) as meter:
            load.idle(5 if bench.quick else 30)
        reading["percent"] = 100 * meter.server_seconds / meter.seconds
    return reading


def _marks(results: Results) -> list[Mark]:
    daphne, serve = results.get(DAPHNE.label, {}), results.get(SERVE.label, {})
    return [
        *at_most("plain Daphne: at most 45 kB per connection at 2,000", daphne.get("small"), 45),
        *at_most("serve: at most 10 kB per connection at 5,000", serve.get("large"), 10),
        *at_most("serve: at most 1 % of a core for 5,000", serve.get("percent"), 1),
    ]


SECTION = Section(
    name="idle",
    title="Idle connections",
    columns=(
        Column("small", "kB each at 2,000", 1),
        Column("large", "kB each at 5,000", 1),
        Column("percent", "% of a core for 5,000", 2),
    ),
    rows=(
        Row(STOCK.label, partial(_idle, STOCK), quick=False),
        Row(DAPHNE.label, partial(_idle, DAPHNE)),
        Row(UVICORN.label, partial(_idle, UVICORN), quick=False),
        Row(SERVE.label, partial(_idle, SERVE)),
        Row(SOCKET_IO.label, partial(_idle, SOCKET_IO)),
        Row(WS.label, partial(_idle, WS), quick=False),
    ),
    marks=_marks,
    order=70,
)
