"""Ten thousand connections of all five protocols, held while some come and go, and all are talked to.

`make soak` runs it for 30 minutes on each stack, one after the other; `SOAK_MINUTES=2` shortens it. What it
measured is logged as a row of docs/faults.md.
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import logging
import os
import resource
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import SCALED_OUT, ServerFactory
from tests.faults.cluster import listing_count, read_metric
from tests.services.process import children
from tests.services.server import Server
from tests.services.waiting import until, until_equal
from tests.soak.clients import SENDERS
from tests.soak.gauge import Gauge
from tests.soak.ledger import Times
from tests.soak.load import CHURN, Load, a_load, nobody
from tests.soak.measured import Cost, Measured
from tests.tokens.client import call

MINUTES: Final = float(os.environ.get("SOAK_MINUTES", "30"))
CONNECTIONS: Final = 10_000
FILES: Final = CONNECTIONS + 2_000
"""Files that a process needs: clients that poll have two connections, requests come over others."""
HELD: Final = 0.1
"""Part of the minutes for which nothing is done but answering pings, before all begins."""
WARM_UP_CLIENTS: Final = 5000
WARM_UP_CHURN: Final = 50
"""So many come and go, so fast, before memory is measured: caches and arenas fill."""
SLOPE_MB: Final = 5.0
"""Growth of a worker that is allowed in ten minutes, or in all of a shorter run. In ten minutes 6,000 clients
come and go, each of which takes about 13 kB: 1 kB of each that stayed would be more."""
SLACK: Final = 10
"""File descriptors and tasks more than before: connections of pools, a request on its way."""
THREADS: Final = 8
"""Threads that keep a SQLite file and its log open once they have run a query (DATABASE_THREADS)."""

STACK: Final = "PostgreSQL + Redis, 2 workers" if SCALED_OUT else "SQLite, 1 worker"
CLOSED: Final = 'switchboard_lost_total{reason="closed"}'
"""What waited for a client that has vanished."""

pytestmark = [pytest.mark.soak, pytest.mark.timeout(2 * (MINUTES * 66 + 1200))]
logger = logging.getLogger("measured")


@pytest.fixture
def turn() -> Iterator[None]:
    """Wait for the other stack's run: two at a time would measure each other."""
    with (Path(tempfile.gettempdir()) / "switchboard-load-held.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let this process, and servers that it starts, open FILES files; they have as many ports."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < FILES:
        pytest.fail(f"{FILES:,} open files are needed, the hard limit is {hard:,}: ulimit -Hn {FILES}")
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    if last - first < FILES:
        pytest.fail(f"{FILES:,} ports are needed, net.ipv4.ip_local_port_range has {first} to {last}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def workers(server: Server) -> list[int]:
    """Pids: one worker is the started process itself."""
    return sorted(children(server.pid)) if SCALED_OUT else [server.pid]


@pytest.mark.usefixtures("turn", "many_files")
async def test_ten_thousand_connections_are_held(server: ServerFactory) -> None:
    broker = server(METRICS_OPEN="yes", WORKERS="2" if SCALED_OUT else "1")
    seconds = 60 * MINUTES
    await use_a_little(broker)
    gauges = [Gauge(broker, pid) for pid in workers(broker)]
    base = await settled(gauges)
    measured = Measured(STACK, MINUTES, gauges, Cost(broker), Cost(broker), Cost(broker))
    measured.look()
    with a_load(broker, seconds) as load:
        with measured.filling:
            await load.fill(CONNECTIONS)
        gc.freeze()  # what belongs to the clients
        with measured.holding:
            await load.hold(HELD * seconds)
        measured.look()
        await load.work(WARM_UP_CLIENTS / WARM_UP_CHURN, WARM_UP_CHURN)
        load.ledger.times, before = Times(), load.went

        with measured.working:
            await asyncio.gather(load.work(seconds), *(gauge.sample(seconds) for gauge in gauges))

        left = load.went - before
        measured.tell(load, left)
        assert load.ledger.faults == []
        await until_equal([], nothing_missing(load), 60)
        await until_listed(broker, CONNECTIONS + SENDERS)
        during = await holdings(gauges)
        await load.empty()
        await until_gone(broker, gauges, base)
        logger.info(
            "(descriptors, tasks): before %s, during %s, after %s", base, during, await holdings(gauges)
        )
    assert load.ledger.faults == []
    assert read_metric(broker, "switchboard_refused_total") == 0
    assert read_metric(broker, "switchboard_lost_total") == read_metric(broker, CLOSED)
    assert read_metric(broker, "switchboard_layer_errors_total") == 0
    assert left >= seconds * CHURN * 0.9
    assert max(gauge.slope() for gauge in gauges) * min(1, MINUTES / 10) <= SLOPE_MB
    assert "Traceback" not in broker.log_text()
    assert call(broker, "GET", "/health/ready").status == 200


async def use_a_little(broker: Server) -> None:
    """A few of each kind come, talk and go: what a server makes on first use is there then."""
    with a_load(broker) as load:
        await load.fill(200)
        await load.work(5)
        await load.empty()
    assert load.ledger.faults == []
    await until(lambda: nobody(broker), 120)


def nothing_missing(load: Load) -> Callable[[], Awaitable[list[str]]]:
    """Looks for sentences about what has not arrived, the first ones."""

    async def look() -> list[str]:
        await asyncio.sleep(1)
        return load.missing()[:10]

    return look


async def until_listed(broker: Server, count: int) -> None:
    """Return when so many are listed: of those that vanished, it takes a while to know of some."""
    await until_equal(count, lambda: asyncio.to_thread(listing_count, broker), 120)


async def holdings(gauges: list[Gauge]) -> tuple[int, int]:
    """Descriptors, and tasks, of all workers; tasks are counted every 5 s."""
    await asyncio.sleep(6)
    return sum(gauge.descriptors() for gauge in gauges), await asyncio.to_thread(gauges[0].tasks)


async def settled(gauges: list[Gauge]) -> tuple[int, int]:
    """The same as soon as it does not become less any more: some tasks end a while after their clients."""
    found = await holdings(gauges)
    while (later := await holdings(gauges))[1] < found[1]:
        found = later
    return later


async def until_gone(broker: Server, gauges: list[Gauge], base: tuple[int, int]) -> None:
    """Return when nobody is connected or listed, and as much is open and runs as before."""
    await until(lambda: nobody(broker), 120)
    bounds = base[0] + len(gauges) * (SLACK + 2 * THREADS), base[1] + len(gauges) * SLACK
    left: list[tuple[int, int]] = []

    async def is_as_before() -> bool:
        left.append(await holdings(gauges))
        return all(now <= bound for now, bound in zip(left[-1], bounds, strict=True))

    with suppress(AssertionError):
        await until(is_as_before, 120)
    assert all(now <= bound for now, bound in zip(left[-1], bounds, strict=True)), (
        f"(descriptors, tasks): before {base}, after {left}"
    )
    await until_listed(broker, 0)
