"""Routing without fan-out: 50 publishers, each of which sends to one receiver of its own."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Final

from bench.bench import Bench
from bench.contestants import DAPHNE, SERVE, SOCKET_IO, UVICORN, Contestant
from bench.load import Dialect, Load
from bench.section import Column, Mark, Reading, Results, Row, Section, at_least, ratio

PAIRS: Final = 50
TOKENS: Final = Dialect("/ws?RegisterToken=receiver{n}", before="receiver{n}|")


def _pairs(contestant: Contestant, bench: Bench) -> Reading:
    with contestant.start(bench) as running:
        dialect = TOKENS
        if contestant is SOCKET_IO:
            path = running.echo.path + "&name={n}"
            dialect = replace(running.echo, path=path, before='42["to","{n}","')
        with Load(running.port, dialect) as load:
            load.open(PAIRS)
            load.open_publishers(PAIRS, running.port, dialect.path)
            load.pairs(0.3, PAIRS)
            sample = bench.sample(running, load, partial(load.pairs, bench.seconds, PAIRS))
    return sample.reading(sample.phase.fault)


def _row(contestant: Contestant, quick: bool = True) -> Row:
    return Row(contestant.label, partial(_pairs, contestant), quick)


def _marks(results: Results) -> list[Mark]:
    return at_least(
        "serve: at least 1 times Socket.IO on Node", ratio(results, "rate", SERVE.label, SOCKET_IO.label), 1
    )


SECTION = Section(
    name="routing",
    title=f"{PAIRS} publishers to one receiver each",
    columns=(
        Column("rate", "messages/s"),
        Column("us", "CPU µs each", 1),
        Column("p50", "p50 ms", 1),
        Column("p99", "p99 ms", 1),
    ),
    rows=(_row(DAPHNE), _row(UVICORN, quick=False), _row(SERVE), _row(SOCKET_IO)),
    note="Each publisher sends its next message when its receiver has the last one.",
    marks=_marks,
    order=61,
)
