"""A process that has stood still takes nobody for silent whose answer waits to be read."""

from __future__ import annotations

import asyncio

import pytest

from routing_app.core.cluster import batching, subscriptions
from routing_app.core.standstill import Within, comes_within
from tests.core.harness import received, replaced, until_received
from tests.core.layers import Cluster, layer_of
from tests.services.standstill import stand_still
from tests.services.waiting import until

pytestmark = pytest.mark.once


async def test_a_limit_begins_anew_after_a_standstill(monkeypatch: pytest.MonkeyPatch):
    answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    async with Within(30):
        await stand_still(monkeypatch)
        asyncio.get_running_loop().call_soon(answer.set_result, 7)
        assert await answer == 7


async def test_a_loop_that_is_always_late_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch):
    stalls: list[int] = []

    async def wait() -> None:
        async with Within(30):
            for number in range(10):
                stalls.append(number)
                await stand_still(monkeypatch)

    with pytest.raises(TimeoutError):
        await wait()
    assert stalls == [0, 1, 2]


@pytest.mark.parametrize("seconds", [0, 0.01])
async def test_a_limit_ends_what_takes_longer(seconds: float):
    with pytest.raises(TimeoutError):
        async with Within(seconds):
            await asyncio.get_running_loop().create_future()
    assert not await comes_within(asyncio.get_running_loop().create_future(), seconds)


async def test_what_is_over_in_time_has_no_limit_any_more():
    async with Within(0.01):
        pass
    with pytest.raises(ZeroDivisionError):
        async with Within(0.01):
            raise ZeroDivisionError
    await asyncio.sleep(0.05)


async def test_none_is_no_limit():
    async with Within(None):
        await asyncio.sleep(0)


async def test_one_that_is_cancelled_is_so():
    async def wait() -> None:
        async with Within(60):
            await asyncio.get_running_loop().create_future()

    waiting = asyncio.ensure_future(wait())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_message_that_waits_for_room_is_not_lost(lagging: Cluster, monkeypatch: pytest.MonkeyPatch):
    here, there = lagging.node(), lagging.node()
    near, far = await here.subscriber("token:a"), await there.subscriber("token:a")
    with replaced(batching, "BACKLOG", 5):
        layer_of(here).hanging = True
        for number in range(5):
            await here.publish(number, "token:a")
        waiting = asyncio.ensure_future(here.publish("in time", "token:a"))
        await until(lambda: "in time" in received(near))
        await stand_still(monkeypatch)
        layer_of(here).hanging = False
        await waiting

        assert await until_received(far, 6) == [*range(5), "in time"]


async def test_a_subscription_is_not_given_up(lagging: Cluster, monkeypatch: pytest.MonkeyPatch):
    here = lagging.node()
    adding, held = asyncio.Event(), asyncio.Event()
    add = here.layer.group_add

    async def add_later(group: str, channel: str) -> None:
        adding.set()
        await held.wait()
        await add(group, channel)

    with replaced(here.layer, "group_add", add_later), replaced(subscriptions, "CONFIRM_SECONDS", 30.0):
        subscribing = asyncio.ensure_future(here.subscriber("token:a"))
        await adding.wait()
        await stand_still(monkeypatch)
        held.set()
        subscriber = await subscribing
    await here.publish("hello", "token:a")
    assert await until_received(subscriber) == ["hello"]
