"""Counters of one process: they show what an ordinary counter shows."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, Counter, generate_latest

from routing_app.core.tally import MULTIPROCESS, Tally, counter

pytestmark = pytest.mark.once


def samples(name: str, collector: Tally | Counter) -> list[bytes]:
    registry = CollectorRegistry()
    registry.register(collector)
    lines = generate_latest(registry).splitlines()
    return [line for line in lines if name.encode() in line and b"_created" not in line]


def test_it_shows_the_value_of_a_counter() -> None:
    shown = []
    kinds: list[tuple[Any, dict[str, None]]] = [(Tally, {}), (Counter, {"registry": None})]
    for make, options in kinds:
        labelled = make("tally_test_labelled_total", "With labels.", ["protocol"], **options)
        labelled.labels("tokens").inc()
        labelled.labels("tokens").inc(4)
        labelled.labels('a "b"\n').inc()
        plain = make("tally_test_plain_total", "Without.", **options)
        plain.inc(3)
        shown.append(samples("tally_test", labelled) + samples("tally_test", plain))
        if make is Tally:
            assert REGISTRY.get_sample_value("tally_test_plain_total") == 3
            REGISTRY.unregister(labelled)
            REGISTRY.unregister(plain)

    assert len(shown[0]) > 6
    assert shown[0] == shown[1]


def test_labels_have_to_be_those_of_the_tally() -> None:
    tally = Tally("tally_test_strict_total", "With labels.", ["protocol"])
    with pytest.raises(ValueError, match="has the labels protocol"):
        tally.labels()
    with pytest.raises(ValueError, match="has labels"):
        tally.inc()
    REGISTRY.unregister(tally)


def test_other_processes_read_an_ordinary_counter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MULTIPROCESS, "/nowhere")
    with pytest.raises(ValueError, match="Duplicated"):  # before it opens a file
        counter("switchboard_published_total", "Messages given to the hub.")
