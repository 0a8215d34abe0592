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
FLOODS: Final = {"one": 1, "sixteen": 16}
"""Messages in flight by column. At one nothing is joined: its cost is that of a delivery by itself."""
FLAT: Final = 1.3


def _flood(contestant: Contestant, receivers: int, addresses: int, bench: Bench) -> Reading:
    reading: dict[str, Figure] = {}
    with (
        contestant.start(bench) as running,
        _others(running, addresses),
        Load(running.port, running.broadcast) as load,
    ):
        load.open(receivers, at_once=32)
        load.flood(0.3, 4)
        for key, in_flight in FLOODS.items():
            flood = bench.sample(running, load, partial(load.flood, bench.seconds, in_flight))
            reading[key] = flood.phase.uneven or flood.per_second
            reading[f"{key}_us"] = flood.phase.uneven or flood.server_us
    return reading


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
    marks = []
    for key, in_flight in FLOODS.items():
        ours, limit = (_spread(results, who, f"{key}_us") for who in (SERVE, JOINED))
        text = f"serve, {in_flight} in flight: dearest delivery at most {FLAT} times"
        marks += at_most(f"{text} the cheapest", ours, FLAT)
        if isinstance(ours, float) and isinstance(limit, float):
            marks += at_most(f"{text} what the joined limit's grows by", ours / limit, FLAT)
    return marks


def _spread(results: Results, contestant: Contestant, key: str) -> Figure | None:
    """The dearest of a contestant's rows divided by the cheapest; None where fewer than two were measured."""
    costs = [reading[key] for label, reading in results.items() if label.startswith(contestant.label)]
    numbers = [cost for cost in costs if not isinstance(cost, str)]
    if len(numbers) < len(costs):
        return "INCOMPLETE"
    return max(numbers) / min(numbers) if len(numbers) > 1 else None


SECTION = Section(
    name="growth",
    title="Growth",
    columns=(
        Column("one", "1 in flight: deliveries/s"),
        Column("one_us", "CPU µs each", 2),
        Column("sixteen", "16 in flight: deliveries/s"),
        Column("sixteen_us", "CPU µs each", 2),
    ),
    rows=(
        *(_row(contestant, receivers) for contestant in (SERVE, DAPHNE, JOINED) for receivers in RECEIVERS),
        *(_row(SERVE, 500, addresses) for addresses in ADDRESSES),
    ),
    marks=_marks,
    order=20,
)
