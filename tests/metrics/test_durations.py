"""Histograms of one process, and of several: they show what an ordinary histogram shows."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, Histogram, generate_latest, multiprocess
from prometheus_client.multiprocess import mark_process_dead

from routing_app.core.durations import BOUNDS, Durations
from routing_app.core.tally import MULTIPROCESS

pytestmark = pytest.mark.once

SECONDS = (0.0, 0.0001, 0.00011, 0.3, 10.0, 11.0)

OBSERVE = """
import sys
from routing_app.core.described import LateGauge, gauge
from routing_app.core.durations import Durations, publish_all
plain = Durations("durations_test_seconds", "Of a test.")
labelled = Durations("durations_test_labelled_seconds", "Of a test.", ["step"])
open_ones = gauge("durations_test_open", "Of a test.")
late = LateGauge("durations_test_late", "Of a test.", "livemin")
for seconds in map(float, sys.argv[1:]):
    plain.observe(seconds)
    labelled.labels("one").observe(seconds, 2)
    publish_all()
publish_all()
open_ones.set(1)
plain.observe(99.0)  # in the second in which it dies
import os; print(os.getpid(), flush=True); os._exit(9)
"""


@contextmanager
def made(*arguments: Any, **options: Any) -> Iterator[Durations]:
    durations = Durations(*arguments, **options)
    try:
        yield durations
    finally:
        REGISTRY.unregister(durations)


def lines(collector: Any) -> list[str]:
    registry = CollectorRegistry()
    registry.register(collector)
    return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]


def test_it_shows_what_an_ordinary_histogram_shows() -> None:
    ordinary = Histogram("durations_test_seconds", "Of a test.", ["step"], buckets=BOUNDS, registry=None)
    with made("durations_test_seconds", "Of a test.", ["step"]) as ours:
        for seconds in SECONDS:
            ours.labels("one").observe(seconds)
            ordinary.labels("one").observe(seconds)
        ours.labels("two").observe(0.2, 3)
        for _ in range(3):
            ordinary.labels("two").observe(0.2)

        assert len(lines(ours)) > 2 * len(BOUNDS)
        assert lines(ours) == lines(ordinary)


def test_labels_have_to_be_those_of_the_histogram() -> None:
    with made("durations_test_seconds", "Of a test.", ["step"]) as ours:
        with pytest.raises(ValueError, match="has the labels step"):
            ours.labels()
        with pytest.raises(ValueError, match="has labels"):
            ours.observe(1.0)


def test_other_processes_see_the_sum_and_a_dead_one_keeps_its_counts_but_no_gauge(tmp_path: Path) -> None:
    environment = os.environ | {MULTIPROCESS: str(tmp_path)}
    command = [sys.executable, "-c", OBSERVE, *map(str, SECONDS)]
    pids = [
        int(subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False).stdout)
        for _ in range(2)
    ]
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, path=str(tmp_path))
    value = registry.get_sample_value

    assert value("durations_test_seconds_count") == 2 * len(SECONDS)
    assert value("durations_test_seconds_sum") == pytest.approx(2 * sum(SECONDS))
    assert value("durations_test_seconds_bucket", {"le": "0.0001"}) == 4
    assert value("durations_test_labelled_seconds_count", {"step": "one"}) == 4 * len(SECONDS)
    assert value("durations_test_open") == 2
    assert value("durations_test_late") is None  # it was never set, and is not 0

    mark_process_dead(pids[0], str(tmp_path))

    assert value("durations_test_seconds_count") == 2 * len(SECONDS)
    assert value("durations_test_open") == 1
