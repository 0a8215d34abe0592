"""Tasks that are ended end, though a cancellation may be lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from routing_app.core.cluster.relay import Relay
from routing_app.core.cluster.spread import Spread
from routing_app.core.ending import end_tasks
from routing_app.core.rate_limits.redis import RedisCounts
from routing_app.core.streams.lane import Lane
from tests.core.layers import Bus, LaggingLayer
from tests.services.waiting import until

pytestmark = pytest.mark.once

NOWHERE = "redis://127.0.0.1:1"


async def test_a_cancellation_that_comes_together_with_a_result_is_not_lost() -> None:
    """`wait_for` takes the result, before Python 3.12, and the task goes on."""
    result: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def work() -> None:
        await result

    async def goes_on() -> None:
        await asyncio.wait_for(work(), 3600)
        await asyncio.Event().wait()

    task = asyncio.ensure_future(goes_on())
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # now it waits for the result
    result.set_result(None)
    await asyncio.sleep(0)
    await end_tasks([task])

    assert task.cancelled()


async def test_a_task_that_never_ends_is_left_and_told_of(caplog: pytest.LogCaptureFixture) -> None:
    ends = asyncio.Event()

    async def stays() -> None:
        while not ends.is_set():
            try:
                await ends.wait()
            except asyncio.CancelledError:
                continue

    task = asyncio.ensure_future(stays())
    await asyncio.sleep(0)
    await end_tasks([task], [0.01] * 3)

    assert not task.done()
    assert "stays" in caplog.text
    ends.set()
    await task


async def goes_on_once() -> None:
    """Lose one cancellation."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        await asyncio.Event().wait()


def relay(task: asyncio.Task[None]) -> Any:
    one = Relay(LaggingLayer(Bus()), "w" * 16)
    one._sender = task
    return one


def channel(task: asyncio.Task[None]) -> Any:
    one = Relay(LaggingLayer(Bus()), "w" * 16)
    one._channel._reader = task
    return one


def spread(task: asyncio.Task[None]) -> Any:
    one = Spread([LaggingLayer(Bus())], "w" * 16)
    one._opening[one.relays[0]] = task
    return one


def lane(task: asyncio.Task[None]) -> Any:
    one = Lane(NOWHERE)
    one._task = task
    return one


def counts(task: asyncio.Task[None]) -> Any:
    one = RedisCounts(NOWHERE)
    one._task = task
    return one


@pytest.mark.parametrize("make", [relay, channel, spread, lane, counts])
async def test_a_stop_comes_to_its_end_though_a_cancellation_is_lost(make: Any) -> None:
    task = asyncio.ensure_future(goes_on_once())
    await asyncio.sleep(0)

    stopping = asyncio.ensure_future(make(task).stop())
    await until(stopping.done)

    stopping.result()
    assert task.cancelled()
