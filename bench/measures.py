"""Measures of a contestant that more than one section asks for."""

from __future__ import annotations

from functools import partial
from typing import Final

from bench.bench import Bench
from bench.contestants import Contestant
from bench.load import Load
from bench.section import Column, Figure, Reading

RECEIVERS: Final = 500
FLOODS: Final = {"one": (1, 1), "sixteen": (16, 1), "many": (64, 1), "publishers": (64, 50)}
"""Messages in flight, and publishers, by column."""
RATE: Final = 20
FAN_OUT_COLUMNS: Final = (
    Column("one", "1 in flight"),
    Column("sixteen", "16 in flight"),
    Column("many", "64 in flight"),
    Column("publishers", "50 publishers, 64 in flight"),
    Column("one_us", "CPU µs each at 1", 2),
    Column("sixteen_us", "at 16", 2),
    Column("many_us", "at 64", 2),
    Column("p50", f"{RATE} messages/s: p50 ms", 1),
    Column("p99", "p99 ms", 1),
)


def fan_out(contestant: Contestant, bench: Bench) -> Reading:
    """Messages of one client to an address of RECEIVERS connections."""
    reading: dict[str, Figure] = {}
    with contestant.start(bench) as running, Load(running.port, running.broadcast) as load:
        load.open(RECEIVERS, at_once=32)
        if running.publishing_port is not None:
            load.open_publishers(50, running.publishing_port, "/ws?RegisterToken=publisher")
        load.flood(0.3, 4)
        for key, (in_flight, publishers) in FLOODS.items():
            flood = bench.sample(running, load, partial(load.flood, bench.seconds, in_flight, publishers))
            reading[key] = flood.phase.uneven or flood.per_second
            reading[f"{key}_us"] = flood.phase.uneven or flood.server_us
        paced = bench.sample(running, load, partial(load.pace, 2 * bench.seconds, RATE)).phase
        reading["p50"] = paced.uneven or paced.p50_ms
        reading["p99"] = paced.uneven or paced.p99_ms
    return reading
