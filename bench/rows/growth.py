"""Growth: what a delivery costs with more receivers, and with more addresses beside the one published to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from bench.bench import Bench
from bench.contestants import DAPHNE, JOINED, SERVE, Contestant, Running
from bench.load import Dialect, Load
from bench.section import Column, Figure, Mark, Reading, Results, Row, Section, at_most

RECEIVERS: Final = (100, 500, 1_000, 2_000)
ADDRESSES: Final = (10, 1_000)
"""Further addresses, with a connection each, beside one with 500 receivers."""
FLAT: Final = 1.3


def _flood(contestant: Contestant, receivers: int, addresses: int, bench: Bench) -> Reading:
    with (
        contestant.start(bench) as running,
        _others(running, addresses),
        Load(running.port, running.broadcast) as load,
    ):
        load.open(receivers, at_once=32)
        load.flood(0.3, 4)
        flood = bench.sample(running, load, partial(load.flood, bench.seconds, 16))
    return {"rate": flood.phase.uneven or flood.per_second, "us": flood.phase.uneven or flood.server_us}


@contextmanager
def _others(running: Running, addresses: int) -> Iterator[None]:
    if not addresses:
        yield
        return
    with Load(running.port, Dialect("/ws?RegisterToken=other{n}")) as others:
        others.open(addresses, at_once=32)
        yield


def _row(contestant: Contestant, receivers: int, addresses: int = 0) -> Row:
    more = f", {addresses:,} further addresses" if addresses else ""
    quick = contestant is SERVE and (receivers in (100, 2_000) or addresses == 1_000)
    return Row(
        f"{contestant.label}: {receivers:,} receivers{more}",
        partial(_flood, contestant, receivers, addresses),
        quick,
    )


def _marks(results: Results) -> list[Mark]:
    costs = [reading["us"] for label, reading in results.items() if label.startswith(SERVE.label)]
    numbers = [cost for cost in costs if not isinstance(cost, str)]
    if not numbers:
        return []
    spread: Figure = max(numbers) / min(numbers) if len(numbers) == len(costs) else "INCOMPLETE"
    return at_most(f"serve: dearest delivery at most {FLAT} times the cheapest", spread, FLAT)


SECTION = Section(
    name="growth",
    title="Growth, 16 in flight",
    columns=(Column("rate", "deliveries/s"), Column("us", "CPU µs each", 2)),
    rows=(
        *(_row(contestant, receivers) for contestant in (SERVE, DAPHNE, JOINED) for receivers in RECEIVERS),
        *(_row(SERVE, 500, addresses) for addresses in ADDRESSES),
    ),
    marks=_marks,
    order=20,
)
