"""A thousand connections that each break one rule: each has its end, and the server is as before."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Coroutine
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from tests.conftest import ServerFactory
from tests.faults.cluster import read_metric
from tests.fuzz.echoing import Echoing
from tests.fuzz.rules import RULES, break_rule, clients_held
from tests.services.server import Server
from tests.services.waiting import until

pytestmark = pytest.mark.once  # nothing of it reaches a store or another process

CONNECTIONS = 1000
AT_ONCE = 50
SLACK = 5
"""Tasks more than before: a request is on its way."""
WARM_UP, WAVES = 10, 20
"""Thousands of connections: those that fill caches and arenas, and those after which memory stays."""
GROWTH_MB = 5
CALM_SECONDS = 60
ROUNDS = 3
RATE = 50
"""Connections that break rules, a second, beside the client that is measured. One worker takes about a
thousand."""
logger = logging.getLogger("measured")


async def break_rules(port: int, count: int) -> dict[str, set[object]]:
    """Break rule after rule, some at once; rules whose outcome was another one, with that."""
    wrong: dict[str, set[object]] = {}
    names = islice(cycle(RULES), count)

    async def client() -> None:
        for name in names:
            outcome = await break_rule(port, RULES[name])
            if outcome != RULES[name].outcome:
                wrong.setdefault(name, set()).add(outcome)

    await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    return wrong


class Counts:
    """What a server holds."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def metric(self, name: str) -> int:
        return int(await asyncio.to_thread(read_metric, self._server, name))

    async def tasks(self) -> int:
        """Those of the start: they are counted every 5 s."""
        return int(await until(lambda: self.metric("switchboard_tasks")))

    def sockets(self) -> int:
        return clients_held(self._server.pid, self._server.port)

    def megabytes(self) -> float:
        pages = int(Path(f"/proc/{self._server.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    async def gone(self) -> None:
        """Return when nobody is connected."""
        await until(lambda: self._equal("switchboard_connections", 0))

    async def _equal(self, name: str, most: int) -> bool:
        return await self.metric(name) <= most

    async def back(self, tasks: int, sockets: int) -> None:
        """Return when there are no more tasks (but for SLACK) and clients' sockets than so many."""
        await self.gone()
        await until(lambda: self._equal("switchboard_tasks", tasks + SLACK))
        await until(lambda: self.sockets() <= sockets)


def test_every_kind_of_rule_is_broken() -> None:
    """A table that shrinks would pass below."""
    assert len(RULES) >= 80
    assert {"open", "held", 400, 403, 426, 431, 1002, 1007, 1008, 1009, 4009} <= {
        rule.outcome for rule in RULES.values()
    }


async def test_a_thousand_clients_that_break_rules_leave_nothing_behind(server: ServerFactory) -> None:
    broker = server(METRICS_OPEN="yes", COMPRESSION="yes")
    counts = Counts(broker)
    tasks = await counts.tasks()
    sockets = counts.sockets()
    echoing = await asyncio.to_thread(Echoing, broker.port)

    wrong = await break_rules(broker.port, CONNECTIONS)
    echoes = await asyncio.to_thread(echoing.stop)

    assert wrong == {}
    assert echoes["count"] >= 100
    await counts.back(tasks, sockets)
    assert "Traceback" not in broker.log_text()


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_memory_stays(server: ServerFactory) -> None:
    broker = server(METRICS_OPEN="yes", COMPRESSION="yes")
    counts = Counts(broker)
    tasks = await counts.tasks()
    held: list[float] = []
    sockets = counts.sockets()
    for _ in range(WARM_UP + WAVES):
        assert await break_rules(broker.port, CONNECTIONS) == {}
        await counts.gone()
        held.append(round(counts.megabytes(), 1))

    await counts.back(tasks, sockets)
    logger.info("MB after each thousand: %s", held)
    assert held[-1] - held[WARM_UP - 1] <= GROWTH_MB


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_others_are_not_slowed(server: ServerFactory) -> None:
    """Beside the same clients at another server: what they take of the machine is not this server's."""
    options = {"METRICS_OPEN": "yes", "COMPRESSION": "yes"}
    broker, another = server(**options), server(**options)
    for one in (broker, another):
        assert await break_rules(one.port, CONNECTIONS) == {}
    calm = await echoes_while(broker, asyncio.sleep(CALM_SECONDS))
    beside, attacked = [], []
    for _ in range(ROUNDS):
        beside.append(await echoes_while(broker, at_a_rate(another.port, CONNECTIONS)))
        attacked.append(await echoes_while(broker, at_a_rate(broker.port, CONNECTIONS)))

    logger.info("echoes in calm %s; with %d connections a second that break rules", calm, RATE)
    logger.info("at another server %s, at this one %s", beside, attacked)
    assert median(one["p99"] for one in attacked) <= 2 * median(one["p99"] for one in beside)


async def echoes_while(broker: Server, work: Coroutine[Any, Any, None]) -> dict[str, float]:
    """What a well-behaved client tells that echoes while something is done."""
    echoing = await asyncio.to_thread(Echoing, broker.port)
    await work
    return await asyncio.to_thread(echoing.stop)


async def at_a_rate(port: int, count: int) -> None:
    """Break so many rules, RATE a second."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.TaskGroup() as tasks:
        for number, name in enumerate(islice(cycle(RULES), count)):
            await asyncio.sleep(began + number / RATE - loop.time())
            tasks.create_task(break_rule(port, RULES[name]))
