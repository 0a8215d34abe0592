"""A reader that stops reading: its price for the server, and for others on the same address."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from bench.bench import Bench
from bench.contestants import Contestant, switchboard
from bench.load import Load
from bench.machine import resident_kb
from bench.section import Column, Mark, Reading, Results, Row, Section, at_least, at_most
from tests.faults.cluster import read_metric
from tests.server.plain import handshake
from tests.services.ports import LOOPBACK

RECEIVERS: Final = 100
SIZE: Final = 10_000
RATE: Final = 250
SECONDS: Final = 4.0
"""10 MB for each reader: twice what the kernel and an outbox hold for one that does not read."""
RECEIVE_BUFFER: Final = 16_384
"""Bytes that the kernel takes for the reader that stops; as it comes, that may be all of the 10 MB."""
CLOSED: Final = 'switchboard_closed_total{close="slow",protocol="tokens"}'
SERVE: Final = Contestant("Switchboard, `manage.py serve`", switchboard("serve", METRICS_OPEN="yes"))


@contextmanager
def _stalled(port: int) -> Iterator[None]:
    """A client that subscribes as the others do, and reads nothing."""
    with socket.socket() as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        stalled.connect((LOOPBACK, port))
        stalled.sendall(handshake("/ws?RegisterToken=load"))
        assert stalled.recv(12) == b"HTTP/1.1 101"
        yield


def _slow(contestant: Contestant, bench: Bench) -> Reading:
    with contestant.start(bench) as running, Load(running.port, running.broadcast, SIZE) as load:
        assert running.server is not None
        load.open(RECEIVERS)
        load.pace(1, RATE)
        alone = bench.sample(running, load, partial(load.pace, SECONDS, RATE)).phase
        before = resident_kb(running.pids())
        with _stalled(running.port):
            beside = bench.sample(running, load, partial(load.pace, SECONDS, RATE)).phase
            grown = (resident_kb(running.pids()) - before) / 1_000
            load.idle(2)
            closed = read_metric(running.server, CLOSED)
    fault = alone.uneven or beside.uneven
    return {
        "alone": fault or alone.p99_ms,
        "beside": fault or beside.p99_ms,
        "ratio": fault or beside.p99_ms / alone.p99_ms,
        "mb": grown,
        "closed": closed,
    }


def _marks(results: Results) -> list[Mark]:
    serve = results.get(SERVE.label, {})
    return [
        *at_most(f"p99 of {RECEIVERS} others: at most 2 times what it was", serve.get("ratio"), 2),
        *at_most("memory: at most 20 MB", serve.get("mb"), 20),
        *at_least("closed as slow", serve.get("closed"), 1),
    ]


SECTION = Section(
    name="slow",
    title=f"Beside a reader that stops reading: {RATE} messages/s of {SIZE:,} bytes to {RECEIVERS}",
    columns=(
        Column("alone", "p99 ms without it", 1),
        Column("beside", "p99 ms beside it", 1),
        Column("mb", "MB grown", 1),
        Column("closed", "closed as slow"),
    ),
    rows=(Row(SERVE.label, partial(_slow, SERVE)),),
    marks=_marks,
    order=75,
)
