"""Publishing without waiting, and from synchronous code in any thread."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from asgiref.sync import sync_to_async

from routing_app.core.cluster import batching
from routing_app.core.cluster.relay import Relay
from routing_app.core.delivery.publication import Publication
from routing_app.core.publishing import publish_sync
from routing_app.core.synchronous import from_sync
from routing_app.core.worker import Worker, current_worker, drop_worker, serving_loop
from tests.core.harness import received, replaced, until_received
from tests.core.layers import Cluster
from tests.services.waiting import until


async def test_publications_made_soon_are_here_at_once_and_with_the_others_soon(processes: Cluster):
    here, there = processes.node(), processes.node()
    near, far = await here.subscriber("channel:c"), await there.subscriber("channel:c")
    delivered = here.hub.publish_soon(Publication(("channel:c",), "hello"))

    assert delivered == 1
    assert await until_received(far) == ["hello"]
    assert await until_received(near) == ["hello"]


async def test_order_holds_while_the_backlog_is_full(processes: Cluster):
    here, there = processes.node(), processes.node()
    far = await there.subscriber("channel:c")
    with replaced(batching, "BACKLOG", 5):
        for number in range(50):
            here.hub.publish_soon(Publication(("channel:c",), number))
        await until_received(far, 50)

    assert received(far) == list(range(50))


async def test_later_publications_do_not_overtake_those_published_soon(processes: Cluster):
    here, there = processes.node(), processes.node()
    far = await there.subscriber("channel:c")
    with replaced(batching, "BACKLOG", 5):
        for number in range(10):
            here.hub.publish_soon(Publication(("channel:c",), number))
        for number in range(10, 20):
            await here.publish(number, "channel:c")
        await until_received(far, 20)

    assert received(far) == list(range(20))


async def test_synchronous_code_of_a_serving_process_runs_on_its_loop():
    worker = current_worker()
    worker.serving = True
    try:

        async def where() -> asyncio.AbstractEventLoop:
            return asyncio.get_running_loop()

        with ThreadPoolExecutor(1) as pool:
            loop = await asyncio.get_running_loop().run_in_executor(pool, from_sync(where))
        assert loop is asyncio.get_running_loop() is serving_loop()
    finally:
        worker.serving = False
        drop_worker()


async def _where() -> tuple[asyncio.AbstractEventLoop, Worker]:
    return asyncio.get_running_loop(), current_worker()


async def test_a_view_of_a_process_that_has_served_nobody_yet_leaves_its_worker_alone(worker: Worker):
    """Sockets may come at this very moment: they and the view have one worker."""
    assert not worker.serving

    loop, theirs = await sync_to_async(from_sync(_where))()
    await worker.start()

    assert (loop, theirs) == (asyncio.get_running_loop(), worker)
    assert current_worker() is worker


async def test_a_loop_that_was_made_for_one_call_leaves_nothing_behind(worker: Worker):
    with ThreadPoolExecutor(1) as pool:
        loop, theirs = await asyncio.get_running_loop().run_in_executor(pool, from_sync(_where))

    assert loop.is_closed()
    assert theirs is not worker
    assert isinstance(theirs.relay, Relay)
    assert theirs.relay._sender is None


@pytest.mark.django_db(transaction=True)
async def test_a_publication_of_a_process_that_serves_nobody_warns_where_it_reaches_nobody(
    worker: Worker, caplog: pytest.LogCaptureFixture
):
    with ThreadPoolExecutor(1) as pool:
        await asyncio.get_running_loop().run_in_executor(pool, publish_sync, ("channel:c",), "hello")

    assert ("nobody was reached" in caplog.text) is not worker.relay.reaches_others


async def test_a_call_that_takes_too_long_is_cancelled_on_the_serving_loop(worker: Worker):
    await worker.start()
    began: list[None] = []
    ended: list[BaseException] = []

    async def dawdle() -> None:
        began.append(None)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            ended.append(error)
            raise

    async def has_begun_in_time() -> bool:
        """On a busy machine the time may be over before the loop comes to it: nothing is to end then."""
        with ThreadPoolExecutor(1) as pool, pytest.raises(TimeoutError):
            await asyncio.get_running_loop().run_in_executor(pool, from_sync(dawdle, wait=0.05))
        return bool(began)

    await until(has_begun_in_time)
    await until(lambda: len(ended) == len(began))


async def test_on_a_running_loop_the_synchronous_form_is_refused():
    with pytest.raises(RuntimeError, match="event loop"):
        publish_sync(("channel:c",), "hello")
