"""Measures a section: its rows in turn, several rounds of them, medians at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from bench.bench import Bench
from bench.load import LoadError
from bench.machine import QUIET, wait_until_quiet
from bench.section import Figure, Reading, Row, Section, Unavailable

ATTEMPTS: Final = 3
"""How often a row is measured in a round until others disturb it no longer than QUIET allows."""


@dataclass(frozen=True)
class Outcome:
    """A measured section: medians by row, rows that could not be measured, and how quiet the machine was."""

    results: dict[str, dict[str, Figure]]
    missing: dict[str, str]
    rounds: int
    disturbance: float
    """Largest part of a measurement that counts in which others kept server or load waiting."""
    load_average: float
    day: str


def measure(section: Section, bench: Bench, rounds: int, patience: float = 0) -> Outcome:
    """Measure every row of a section once a round; waits up to `patience` seconds for quiet each time."""
    readings: dict[str, list[Reading]] = {row.label: [] for row in section.rows}
    missing: dict[str, str] = {}
    disturbance = 0.0
    load_average = os.getloadavg()[0]
    for number in range(1, rounds + 1):
        for row in section.rows:
            if row.label in missing:
                continue
            print(f"  {section.name} {number}/{rounds}: {row.label}", flush=True)
            try:
                reading, others = _quiet_reading(row, bench, patience)
            except (Unavailable, LoadError) as error:
                missing[row.label] = str(error)
                continue
            readings[row.label].append(reading)
            disturbance = max(disturbance, others)
    results = {label: _medians(some) for label, some in readings.items() if some and label not in missing}
    return Outcome(results, missing, rounds, disturbance, load_average, time.strftime("%Y-%m-%d"))


def _quiet_reading(row: Row, bench: Bench, patience: float) -> tuple[Reading, float]:
    """The least disturbed of a few attempts, and how much it was disturbed."""
    best: tuple[Reading, float] | None = None
    for _ in range(1 if bench.quick else ATTEMPTS):
        wait_until_quiet(patience)
        bench.disturbance = 0.0
        reading = row.measure(bench)
        if best is None or bench.disturbance < best[1]:
            best = reading, bench.disturbance
        if best[1] <= QUIET:
            break
    assert best is not None
    return best


def _medians(readings: Sequence[Reading]) -> dict[str, Figure]:
    keys = dict.fromkeys(key for reading in readings for key in reading)
    return {key: _median([reading[key] for reading in readings if key in reading]) for key in keys}


def _median(figures: Iterable[Figure]) -> Figure:
    """The median; one run that was not whole spoils the figure."""
    numbers = []
    for figure in figures:
        if isinstance(figure, str):
            return figure
        numbers.append(figure)
    return median(numbers)
