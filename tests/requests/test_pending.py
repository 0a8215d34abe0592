"""Requests that wait: how they end, and what they keep. The client's copy has to behave the same."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from switchboard_client import pending as client_pending

from routing_app.requests import pending as server_pending

pytestmark = pytest.mark.once


@pytest.fixture(params=[server_pending, client_pending], ids=["server", "client"])
def pending(request: pytest.FixtureRequest) -> Any:
    return request.param


async def test_partials_then_the_reply(pending: Any) -> None:
    request = pending.Request()
    asyncio.get_running_loop().call_later(0.01, request.partial, {"n": 2})
    asyncio.get_running_loop().call_later(0.02, request.reply, {"done": True})
    request.partial({"n": 1})

    assert [partial["n"] async for partial in request] == [1, 2]
    assert (await request).message == {"done": True}
    assert (await request)["done"] is True, "awaited again"


async def test_the_first_end_counts(pending: Any) -> None:
    request = pending.Request()
    ends: list[int] = []
    request.on_end(lambda: ends.append(1))
    request.reply({"n": 1})
    request.reply({"n": 2})
    request.fail(RuntimeError())
    request.partial({"n": 3})
    await asyncio.sleep(0)

    assert (await request)["n"] == 1
    assert [partial async for partial in request] == []
    assert ends == [1]


async def test_an_error_ends_iteration_and_wait(pending: Any) -> None:
    request = pending.Request()
    request.partial({"n": 1})
    request.fail(pending.RequestError({"code": 7, "message": "nope"}))
    partials = aiter(request)
    assert (await anext(partials))["n"] == 1
    with pytest.raises(pending.RequestError, match="nope"):
        await anext(partials)
    with pytest.raises(pending.RequestError):
        await request


async def test_a_timeout(pending: Any) -> None:
    request = pending.Request(timeout=0.01)
    with pytest.raises(TimeoutError):
        await request


async def test_cancelling_a_wait_forgets_the_request(pending: Any) -> None:
    request = pending.Request()
    ended = asyncio.Event()
    request.on_end(ended.set)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(request, 0.01)
    await ended.wait()
    assert request.done


async def test_a_broken_off_iteration_leaves_the_request(pending: Any) -> None:
    request = pending.Request()
    request.partial({"n": 1})
    async for _ in request:
        break
    request.reply({"n": 2})
    assert (await request)["n"] == 2


async def test_unread_partials_are_bounded_and_those_of_a_wait_are_dropped(pending: Any) -> None:
    request = pending.Request()
    for n in range(pending.MAX_PARTIALS + 1):
        request.partial({"n": n})
    with pytest.raises(pending.RequestError) as error:
        await request
    assert error.value.code == "overrun"

    awaited = pending.Request()
    waiting = asyncio.ensure_future(_await(awaited))
    await asyncio.sleep(0)
    for n in range(2 * pending.MAX_PARTIALS):
        awaited.partial({"n": n})
    awaited.reply({"done": True})
    assert (await waiting)["done"] is True


async def test_partials_that_are_left_by_an_iteration_do_not_fail_a_wait(pending: Any) -> None:
    request = pending.Request()
    for n in range(3):
        request.partial({"n": n})
    async for _ in request:
        break
    waiting = asyncio.ensure_future(_await(request))
    await asyncio.sleep(0)
    for n in range(pending.MAX_PARTIALS):
        request.partial({"n": n})
    request.reply({"done": True})

    assert (await waiting)["done"] is True
    assert [partial["n"] async for partial in request] == [1, 2], "those that came before the wait"


async def _await(request: Any) -> Any:
    return await request
