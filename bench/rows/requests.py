"""Requests over one connection: one at a time, and pipelined; each is answered by a handler."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Final

from bench.bench import Bench
from bench.contestants import PYTHON_SOCKETIO, SOCKET_IO, Contestant, switchboard
from bench.load import Dialect, Load
from bench.section import Column, Figure, Mark, Reading, Results, Row, Section, at_least, ratio

PIPELINED: Final = {"one": 1, "sixteen": 16, "many": 64}
"""Requests on their way, by column."""

ASK: Final = Dialect("/connection", '{"direction":"REQUEST","type":"echo","key":"k","text":"', '"}')
APPS: Final = {"EXTRA_APPS": "bench.asking"}
SERVE: Final = Contestant("Switchboard, `manage.py serve`", switchboard("serve", **APPS))
DAPHNE: Final = Contestant("Switchboard, plain Daphne", switchboard("daphne", **APPS))
UVICORN: Final = Contestant("Switchboard, uvicorn", switchboard("uvicorn", **APPS))


def _requests(contestant: Contestant, dialect: Dialect | None, bench: Bench) -> Reading:
    """`dialect` None: that of Socket.IO, an event with an acknowledgement."""
    reading: dict[str, Figure] = {}
    with contestant.start(bench) as running:
        spoken = dialect or replace(running.echo, before='421["ask","', after='"]')
        with Load(running.port, spoken) as load:
            load.open(1)
            load.flood(0.3, 4)
            for key, in_flight in PIPELINED.items():
                sample = bench.sample(running, load, partial(load.flood, bench.seconds, in_flight))
                reading[key] = sample.phase.fault or sample.per_second
                reading[f"{key}_us"] = sample.phase.fault or sample.server_us
    return reading


def _row(contestant: Contestant, dialect: Dialect | None = ASK, quick: bool = True) -> Row:
    return Row(contestant.label, partial(_requests, contestant, dialect), quick)


def _marks(results: Results) -> list[Mark]:
    marks = []
    for key, title in (("one", "one at a time"), ("sixteen", "16 on their way")):
        text = f"serve, {title}: at least {PYTHON_SOCKETIO.label}"
        marks += at_least(text, ratio(results, key, SERVE.label, PYTHON_SOCKETIO.label), 1)
    for key, title, least in (("one", "one at a time", 1), ("sixteen", "16", 0.6), ("many", "64", 0.6)):
        text = (
            f"serve, {title}{'' if least == 1 else ' on their way'}: at least {least} times Socket.IO on Node"
        )
        marks += at_least(text, ratio(results, key, SERVE.label, SOCKET_IO.label), least)
    return marks


SECTION = Section(
    name="requests",
    title="Requests per second over one connection",
    columns=(
        Column("one", "one at a time"),
        Column("sixteen", "16 on their way"),
        Column("many", "64 on their way"),
        Column("one_us", "CPU µs each at 1", 1),
        Column("sixteen_us", "at 16", 1),
        Column("many_us", "at 64", 1),
    ),
    rows=(
        _row(SERVE),
        _row(DAPHNE),
        _row(UVICORN, quick=False),
        _row(PYTHON_SOCKETIO, None),
        _row(SOCKET_IO, None),
    ),
    note="Socket.IO: an event with an acknowledgement, which is what `call` waits for.",
    marks=_marks,
    order=65,
)
