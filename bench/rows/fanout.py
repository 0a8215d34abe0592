"""Fan-out: what a client sends to an address reaches 500 connections."""

from __future__ import annotations

from functools import partial

from bench.contestants import DAPHNE, EACH, JOINED, SERVE, SOCKET_IO, STOCK, UVICORN, WS, Contestant
from bench.measures import FAN_OUT_COLUMNS, FLOODS, RECEIVERS, fan_out
from bench.section import Mark, Results, Row, Section, at_least, at_most, ratio


def _row(contestant: Contestant, quick: bool = True) -> Row:
    return Row(contestant.label, partial(fan_out, contestant), quick)


def _marks(results: Results) -> list[Mark]:
    serve = results.get(SERVE.label, {})
    beside = {"Socket.IO": SOCKET_IO, "stock Channels": STOCK, "the joined limit": JOINED}

    def mark(key: str, who: Contestant, other: str, least: float) -> list[Mark]:
        name = "serve" if who is SERVE else "plain Daphne"
        titles = {
            "one": "1 in flight",
            "sixteen": "16 in flight",
            "many": "64 in flight",
            "publishers": "50 publishers",
        }
        text = f"{name}, {titles[key]}: at least {least:.3g} times {other}"
        return at_least(text, ratio(results, key, who.label, beside[other].label), least)

    return [
        *mark("sixteen", DAPHNE, "stock Channels", 5),
        *mark("sixteen", SERVE, "Socket.IO", 7),
        *mark("sixteen", SERVE, "stock Channels", 150),
        *mark("many", SERVE, "Socket.IO", 15),
        *mark("publishers", SERVE, "Socket.IO", 15),
        *mark("many", SERVE, "the joined limit", 1 / 3),
        *mark("publishers", SERVE, "the joined limit", 1 / 3),
        *mark("one", SERVE, "Socket.IO", 1),
        *at_most("serve, 20 messages/s: p50 at most 4 ms", serve.get("p50"), 4),
        *at_most("serve, 20 messages/s: p99 at most 12 ms", serve.get("p99"), 12),
    ]


SECTION = Section(
    name="fanout",
    title=f"Deliveries per second, {RECEIVERS} receivers",
    columns=FAN_OUT_COLUMNS,
    rows=(
        _row(STOCK),
        _row(DAPHNE),
        _row(UVICORN, quick=False),
        _row(SERVE),
        _row(SOCKET_IO),
        _row(WS, quick=False),
        _row(EACH, quick=False),
        _row(JOINED),
    ),
    marks=_marks,
    order=10,
    plotted=tuple(FLOODS),
)
