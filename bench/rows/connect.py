"""Connecting: handshakes a second, each recorded in presence and counted in the database afterwards."""

from __future__ import annotations

from functools import partial
from typing import Final

from bench.bench import Bench
from bench.contestants import DAPHNE, SERVE, SOCKET_IO, STOCK, UVICORN, WS, Contestant, Running
from bench.load import Load
from bench.presence import recorded, seconds_until
from bench.section import Column, Figure, Mark, Reading, Results, Row, Section, at_least

CONNECTIONS: Final = 2_000
FEW: Final = 32
"""Handshakes under way at once: below the listen backlog of 50 that plain Daphne has."""
MANY: Final = 500
PROMISED: Final = 7_000
"""Recorded connections a second of `serve`, with few and with many handshakes at once."""


def _connect(contestant: Contestant, bench: Bench) -> Reading:
    reading: dict[str, Figure] = {}
    for key, at_once in (("few", FEW), ("many", MANY)):
        with contestant.start(bench) as running, Load(running.port, running.broadcast) as load:
            load.open(1)
            with bench.meter(running, load) as meter:
                seconds = load.open(CONNECTIONS - 1, at_once)
            reading[key] = CONNECTIONS / seconds
            reading[f"{key}_us"] = meter.server_seconds * 1e6 / CONNECTIONS
            if running.server is not None:
                reading |= _recorded(key, running, load, seconds)
    return reading


def _recorded(key: str, running: Running, load: Load, seconds: float) -> Reading:
    """The rate until the last row was there, and how many rows are left when all have gone."""
    assert running.server is not None
    url = running.server.database_url
    late = seconds_until(url, CONNECTIONS)
    if late is None:
        return {f"{key}_recorded": f"INCOMPLETE: {recorded(url):,} of {CONNECTIONS:,} recorded"}
    load.close_sockets()
    left = 0 if seconds_until(url, 0) is not None else recorded(url)
    return {f"{key}_recorded": CONNECTIONS / (seconds + late), "left": left}


def _marks(results: Results) -> list[Mark]:
    daphne, serve = results.get(DAPHNE.label, {}), results.get(SERVE.label, {})
    return [
        *at_least("plain Daphne: at least 500 recorded connections/s", daphne.get("few_recorded"), 500),
        *at_least(
            f"serve: at least {PROMISED:,} recorded connections/s", serve.get("few_recorded"), PROMISED
        ),
        *at_least(
            f"serve, {MANY} handshakes at once: at least {PROMISED:,}", serve.get("many_recorded"), PROMISED
        ),
    ]


SECTION = Section(
    name="connect",
    title=f"{CONNECTIONS:,} connections",
    columns=(
        Column("few", f"{FEW} handshakes at once: connections/s"),
        Column("few_recorded", "recorded/s"),
        Column("few_us", "CPU µs each"),
        Column("many", f"{MANY} at once: connections/s"),
        Column("many_recorded", "recorded/s"),
        Column("left", "rows left after all have gone"),
    ),
    rows=(
        Row(STOCK.label, partial(_connect, STOCK)),
        Row(DAPHNE.label, partial(_connect, DAPHNE)),
        Row(UVICORN.label, partial(_connect, UVICORN), quick=False),
        Row(SERVE.label, partial(_connect, SERVE)),
        Row(SOCKET_IO.label, partial(_connect, SOCKET_IO)),
        Row(WS.label, partial(_connect, WS), quick=False),
    ),
    note="“Recorded” counts until the last connection, and the address it subscribes to, are committed.",
    marks=_marks,
    order=50,
)
