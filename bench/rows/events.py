"""The events protocol: walker calls over one socket and over 100, and a channel event to 500 sockets."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Final

from bench.bench import Bench
from bench.contestants import switchboard
from bench.load import Dialect, Load
from bench.section import Column, Reading, Row, Section

SOCKETS: Final = 500
IN_FLIGHT: Final = 16

_HANDSHAKE: Final = (("expect", '{"type":"connection"'),)
WALK: Final = Dialect(
    "/websocket",
    before='{"type":"walker","walker":"%s","response":true,"context":{"text":"',
    after='"}}',
    steps=_HANDSHAKE,
)
CHANNEL: Final = Dialect(
    "/websocket?channel_id=load",
    before='{"type":"channel","channel_ids":["load"],"data":{"text":"',
    after='"}}',
    steps=_HANDSHAKE,
)
_start = switchboard("serve", EXTRA_APPS="bench")


def _walk(walker: str, sockets: int, bench: Bench) -> Reading:
    dialect = replace(WALK, before=WALK.before % walker)
    with _start(bench) as running, Load(running.port, dialect) as load:
        load.open(sockets)
        load.echo(0.3, sockets)
        sample = bench.sample(running, load, partial(load.echo, bench.seconds, sockets))
    return sample.reading(sample.phase.fault)


def _channel(in_flight: int, bench: Bench) -> Reading:
    with _start(bench) as running, Load(running.port, CHANNEL) as load:
        load.open(SOCKETS)
        load.flood(0.3, in_flight)
        sample = bench.sample(running, load, partial(load.flood, bench.seconds, in_flight))
    return sample.reading(sample.phase.uneven)


SECTION = Section(
    name="events",
    title="Events: walker calls, and deliveries of a channel event",
    columns=(
        Column("rate", "a second"),
        Column("us", "CPU µs each", 1),
        Column("p50", "p50 ms", 1),
        Column("p99", "p99 ms", 1),
    ),
    rows=(
        Row("async walker, 1 socket", partial(_walk, "echo_async", 1)),
        Row("async walker, 100 sockets", partial(_walk, "echo_async", 100)),
        Row("sync walker, 1 socket", partial(_walk, "echo_sync", 1)),
        Row("sync walker, 100 sockets", partial(_walk, "echo_sync", 100)),
        Row(f"channel event to {SOCKETS} sockets, 1 in flight", partial(_channel, 1), quick=False),
        Row(f"channel event to {SOCKETS} sockets, {IN_FLIGHT} in flight", partial(_channel, IN_FLIGHT)),
    ),
    note="A walker call is an event and its envelope; a sync walker runs in a thread that may use the ORM.",
    order=85,
)
