"""Subscribers of an address whose rule goes or comes back miss nothing, and hear of no gap that is none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import pytest

from routing_app.core.delivery.connection import Limits
from routing_app.core.delivery.publication import Position, Publication
from routing_app.core.streams import ordering
from routing_app.core.streams import streams as module
from routing_app.core.streams.replay import SHARE
from routing_app.core.streams.rules import RuleTable
from routing_app.core.streams.sequence import Sequence
from routing_app.core.streams.store import Page, StoreUnavailable
from tests.core.harness import Recorder, received, until_received
from tests.services.waiting import until
from tests.streams.client import MANY, Client
from tests.streams.harness import A, drop_first
from tests.streams.processes import Processes

pytestmark = pytest.mark.once


async def test_a_rule_that_ends_and_comes_again_disturbs_nobody_who_is_subscribed(two: Processes):
    near, far = await two.here.subscriber(A), await two.there.subscriber(A)
    told: list[str] = []
    near.on_gap = far.on_gap = lambda: told.append("gap")
    await two.here.publish(1, A)
    await until_received(far)
    for streams in two.streams:
        streams.use(RuleTable())
    await two.store.end(lambda address: False)
    await two.here.publish("without", A)
    await until_received(far, 2)
    for streams in two.streams:
        await streams.order.check_ends()
        streams.use(RuleTable([("token:*", 10, 300, False)]))

    await two.here.publish(2, A)
    await until_received(far, 3)
    await two.there.publish(3, A)

    assert await until_received(near, 4) == await until_received(far, 4) == [1, "without", 2, 3]
    assert told == []


async def test_what_waits_for_a_missing_message_comes_when_history_ends(two: Processes):
    far = await two.there.subscriber(A)
    told: list[str] = []
    far.on_gap = lambda: told.append("gap")
    two.layer.held = []
    for number in (1, 2):
        await two.here.publish(number, A)
    await until(lambda: len(two.layer.held or []) == 2)
    two.store.down = True
    two.layer.release(drop_first)
    assert received(far) == []

    two.there_streams.use(RuleTable())

    assert await until_received(far) == [2]
    assert told == ["gap"]


async def test_a_replay_whose_rule_is_deleted_is_told_of_a_gap_before_what_follows(
    two: Processes, reader: Client
):
    two.here_streams.use(RuleTable([("token:*", *MANY, False)]))
    for number in range(300):
        await two.here.publish(number, A)
    start = Position((await two.store.read(A, MANY)).epoch, 0)
    limits = Limits(outbox_frames=100, outbox_bytes=10**6)
    await reader.connect(two.here, two.here_streams, A, since={A: start}, limits=limits)
    assert reader.connection is not None
    writer, outbox = reader.connection.writer, reader.connection.outbox
    assert isinstance(writer, Recorder)
    writer.stuck = True
    await until(lambda: outbox.filled > SHARE)
    told: list[int] = []
    reader.connection.on_gap = lambda: told.append(len(writer.held))
    sent = len(writer.held)

    two.here_streams.use(RuleTable([("channel:*", *MANY, False)]))
    await two.here.publish("after", A)
    writer.release()

    assert await reader.until_read(sent + 1) == [*range(sent), "after"]
    assert told == [sent]
    await until(lambda: not two.here_streams.replays._running)
    assert not two.here.hub.holds.has(reader.connection, A)


async def test_a_subscription_that_fails_holds_nobody_up_who_came_before_the_rule(two: Processes):
    two.here_streams.use(RuleTable())
    early = await two.here.subscriber(A)
    two.here_streams.use(RuleTable([("token:*", *MANY, False)]))
    other = two.here.connect()
    subscribing = asyncio.ensure_future(two.here.hub.subscribe(other, A, "token:other"))
    await until(lambda: A in other.addresses)
    subscribing.cancel()
    await asyncio.gather(subscribing, return_exceptions=True)
    assert not other.addresses

    for number in range(5):
        await two.here.publish(number, A)

    assert await until_received(early, 5) == list(range(5))


async def test_an_order_that_was_given_up_while_its_end_was_looked_for_goes_on(
    two: Processes, monkeypatch: pytest.MonkeyPatch
):
    """It does not fall back behind what was delivered: that would come again."""
    monkeypatch.setattr(ordering, "MAX_HELD", 3)
    looked, found, ends = asyncio.Event(), asyncio.Event(), two.there_streams.order._ends

    async def late(sequences: Iterable[Sequence]) -> dict[str, Page]:
        pages = await ends(sequences)
        looked.set()
        await found.wait()
        return pages

    monkeypatch.setattr(two.there_streams.order, "_ends", late)
    far = two.there.connect()
    far.on_gap = lambda: None
    subscribing = asyncio.ensure_future(two.there.hub.subscribe(far, A))
    await looked.wait()
    for number in range(5):
        await two.here.publish(number, A)
    await until_received(far, 5)

    found.set()
    await subscribing
    for publication in list(await kept_at(two, A)):
        two.there.hub.deliver(publication)
    await two.here.publish(5, A)

    assert await until_received(far, 6) == list(range(6))


async def kept_at(two: Processes, address: str) -> list[Publication]:
    """The publications in the stream of an address, as they come once more."""
    page = await two.store.read(address, MANY, Position((await two.store.read(address, MANY)).epoch, 0))
    return [entry.publication for entry in page.entries]


async def test_streams_are_ended_by_the_rules_of_the_moment(two: Processes, monkeypatch: pytest.MonkeyPatch):
    """The store did not answer when the rules of before were read."""
    monkeypatch.setattr(module, "READ_SECONDS", 0.0)
    one, ended = two.here_streams, asyncio.Event()
    one._ends_streams = True
    end = two.store.end

    async def end_late(is_kept: Callable[[str], bool]) -> None:
        if not ended.is_set():
            one.use_rows([("token:*", 10, 300, False)])
            await two.here.publish("kept", A)
            ended.set()
            raise StoreUnavailable("out")
        await end(is_kept)

    monkeypatch.setattr(two.store, "end", end_late)
    one.use_rows([("channel:*", 10, 300, False)])
    await ended.wait()
    await one.ended()

    assert [one.message for one in await kept_at(two, A)] == ["kept"]
