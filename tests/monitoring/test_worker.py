"""Workers of this process: what they note, and what it costs to ask them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest

from routing_app.console.topics import connections as connections_topic
from routing_app.console.topics.overview import OverviewTopic
from routing_app.console.topics.topic import TopicError
from routing_app.core import metrics
from routing_app.core.access.masking import SecretAccess
from routing_app.core.cluster.calls import Incoming
from routing_app.core.codes import SLOW
from routing_app.core.delivery.connection import Connection, Peer, new_id
from routing_app.core.monitoring import addresses as addresses_module
from routing_app.core.monitoring import cluster as cluster_module
from routing_app.core.monitoring import lists, monitor, overview
from routing_app.core.monitoring.addresses import AddressQuery
from routing_app.core.monitoring.connections import Query
from routing_app.core.monitoring.events import Event
from routing_app.core.monitoring.paging import Page
from routing_app.core.monitoring.workers import Lease, Members
from routing_app.core.worker import Worker
from tests.core.harness import PLAIN, Recorder
from tests.core.layers import Bus, LaggingLayer
from tests.services.waiting import until

pytestmark = pytest.mark.once

ROOT = SecretAccess(everything=True)


@pytest.fixture
async def pair(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Worker, Worker]]:
    """Two workers that know of each other, without a database, and wait as long as a busy machine needs."""
    monkeypatch.setattr(cluster_module, "ANSWER_SECONDS", 60.0)
    monkeypatch.setattr(overview, "PATIENCE_SECONDS", 60.0)
    bus, loop = Bus(), asyncio.get_running_loop()
    layers = [LaggingLayer(bus), LaggingLayer(bus)]
    workers = [Worker(layer, loop) for layer in layers]
    for one in workers:
        await one.relay.want([f"worker:{one.id}"])
    rows = [Lease(one.id, "host", 1, 0.0, 1.0) for one in workers]
    monkeypatch.setattr(cluster_module, "leases", lambda: rows)
    monkeypatch.setattr(cluster_module, "query", _at_once)
    for one in workers:  # on a busy machine the first reading may take longer than is waited for it
        await until(partial(_knows_both, one))
    yield workers[0], workers[1]
    for one in workers:
        await one.stop()
    for layer in layers:
        await layer.flush()


async def _at_once(look: Callable[[], Any]) -> Any:
    return look()


async def _knows_both(worker: Worker) -> bool:
    return len(await worker.monitor.cluster.workers()) == 2


def connect(worker: Worker, host: str = "192.0.2.1") -> Connection:
    one = Connection(new_id(worker.id), "test", Recorder(), worker.flusher, PLAIN, Peer(host, 1))
    worker.hub.add(one)
    return one


def counted(worker: Worker, verb: str) -> list[Any]:
    """The payloads with which a worker is asked something from now on."""
    asked: list[Any] = []

    async def serve(call: Incoming) -> Any:
        asked.append(call.payload)
        return await worker.monitor.here(verb, call.payload)

    worker.calls.serve(verb, serve)
    return asked


def counts_rates(worker: Worker) -> bool:
    return worker.hub.rates is not None


async def test_readings_that_come_together_ask_each_worker_once(pair: tuple[Worker, Worker]) -> None:
    here, there = pair
    asked = counted(there, "monitoring.now")
    overview = here.monitor.overview

    found = await asyncio.gather(overview.read(), overview.read(), overview.read())

    assert len(asked) == 1
    assert [len(one["workers"]) for one in found] == [2, 2, 2]


async def test_a_worker_that_does_not_answer_is_asked_once_and_shown_as_it_was(
    pair: tuple[Worker, Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = pair
    monkeypatch.setattr("routing_app.core.monitoring.overview.FRESH_SECONDS", 0.0)
    monkeypatch.setattr("routing_app.core.monitoring.overview.PATIENCE_SECONDS", 0.05)
    overview = here.monitor.overview

    async def seen() -> Any:
        row = {one["id"]: one for one in (await overview.read())["workers"]}.get(there.id)
        return row if row and row["age"] is not None else None

    before = await until(seen)
    asked, hangs = [], asyncio.Event()

    async def hang(call: Incoming) -> Any:
        asked.append(call.payload)
        await hangs.wait()
        return await there.monitor.here("monitoring.now", call.payload)

    there.calls.serve("monitoring.now", hang)
    for _ in range(5):
        found = {one["id"]: one for one in (await overview.read())["workers"]}
    assert len(asked) == 1
    assert found[there.id]["started_at"] == before["started_at"]
    assert found[there.id]["age"] > found[here.id]["age"]
    hangs.set()


async def test_a_connection_whose_worker_does_not_answer_has_not_ended(
    pair: tuple[Worker, Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = pair
    monkeypatch.setattr(connections_topic, "current_worker", lambda: here)
    viewer: Any = SimpleNamespace(member=SimpleNamespace(secrets=ROOT))
    params, hangs = {"id": connect(there).id}, asyncio.Event()

    async def read() -> Any:
        return await connections_topic.ConnectionTopic().read(viewer, params)

    async def hang(call: Incoming) -> None:
        await hangs.wait()

    assert (await read())["id"] == params["id"]
    there.calls.serve("monitoring.connection", hang)
    monkeypatch.setattr(cluster_module, "ANSWER_SECONDS", 0.05)
    with pytest.raises(TopicError) as refused:
        await read()
    assert refused.value.status == 503  # with which a watch goes on
    hangs.set()


async def test_rates_are_counted_only_while_somebody_asks(pair: tuple[Worker, Worker]) -> None:
    here, there = pair
    assert not counts_rates(here)
    await lists.addresses(here.monitor.cluster, ROOT, AddressQuery(), Page())
    assert counts_rates(here)
    there.monitor._end_rates()
    assert counts_rates(there)

    there.monitor._rates_until -= monitor.WATCHED_SECONDS + 1
    there.monitor._end_rates()
    assert not counts_rates(there)


async def test_deep_lists_of_many_addresses_have_the_right_numbers(
    pair: tuple[Worker, Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses_module.select, "__defaults__", (5,))
    for worker, names in zip(pair, (range(20), range(10, 30)), strict=True):
        subscriber = connect(worker)
        for name in names:
            worker.hub._add(subscriber, f"token:{name:02}")
    cluster = pair[0].monitor.cluster

    few = await lists.addresses(cluster, ROOT, AddressQuery(search="token:1"), Page(size=3))
    shown = {row["address"]: row["total"] for row in few["rows"]}
    assert (few["exact"], shown) == (False, {f"token:{name}": 2 for name in (10, 11, 12)})
    one = await lists.addresses(cluster, ROOT, AddressQuery(search="token:29"), Page())
    assert (one["exact"], one["count"]) == (True, 1)


async def test_many_connections_are_looked_at_in_slices(pair: tuple[Worker, Worker]) -> None:
    here, _ = pair
    for number in range(3000):
        connect(here, f"192.0.{number % 200}.1").received = number
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.ensure_future(count_turns())
    found = await lists.connections(here.monitor.cluster, ROOT, Query(sort="received"), Page(2, 100))
    counting.cancel()

    assert [row["received"] for row in found["rows"]] == list(range(2899, 2799, -1))
    assert (found["count"], found["pages"]) == (3000, 30)
    assert turns >= 6


async def test_a_sample_notes_what_has_changed(pair: tuple[Worker, Worker]) -> None:
    worker, _ = pair
    sampler = worker.monitor._sampler
    sampler.sample()
    metrics.CLOSED.labels("test", SLOW.name).inc(3)
    metrics.DELIVERED.inc(5)
    worker.monitor._readings._worst_lag = 1.5
    sampler.sample()
    worker.monitor.webhook_off(7)

    kept = {event.kind: event for event in worker.monitor.events._kept}
    assert kept["slow"].count == 3
    assert kept["loop_blocked"].text == "the event loop was blocked for 1.5 s"
    assert kept["webhook_off"].text.startswith("webhook 7 ")
    assert worker.monitor.history.at(worker.monitor.history.last)["memory"] > 10_000_000


async def test_a_layer_that_is_down_and_back_is_two_events(pair: tuple[Worker, Worker]) -> None:
    worker, _ = pair
    sampler = worker.monitor._sampler
    sampler.sample()
    answered = worker.relay._answered_at  # type: ignore[union-attr]  # one layer, so one relay
    worker.relay._answered_at = answered - 1000  # type: ignore[union-attr]
    sampler.sample()
    worker.relay._answered_at = asyncio.get_running_loop().time()  # type: ignore[union-attr]
    sampler.sample()

    kinds = [event.kind for event in worker.monitor.events._kept]
    assert kinds == ["redis_down", "redis_up"]


async def test_a_connection_whose_worker_no_database_names_has_not_ended(
    pair: tuple[Worker, Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = pair

    def out() -> None:
        raise OSError

    monkeypatch.setattr(cluster_module, "leases", out)
    monkeypatch.setattr(cluster_module, "READ_SECONDS", 0.0)
    monkeypatch.setattr(here.monitor.cluster, "members", Members())
    with pytest.raises(cluster_module.NoAnswer):
        await lists.connection(here.monitor.cluster, ROOT, connect(there).id)


async def test_a_page_is_told_of_what_happens_while_its_past_is_read(
    pair: tuple[Worker, Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages that have begun are told of it meanwhile, so it is not new to them later."""
    here, _ = pair
    monkeypatch.setattr("routing_app.console.topics.overview.current_worker", lambda: here)
    topic, viewer = OverviewTopic(), cast(Any, SimpleNamespace(has_perm=lambda _: False))
    shown = here.monitor.overview
    happened = Event(number=1, second=1, kind="worker_gone", text="it has ended")

    async def past() -> dict[str, Any]:
        shown._take_events("w", [happened.shown("w")])
        await topic.read(viewer, {})
        return {}

    monkeypatch.setattr(shown, "past", past)
    begun = await topic.begin(viewer, {})

    assert [event["kind"] for event in begun["events"]] == ["worker_gone"]


async def test_a_slow_loop_is_measured(pair: tuple[Worker, Worker]) -> None:
    readings = pair[0].monitor._readings
    timing = asyncio.ensure_future(readings.time_loop())
    await asyncio.sleep(0)
    time.sleep(0.4)  # noqa: ASYNC251 - blocks the loop, as a bad handler does
    worst = await until(readings.take_worst_lag)
    timing.cancel()
    assert worst >= 0.1
    assert readings.take_worst_lag() < worst
