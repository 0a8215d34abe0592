"""A server under a thousand clients that come and go: its memory stays, and nothing is left behind.

`make soak` runs it for 30 minutes on each stack; `SOAK_MINUTES=5` shortens it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections import deque

import pytest

from tests.conftest import ServerFactory
from tests.faults.cluster import Subscriber, listing_count, seconds_until, subscribe
from tests.services.server import Server
from tests.soak.gauge import Gauge
from tests.tokens.client import call

MINUTES = float(os.environ.get("SOAK_MINUTES", "30"))
CONNECTIONS = 1000
CHURN = 10
"""Clients that leave, and clients that come, every second."""
WARM_UP_CLIENTS = 8000
"""So many come and go before: caches and arenas fill for about 6,500, and stay as they are (measured)."""
SLOPE_MB = 1.0
"""Growth of the resident memory that is allowed in ten minutes."""
SLACK = 5
"""File descriptors and tasks more or less than before: pooled connections, a request on its way."""
THREADS = 8
"""Threads that keep a SQLite file and its log open once they have run a query (DATABASE_THREADS)."""

pytestmark = [pytest.mark.soak, pytest.mark.timeout(MINUTES * 60 + 900)]
logger = logging.getLogger("measured")


async def come_and_go(server: Server, clients: deque[Subscriber], seconds: float, rate: float = CHURN) -> int:
    """Let the oldest client leave and a new one come, so many times a second; how many did."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    churned = 0
    while loop.time() - began < seconds:
        leaving = clients.popleft()
        assert leaving.closed is None
        await leaving.leave()
        clients.append(await subscribe(server.port, f"group/{churned % 50}"))
        churned += 1
        await asyncio.sleep(began + churned / rate - loop.time())
    return churned


async def talk(clients: deque[Subscriber], seconds: float) -> int:
    """Ten messages a second to one of fifty tokens, and one in ten seconds to everybody; how many."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    sent = 0
    while loop.time() - began < seconds:
        token = "group/" if sent % 100 == 0 else f"group/{sent % 50}"
        await random.choice(clients).socket.send(f"{token}|{sent} {'x' * 100}")
        sent += 1
        await asyncio.sleep(began + sent / 10 - loop.time())
    return sent


async def fill(server: Server, count: int) -> deque[Subscriber]:
    clients: deque[Subscriber] = deque()
    while len(clients) < count:
        names = [f"group/{number % 50}" for number in range(len(clients), min(len(clients) + 50, count))]
        clients += await asyncio.gather(*(subscribe(server.port, name) for name in names))
    return clients


async def empty(clients: deque[Subscriber]) -> None:
    await asyncio.gather(*(client.leave() for client in clients))
    clients.clear()


async def test_memory_descriptors_and_tasks_stay(server: ServerFactory) -> None:
    broker = server(METRICS_OPEN="yes")
    gauge = Gauge(broker)
    await empty(await fill(broker, 100))
    await seconds_until(lambda: gauge.connections() == 0)
    await asyncio.sleep(6)  # tasks are counted every 5 s
    base = gauge.descriptors(), gauge.tasks()
    seconds = 60 * MINUTES
    clients = await fill(broker, CONNECTIONS)
    warmed = 0
    while warmed < WARM_UP_CLIENTS:
        warmed += await come_and_go(broker, clients, 10, 200)

    churned, sent, _ = await asyncio.gather(
        come_and_go(broker, clients, seconds), talk(clients, seconds), gauge.sample(seconds)
    )

    assert await asyncio.to_thread(listing_count, broker) == CONNECTIONS
    held = gauge.descriptors(), gauge.tasks()
    await empty(clients)
    await seconds_until(lambda: gauge.connections() == 0)
    await asyncio.sleep(12)
    left = gauge.descriptors(), gauge.tasks()
    slope = gauge.slope()
    logger.info("%d clients came and went before", warmed)
    logger.info("%d clients came and went, %d messages, in %g minutes", churned, sent, MINUTES)
    logger.info("memory: %.1f to %.1f MB, %+.2f MB in 10 minutes", *gauge.ends(), slope)
    logger.info("MB each half minute: %s", [round(megabytes, 1) for _, megabytes in gauge.memory[::6]])
    logger.info("(descriptors, tasks): before %s, during %s, after %s", base, held, left)
    assert churned > seconds * CHURN / 2
    assert slope <= SLOPE_MB
    assert abs(left[0] - base[0]) <= SLACK + 2 * THREADS
    assert abs(left[1] - base[1]) <= SLACK
    assert await asyncio.to_thread(listing_count, broker) == 0
    assert call(broker, "GET", "/health/ready").status == 200
