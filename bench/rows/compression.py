"""Compressed fan-out: JSON of 1,000 bytes to 500 connections that take permessage-deflate."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from functools import partial
from typing import Final

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from bench.bench import Bench
from bench.contestants import SERVE, WS, Contestant, switchboard, ws
from bench.load import Dialect, Load
from bench.machine import resident_kb
from bench.measures import RECEIVERS
from bench.section import Column, Figure, Mark, Reading, Results, Row, Section, at_least, at_most, ratio
from tests.services.ports import LOOPBACK

BYTES: Final = 1000
"""Of a message, its time included."""
TIME_BYTES: Final = 24
"""Of those, the time and what the load generator writes beside it."""
OFFER: Final = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
"""The offer of every browser."""
WARM: Final = 100
"""Connections opened before the first look at the memory."""
IDLE: Final = 2_000
FLOODS: Final = {"one": 1, "sixteen": 16}
"""Messages in flight, by column."""
TITLES: Final = {"one": "1 in flight", "sixteen": "16 in flight"}

COMPRESSING: Final = Contestant(
    "Switchboard, `manage.py serve`, COMPRESSION=yes", switchboard("serve", COMPRESSION="yes")
)
WS_DEFLATE: Final = Contestant("ws 8, Node, perMessageDeflate", ws(json.dumps({"threshold": 256})))
WS_FASTEST: Final = Contestant(
    "ws 8, Node, perMessageDeflate, level 1, no context",
    ws(json.dumps({"threshold": 256, "serverNoContextTakeover": True, "zlibDeflateOptions": {"level": 1}})),
)


def _around() -> tuple[str, str]:
    """The parts before and after the time of a message: a list of rows, as a REST API answers."""
    source = random.Random(7692)
    rows: list[str] = []
    before = '{"at":"'
    after = '","rows":['
    while len(before) + TIME_BYTES + len(after + ",".join(rows)) < BYTES - 20:
        row = {
            "id": source.randrange(10**6),
            "name": source.choice(["anna", "bert", "carla", "dora"]),
            "price": round(source.uniform(1, 100), 2),
            "tags": source.sample(["new", "sale", "hot", "old", "blue"], 2),
        }
        rows.append(json.dumps(row, separators=(",", ":")))
    rows.pop()
    after += ",".join(rows) + '],"note":"'
    room = BYTES - len(before) - TIME_BYTES - len(after) - 2
    return before, after + "".join(source.choices("abcdefghijklmnopqrstuvwxyz ", k=room)) + '"}'


def _speaking(dialect: Dialect) -> Dialect:
    before, after = _around()
    return replace(dialect, before=dialect.before + before, after=after, header=OFFER)


def _fan_out(contestant: Contestant, bench: Bench) -> Reading:
    reading: dict[str, Figure] = {}
    with (
        contestant.start(bench) as running,
        Load(running.port, _speaking(running.broadcast), TIME_BYTES) as load,
    ):
        load.open(RECEIVERS, at_once=32)
        fault = _seen_by_another_client(running.port, running.broadcast.path, load)
        load.flood(0.3, 4)
        for key, in_flight in FLOODS.items():
            flood = bench.sample(running, load, partial(load.flood, bench.seconds, in_flight))
            reading[key] = fault or flood.phase.uneven or flood.per_second
            reading[f"{key}_us"] = fault or flood.phase.uneven or flood.server_us
        reading["bytes"] = fault or flood.phase.uneven or flood.phase.bytes / flood.phase.received
    reading["idle"] = _idle(contestant, bench)
    return reading


def _idle(contestant: Contestant, bench: Bench) -> float:
    """Resident kB of each of many connections that have negotiated, and said nothing yet."""
    with contestant.start(bench) as running, Load(running.port, _speaking(running.broadcast)) as load:
        load.open(WARM, at_once=32)
        load.idle(1)
        base = resident_kb(running.pids())
        load.open(IDLE, at_once=32)
        load.idle(2)
        return (resident_kb(running.pids()) - base) / IDLE


def _seen_by_another_client(port: int, path: str, load: Load) -> str:
    """A client that inflates gets a message as it was sent: why not, or an empty string."""
    try:
        with connect(f"ws://{LOOPBACK}:{port}{path}", proxy=None) as witness:
            load.pace(0.1, 10)
            message = witness.recv(5)
    except (OSError, TimeoutError, WebSocketException) as error:
        return f"INCOMPLETE: another client: {error!r}"
    whole = len(message) == BYTES and bool(json.loads(message)["rows"])
    return "" if whole else f"INCOMPLETE: {len(message)} bytes at another client"


def _marks(results: Results) -> list[Mark]:
    plain, compressing = (results.get(row.label, {}).get("idle") for row in (SERVE, COMPRESSING))
    more = compressing - plain if isinstance(plain, float) and isinstance(compressing, float) else None
    return at_most("serve: an idle connection at most 1 kB more", more, 1) + [
        mark
        for key, title in TITLES.items()
        for other in (WS_DEFLATE, WS_FASTEST)
        for mark in at_least(
            f"serve, {title}: at least 10 times {other.label}",
            ratio(results, key, COMPRESSING.label, other.label),
            10,
        )
    ]


SECTION = Section(
    name="compression",
    title=f"Compressed: deliveries per second, JSON of {BYTES:,} bytes, {RECEIVERS} receivers",
    columns=(
        Column("one", TITLES["one"]),
        Column("sixteen", TITLES["sixteen"]),
        Column("one_us", "CPU µs each at 1", 2),
        Column("sixteen_us", "at 16", 2),
        Column("bytes", "bytes each"),
        Column("idle", "kB of an idle connection", 1),
    ),
    rows=tuple(
        Row(contestant.label, partial(_fan_out, contestant))
        for contestant in (SERVE, COMPRESSING, WS, WS_DEFLATE, WS_FASTEST)
    ),
    note="All clients offer permessage-deflate as browsers do; bytes are those on the wire.",
    marks=_marks,
    order=15,
)
