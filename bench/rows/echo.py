"""Inbound: 50 connections send, each its next message when the last has come back."""

from __future__ import annotations

from functools import partial
from typing import Final

from bench.bench import Bench
from bench.contestants import DAPHNE, SERVE, SOCKET_IO, STOCK, UVICORN, WS, Contestant
from bench.load import Load
from bench.section import Column, Mark, Reading, Results, Row, Section, at_least, ratio

CONNECTIONS: Final = 50


def _echo(contestant: Contestant, bench: Bench) -> Reading:
    with contestant.start(bench) as running, Load(running.port, running.echo) as load:
        load.open(CONNECTIONS)
        load.echo(0.3, CONNECTIONS)
        echo = bench.sample(running, load, partial(load.echo, bench.seconds, CONNECTIONS))
    return echo.reading(echo.phase.fault)


def _marks(results: Results) -> list[Mark]:
    marks = at_least("serve: at least 15,000 messages/s", results.get(SERVE.label, {}).get("rate"), 15_000)
    for other, least in ((SOCKET_IO, 1), (WS, 0.8)):
        text = f"serve: at least {least} times {other.label}"
        marks += at_least(text, ratio(results, "rate", SERVE.label, other.label), least)
    return marks


SECTION = Section(
    name="echo",
    title=f"Echo over {CONNECTIONS} connections",
    columns=(
        Column("rate", "messages/s"),
        Column("us", "CPU µs each", 1),
        Column("p50", "p50 ms", 1),
        Column("p99", "p99 ms", 1),
    ),
    rows=(
        Row(STOCK.label, partial(_echo, STOCK)),
        Row(DAPHNE.label, partial(_echo, DAPHNE)),
        Row(UVICORN.label, partial(_echo, UVICORN), quick=False),
        Row(SERVE.label, partial(_echo, SERVE)),
        Row(SOCKET_IO.label, partial(_echo, SOCKET_IO)),
        Row(WS.label, partial(_echo, WS), quick=False),
    ),
    marks=_marks,
    order=60,
)
