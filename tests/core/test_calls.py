"""Calls: one answer or an error, pieces in order, and no waiting for a worker that is gone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from routing_app.core.cluster import calls, heartbeats, liveness, relay
from routing_app.core.cluster.calls import CallFailed, CallRefused, Incoming, WorkerGone
from tests.core.harness import Node, replaced
from tests.core.layers import cluster
from tests.services.standstill import stand_still
from tests.services.waiting import until

KINDS = ["redis", "lagging"]


@pytest.fixture(params=KINDS)
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Node, Node]]:
    """A worker that asks, and one that serves."""
    url = request.getfixturevalue("redis_url") if request.param == "redis" else ""
    async with cluster(request.param, url) as processes:
        asker, server = processes.node(), processes.node()
        for node in (asker, server):
            await node.relay.want([f"worker:{node.id}"])
        yield asker, server


async def test_an_answer_comes_back(pair: tuple[Node, Node]):
    asker, server = pair

    async def double(call: Incoming) -> Any:
        return {"asker": call.asker, "twice": call.payload * 2}

    server.calls.serve("double", double)

    assert await asker.calls.call(server.id, "double", [1, None]) == {
        "asker": asker.id,
        "twice": [1, None, 1, None],
    }


async def test_pieces_come_in_order_and_before_the_answer(pair: tuple[Node, Node]):
    asker, server = pair

    async def count(call: Incoming) -> Any:
        for number in range(call.payload):
            await call.partial(number)
        return "done"

    server.calls.serve("count", count)
    seen: list[Any] = []

    seen.append(await asker.calls.call(server.id, "count", 50, on_partial=seen.append))

    assert seen == [*range(50), "done"]


async def test_many_calls_at_once_get_each_its_own_answer(pair: tuple[Node, Node]):
    asker, server = pair

    async def echo(call: Incoming) -> Any:
        await asyncio.sleep(0)
        return call.payload

    server.calls.serve("echo", echo)

    answers = await asyncio.gather(*[asker.calls.call(server.id, "echo", number) for number in range(200)])
    assert answers == list(range(200))


async def test_a_refusal_carries_its_reason(pair: tuple[Node, Node]):
    asker, server = pair

    async def refuse(call: Incoming) -> Any:
        raise CallRefused({"code": 7})

    server.calls.serve("refuse", refuse)

    with pytest.raises(CallRefused) as refused:
        await asker.calls.call(server.id, "refuse")
    assert refused.value.payload == {"code": 7}


@pytest.mark.parametrize("verb", ["fails", "unknown"])
async def test_a_failure_in_the_other_process_is_an_error_here(
    pair: tuple[Node, Node], verb: str, caplog: pytest.LogCaptureFixture
):
    asker, server = pair

    async def fail(call: Incoming) -> Any:
        raise RuntimeError("secret")

    server.calls.serve("fails", fail)

    with pytest.raises(CallFailed) as failed:
        await asker.calls.call(server.id, verb)
    assert "secret" not in str(failed.value)


async def test_a_caller_that_has_stood_still_takes_the_answer(
    pair: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
):
    asker, server = pair
    began, go_on = asyncio.Event(), asyncio.Event()

    async def wait(call: Incoming) -> Any:
        began.set()
        await go_on.wait()
        return "done"

    server.calls.serve("wait", wait)
    waiting = asyncio.ensure_future(asker.calls.call(server.id, "wait", timeout=60))
    await began.wait()
    await stand_still(monkeypatch)
    go_on.set()

    assert await waiting == "done"


@pytest.mark.parametrize("stops", [True, False])
async def test_a_caller_that_stops_waiting_cancels_stoppable_work(pair: tuple[Node, Node], stops: bool):
    asker, server = pair
    log: list[str] = []
    go_on = asyncio.Event()

    async def wait(call: Incoming) -> Any:
        log.append("began")
        try:
            await go_on.wait()
        except asyncio.CancelledError:
            log.append("cancelled")
            raise
        log.append("ended")

    async def echo(call: Incoming) -> Any:
        return call.payload

    server.calls.serve("wait", wait, stops=stops)
    server.calls.serve("echo", echo)
    waiting = asyncio.ensure_future(asker.calls.call(server.id, "wait"))
    await until(lambda: log)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asker.calls.call(server.id, "echo")  # behind the cancellation
    go_on.set()

    await until(lambda: len(log) == 2)
    assert log == ["began", "cancelled" if stops else "ended"]


async def test_a_time_limit_ends_a_call(pair: tuple[Node, Node]):
    asker, server = pair
    began, ended = asyncio.Event(), asyncio.Event()

    async def wait(call: Incoming) -> Any:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    server.calls.serve("wait", wait)

    async def is_asked_in_time() -> bool:
        """On a busy machine the time may be over before the other one has begun: nothing is to end then."""
        with pytest.raises(TimeoutError):
            await asker.calls.call(server.id, "wait", timeout=0.05)
        return began.is_set()

    await until(is_asked_in_time)
    await asyncio.wait_for(ended.wait(), 60)


async def test_a_worker_that_has_said_goodbye_is_not_asked(pair: tuple[Node, Node]):
    asker, server = pair
    await server.relay.stop()
    await until(lambda: asker.relay.peers.is_gone(server.id, asker.relay.peers.now()))

    with pytest.raises(WorkerGone):
        await asker.calls.call(server.id, "echo")


async def test_calls_under_way_end_when_the_worker_is_gone(pair: tuple[Node, Node]):
    asker, server = pair
    began = asyncio.Event()

    async def wait(call: Incoming) -> Any:
        began.set()
        await asyncio.Event().wait()

    server.calls.serve("wait", wait)
    waiting = asyncio.ensure_future(asker.calls.call(server.id, "wait"))
    await asyncio.wait_for(began.wait(), 60)
    gone = replaced(asker.relay.peers, "is_gone", lambda worker_id, since: worker_id == server.id)
    with gone, pytest.raises(WorkerGone):
        await waiting


async def test_a_worker_alone_in_its_layer_asks_nobody():
    async with cluster("process") as processes:
        with pytest.raises(WorkerGone):
            await processes.node().calls.call(os.urandom(8).hex(), "echo")


async def test_a_call_leaves_nothing_behind(pair: tuple[Node, Node]):
    asker, server = pair

    async def echo(call: Incoming) -> Any:
        return call.payload

    server.calls.serve("echo", echo)
    for number in range(10):
        await asker.calls.call(server.id, "echo", number)

    await until(lambda: not server.calls._serving)
    assert not asker.calls._waiting


@pytest.mark.parametrize("lives", [True, False])
async def test_where_heartbeats_are_rare_a_worker_that_is_waited_for_is_greeted(lives: bool):
    """Its answers to greetings tell that it lives, although it sends nothing to all for minutes."""
    go_on, serving = asyncio.Event(), asyncio.Event()

    async def wait(call: Incoming) -> Any:
        serving.set()
        await go_on.wait()
        return "done"

    with (
        replaced(heartbeats, "MOST_PER_SECOND", 0.001),
        replaced(relay, "HEARTBEAT_SECONDS", 0.05),
        replaced(liveness, "QUIET_SECONDS", 0.1),
        replaced(liveness, "GONE_SECONDS", 0.8),
        replaced(liveness, "LONGEST_STEP_SECONDS", 0.2),
        replaced(calls, "LOOK_SECONDS", 0.05),
    ):
        async with cluster("lagging") as processes:
            asker, server = processes.node(), processes.node()
            for node in (asker, server):
                await node.relay.want([f"worker:{node.id}"])
            server.calls.serve("wait", wait)
            peers = asker.relay.peers
            waiting = asyncio.ensure_future(asker.calls.call(server.id, "wait"))
            await asyncio.wait_for(serving.wait(), 60)
            if lives:
                until_now = peers.now() + 3 * liveness.GONE_SECONDS
                await until(lambda: peers.now() > until_now)
                go_on.set()
                assert await waiting == "done"
            else:
                server.layer.cut()
                server.layer.down = True
                with pytest.raises(WorkerGone):
                    await waiting
                server.layer.down = False
