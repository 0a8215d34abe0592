"""Epochs that end, and gaps: told before what follows, and all that is left comes in order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from routing_app.core.delivery.connection import Connection
from routing_app.core.delivery.publication import Publication
from routing_app.core.streams.store import Bounds
from tests.core.harness import received, until_received
from tests.services.waiting import until
from tests.streams.harness import A, B
from tests.streams.processes import Processes

pytestmark = pytest.mark.once


def note_gaps(connection: Connection) -> list[int]:
    """How many messages had come whenever a gap was told."""
    told: list[int] = []
    connection.on_gap = lambda: told.append(len(received(connection)))
    return told


async def hold(two: Processes, *plan: tuple[str, ...]) -> list[Publication]:
    """Publish messages 0, 1, 2, … to addresses; the layer has them, and delivers none."""
    two.layer.held = []
    for number, addresses in enumerate(plan):
        await two.here.publish(number, *addresses)
    await until(lambda: len({one.message for one in two.layer.held or []}) == len(plan))
    held, two.layer.held = two.layer.held, None
    now = two.there.hub._clock()
    return [replace(one, published_at=now) for one in sorted(held, key=lambda one: one.message)]


async def test_what_was_published_before_a_subscription_is_next_to_its_position(two: Processes):
    """The position that a subscriber was told is the end of what was delivered, not of the stream."""
    early = await two.there.subscriber(A)
    (one,) = await hold(two, (A,))
    late = await two.there.subscriber(A)
    position = two.there_streams.order.position(A)
    assert position is not None
    assert position.offset == 0

    two.there.hub.deliver(one)

    assert await until_received(early) == await until_received(late) == [0]


async def test_a_replay_that_ends_before_a_late_message_leaves_it_to_the_hub(two: Processes):
    early = await two.there.subscriber(A)
    await two.here.publish("first", A)
    await until_received(early)
    begin = two.there_streams.order.position(A)
    assert begin is not None
    (late,) = await hold(two, (A,))
    back = two.there.connect()
    attached = await two.there_streams.replays.attach(back, [A], since={A: begin})
    attached.start()
    await until(lambda: not two.there.hub.holds.has(back, A))

    two.there.hub.deliver(late)

    assert await until_received(back) == [0]


async def test_a_gap_is_told_before_what_follows_it(two: Processes):
    far = await two.there.subscriber(A)
    told = note_gaps(far)
    two.layer.lose = lambda publication: publication.message < 14
    for number in range(15):
        await two.here.publish(number, A)

    assert await until_received(far, 10) == list(range(5, 15))
    assert told == [0]


async def test_several_streams_with_nothing_between_them_are_one_gap(two: Processes):
    far = await two.there.subscriber(A, B)
    told = note_gaps(far)
    sequences = [two.there_streams.order._sequences[one] for one in (A, B)]

    for sequence in sequences:
        two.there_streams.order._gap(sequence)

    assert told == [0]


async def test_a_later_gap_is_told_again(two: Processes):
    far = await two.there.subscriber(A)
    told = note_gaps(far)
    order = two.there_streams.order
    for _ in range(2):
        order._gap(order._sequences[A])
        await until(lambda: not order._told)

    assert told == [0, 0]


async def test_what_is_left_of_an_epoch_comes_in_order_though_it_waits_at_another_address(two: Processes):
    """The first one lets another stream go on, up to one that is not yet the next here."""
    one, other = await two.there.subscriber(A), await two.there.subscriber(B)
    told = note_gaps(one)
    held = await hold(two, (A,), (A, B), (A,), (A, B))
    two.store.down = True
    for publication in held[1:]:
        two.there.hub.deliver(publication)
    two.store._streams.pop(A)  # a crash of one server
    two.store.down = False
    await two.here.publish("new", A)
    await until(lambda: "new" in received(one))

    assert received(one) == [1, 2, 3, "new"]
    assert received(other) == [1, 3]
    assert told == [0]


async def test_an_epoch_that_is_over_does_not_come_back(two: Processes):
    """What was held of it comes before the new one; what is late is dropped, since a gap was told."""
    far = await two.there.subscriber(A)
    told: list[int] = []
    far.on_gap = lambda: told.append(len(received(far)))
    two.layer.held = []
    for number in range(5):
        await two.here.publish(number, A)
    await until(lambda: len(two.layer.held or []) == 5)
    held, two.layer.held = two.layer.held, None
    for number in (0, 2, 4):
        two.there.hub.deliver(held[number])
    await two.here_streams.delete(A, Bounds(10, 300))
    await two.here.publish("new", A)
    await until(lambda: "new" in received(far))

    two.there.hub.deliver(held[3])
    await two.here.publish("newer", A)

    await until(lambda: "newer" in received(far))
    assert received(far) == [0, 2, 4, "new", "newer"]
    assert len(told) == 1
