"""Workers that are replaced or drained while something else befalls them: a stop, a crash, another start."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.server.group import Group, runs
from tests.server.plain import Raw, closed_with
from tests.services.waiting import until

pytestmark = pytest.mark.once


async def held_up(group: Group) -> dict[int, Raw]:
    """For each worker a request that it waits for."""
    requests: dict[int, Raw] = {}

    async def each_has_one() -> bool:
        raw, pid = await group.begin_request()
        if pid in requests:
            await raw.close()
        else:
            requests[pid] = raw
        return requests.keys() == group.workers()

    await until(each_has_one)
    return requests


async def stopped_while_a_worker_is_replaced(group: Group) -> dict[int, Raw]:
    """Begin both, and return when each worker has been told. None of the first ones can end in order yet."""
    requests = await held_up(group)
    group.process.send(signal.SIGHUP)
    await until(lambda: "replaces worker" in group.process.log_text())
    client, _ = await group.open_and_ask()
    group.process.send(signal.SIGTERM)
    assert await closed_with(client) == 1012
    return requests


async def test_a_stop_while_a_worker_is_replaced_ends_all_in_order(group: Group) -> None:
    requests = await stopped_while_a_worker_is_replaced(group)
    for raw in requests.values():
        raw.writer.write(b"b")
    assert await asyncio.to_thread(group.process.wait, 60) == 0
    for raw in requests.values():
        await raw.close()


async def test_a_second_stop_ends_a_worker_at_once_that_is_replaced(group: Group) -> None:
    requests = await stopped_while_a_worker_is_replaced(group)
    group.process.send(signal.SIGTERM)
    assert await asyncio.to_thread(group.process.wait, 60) == 1
    assert not any(map(runs, requests))
    for raw in requests.values():
        await raw.close()
