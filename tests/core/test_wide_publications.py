"""A publication to many addresses crosses the layer once, and keeps its place in the order."""

from __future__ import annotations

import pytest

from routing_app.core.cluster.batching import WIDE, Batches
from routing_app.core.delivery.publication import Publication
from tests.core.harness import received, until_received
from tests.core.layers import Cluster, LaggingLayer

pytestmark = pytest.mark.once

MANY = tuple(f"token:{number}" for number in range(200))


async def test_many_addresses_are_one_envelope_and_each_connection_gets_one_message(processes: Cluster):
    here, there = processes.node(), processes.node()
    subscribers = [await there.subscriber(*MANY[start : start + 3]) for start in range(0, 60, 2)]
    await here.publish("before", MANY[4])
    await here.publish("wide", *MANY)
    await here.publish("after", MANY[4])

    for subscriber in subscribers:
        await until_received(subscriber, 3 if MANY[4] in subscriber.addresses else 1)
        expected = ["before", "wide", "after"] if MANY[4] in subscriber.addresses else ["wide"]
        assert received(subscriber) == expected


async def test_the_layer_is_asked_once_for_many_addresses(lagging: Cluster):
    here, there = lagging.node(), lagging.node()
    subscriber = await there.subscriber(MANY[0])
    layer = here.layer
    assert isinstance(layer, LaggingLayer)
    sends = layer.sends
    await here.publish("wide", *MANY)
    await until_received(subscriber)
    assert layer.sends - sends < WIDE


@pytest.mark.parametrize(("count", "envelopes"), [(1, 1), (2, 2), (WIDE, WIDE), (WIDE + 1, 1), (200, 1)])
def test_the_cost_of_a_publication(count: int, envelopes: int):
    outgoing = Batches()
    outgoing.add(Publication(MANY[:count], "x", id="1"), MANY[:count])
    assert outgoing.backlog == envelopes
    for _, items in outgoing.take():
        outgoing.sent(len(items))
    assert outgoing.backlog == 0


def test_later_messages_come_after_a_wide_one():
    outgoing = Batches()
    for message, addresses in (("1", MANY[:1]), ("2", MANY), ("3", MANY[:1]), ("4", MANY[:1])):
        outgoing.add(Publication(addresses, message), addresses)
    order = [item[1] for _, items in outgoing.take() for item in items]
    assert order == ["1", "2", "3", "4"]
