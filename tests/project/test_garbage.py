"""Connections that have ended leave nothing for the garbage collector.

What keeps itself alive stays until a full collection: a worker with thousands of connections would grow until
then, and stand still for the better part of a second.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from functools import partial

import pytest

from tests.conftest import ServerFactory
from tests.services.ports import answers
from tests.services.server import Server
from tests.services.waiting import until
from tests.soak.load import a_load, nobody
from tests.tokens.client import call

CLIENTS, CHURN = 60, 20
"""Of all five protocols; some leave without a word."""
SOON = {"ROOMS_PING_INTERVAL": "2", "ROOMS_PING_TIMEOUT": "10", "ROOMS_RECOVERY_SECONDS": "1"}
"""A client that has vanished is given up."""
APPLICATION = "tests.project.garbage:application"


@pytest.fixture
def broker(server: ServerFactory) -> Iterator[Server]:
    """One worker, which can be asked for its garbage."""
    one = server(METRICS_OPEN="yes", **SOON)  # makes the database
    one.stop()
    command = [sys.executable, "-m", "switchboard_server", "-p", str(one.port), APPLICATION]
    process = one.command(command, one.folder / "garbage")
    try:
        process.wait_until(lambda: answers(one.port))
        yield one
    finally:
        process.stop()


async def test_connections_that_have_ended_leave_no_garbage(broker: Server) -> None:
    await come_and_go(broker)  # what is made on first use
    await garbage(broker)

    await come_and_go(broker)

    assert await garbage(broker) == {}


async def come_and_go(broker: Server) -> None:
    with a_load(broker) as load:
        await load.fill(CLIENTS)
        await load.work(CLIENTS / CHURN, CHURN)
        await load.empty()
    await until(partial(nobody, broker))
    assert load.ledger.faults == []
    assert load.went == 2 * CLIENTS
    assert load.asked > 0


async def garbage(broker: Server) -> dict[str, int]:
    """Objects that kept each other alive since it was last asked, by type."""
    answer = await asyncio.to_thread(call, broker, "GET", "/garbage")
    found: dict[str, int] = answer.json()
    return found
