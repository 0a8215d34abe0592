"""Traces of one worker: what they follow and note, what they take back, and how they end by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from routing_app.core.cluster.calls import CallRefused
from routing_app.core.codes import KICKED
from routing_app.core.delivery.connection import Connection
from routing_app.core.frame_trace import traces
from routing_app.core.frame_trace.recording import Recording
from routing_app.core.frame_trace.target import Target
from routing_app.core.frame_trace.traces import MAX_FOLLOWED, MAX_TRACES, FrameTraces, Running
from routing_app.core.frame_trace.watch import READ_SECONDS
from tests.core.harness import Node, metric, received
from tests.core.layers import cluster
from tests.services.waiting import until

pytestmark = pytest.mark.once

ONE = "token:one"


class Worker(Node):
    """A process that can be traced."""

    def __init__(self, layer: Any) -> None:
        super().__init__(layer)
        self.records: list[Any] = []
        presence: Any = SimpleNamespace(on_record=self.records)
        self.traces = FrameTraces(self.hub, presence, self.calls, asyncio.ensure_future)

    async def trace(self, kind: str, value: str, bodies: bool = True, id: str = "t") -> None:
        """Begin a trace."""
        await self.traces.begin(id, kind, value, bodies, 600)

    async def shown(self, id: str = "t") -> list[tuple[Any, ...]]:
        """What a trace has noted: direction, connection, size, body or code."""
        frames = (await self.traces.read(id))["frames"]
        return [
            (one["direction"], one["connection"], one["size"], one.get("code") or one["body"])
            for one in frames
        ]


@pytest.fixture
async def worker(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Worker]:
    monkeypatch.setattr(traces, "WAIT_SECONDS", 0.05)
    monkeypatch.setattr(traces, "BATCH_SECONDS", 0.0)
    monkeypatch.setattr(traces, "LEASE_SECONDS", 3600.0)  # a busy machine may not come to read for long
    async with cluster("process") as processes:
        one = Worker(processes.node().layer)
        processes.nodes.append(one)
        yield one


def followed() -> float:
    """Connections whose frames are noted now."""
    return metric("switchboard_traced_connections")


def writers(*connections: Connection) -> list[Any]:
    """The writers that outboxes write to."""
    return [connection.outbox.writer for connection in connections]


async def test_what_is_written_to_a_subscriber_is_noted_and_still_written(worker: Worker):
    one, other = await worker.subscriber(ONE), await worker.subscriber("token:two")
    await worker.trace("address", ONE)
    await worker.publish("é", ONE, "token:two")
    await worker.publish(2, ONE)
    await until(lambda: received(one) == ["é", 2] and received(other) == ["é"])

    assert await worker.shown() == [("out", one.id, 8, '"\\u00e9"'), ("out", one.id, 1, "2")]


async def test_nothing_is_in_the_way_before_a_trace_and_after_it(worker: Worker):
    connections = [await worker.subscriber(ONE) for _ in range(3)]
    own = [connection.writer for connection in connections]
    assert (writers(*connections), worker.hub.traces, worker.records) == (own, None, [])

    await worker.trace("address", ONE)
    await worker.trace("connection", connections[0].id, id="second")
    assert (followed(), worker.hub.traces) == (3, worker.traces)
    assert not set(writers(*connections)) & set(own)

    await worker.traces.end("t")
    assert (writers(*connections)[1:], followed()) == (own[1:], 1)
    assert writers(*connections)[0] is not own[0]
    await worker.traces.end("second")
    assert (writers(*connections), worker.hub.traces, worker.records) == (own, None, [])
    assert all(connection.follower is None for connection in connections)


async def test_a_connection_that_comes_to_match_is_followed_from_then_on(worker: Worker):
    await worker.trace("address", ONE)
    await worker.trace("identity", "alice", id="identity")
    late = worker.connect()
    late.send("before")
    await until(lambda: late.outbox.size == 0)
    await worker.hub.subscribe(late, ONE)
    late.send("after")
    late.identity = "alice"
    for hook in worker.records:
        hook(late)
    await until(lambda: late.outbox.size == 0)

    assert await worker.shown() == [("out", late.id, 5, "after")]
    assert await worker.shown("identity") == [("out", late.id, 5, "after")]


async def test_a_close_is_noted_and_a_connection_that_has_gone_is_not_kept(worker: Worker):
    one = await worker.subscriber(ONE)
    await worker.trace("address", ONE)
    one.close(KICKED)
    worker.hub.drop(one)

    assert await worker.shown() == [("out", one.id, 2 + len(KICKED.reason), KICKED.code)]
    assert (followed(), one.outbox.writer) == (0, one.writer)


async def looking(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Connection], Any]:
    """Six connections, of which a trace has looked at two; the task of its begin."""
    monkeypatch.setattr(traces, "SLICE", 2)
    connections = [await worker.subscriber(ONE) for _ in range(6)]
    for connection in connections:
        connection.identity = "alice"
    begin = asyncio.ensure_future(worker.trace("identity", "alice"))
    await asyncio.sleep(0)
    assert followed() == 2
    return connections, begin


async def test_a_trace_that_ends_while_it_begins_follows_nothing(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
):
    connections, begin = await looking(worker, monkeypatch)
    await worker.traces.end("t")
    await begin
    assert (followed(), worker.hub.traces, worker.records) == (0, None, [])
    assert writers(*connections) == [connection.writer for connection in connections]
    assert all(connection.follower is None for connection in connections)


async def test_what_goes_while_a_trace_begins_is_not_followed(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
):
    connections, begin = await looking(worker, monkeypatch)
    for connection in connections[1:4]:
        connection.mark_closed()
        worker.hub.drop(connection)
    await begin
    assert (followed(), (await worker.traces.read("t"))["followed"]) == (3, 3)


async def test_so_many_connections_are_followed_and_the_others_are_counted(worker: Worker):
    connections = [await worker.subscriber(ONE) for _ in range(MAX_FOLLOWED + 5)]
    await worker.trace("address", ONE)
    batch = await worker.traces.read("t")
    assert (batch["followed"], batch["left_out"]) == (MAX_FOLLOWED, 5)
    own = [one for one in connections if one.outbox.writer is one.writer]
    assert len(own) == 5


async def test_a_trace_that_nobody_reads_ends_by_itself(worker: Worker, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(traces, "LEASE_SECONDS", 0.1)
    monkeypatch.setattr(traces, "LOOK_SECONDS", 0.01)
    one = await worker.subscriber(ONE)
    await worker.trace("address", ONE)
    await until(lambda: followed() == 0)
    assert one.outbox.writer is one.writer
    with pytest.raises(CallRefused):
        await worker.traces.read("t")
    assert await worker.traces.end("t") is None


def test_a_trace_outlives_a_reader_that_stands_still_for_some_seconds():
    running = Running(Target.of("address", ONE), Recording(bodies=False), until=600.0)
    running.read_at = 100.0
    assert not running.is_over(100.0 + READ_SECONDS)
    assert running.is_over(120.0)
    assert READ_SECONDS >= 10


async def test_a_batch_that_gets_lost_on_its_way_is_given_again(worker: Worker):
    """To a reader that says so; and where a read that nobody waits for any more has taken it."""
    one = await worker.subscriber(ONE)
    await worker.trace("address", ONE)
    await worker.publish("first", ONE)
    await until(lambda: received(one) == ["first"])

    lost = await worker.traces.read("t", 0)
    again = await worker.traces.read("t", 0)
    assert [frame["body"] for frame in again["frames"]] == ['"first"']
    assert (lost["number"], again["number"]) == (1, 1)
    forgotten, waiting = (asyncio.ensure_future(worker.traces.read("t", 1)) for _ in range(2))
    await asyncio.sleep(0)
    await worker.publish("second", ONE)
    both = await asyncio.gather(forgotten, waiting)
    assert [(batch["number"], len(batch["frames"])) for batch in both] == [(2, 1)] * 2
    assert (await worker.traces.read("t", 2))["frames"] == []


async def test_a_trace_ends_when_its_time_is_over_although_it_is_read(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(traces, "LOOK_SECONDS", 0.01)
    await worker.traces.begin("t", "address", ONE, False, 0.2)

    async def read_on() -> None:
        while True:
            await worker.traces.read("t")

    with pytest.raises(CallRefused):
        await read_on()


async def test_more_traces_than_the_bound_are_refused(worker: Worker):
    for number in range(MAX_TRACES):
        await worker.trace("address", ONE, id=str(number))
    with pytest.raises(CallRefused, match=str(MAX_TRACES)):
        await worker.trace("address", ONE, id="one more")
    await worker.traces.end("0")
    await worker.trace("address", ONE, id="one more")
