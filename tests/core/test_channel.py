"""The channel of a process that cannot be opened at once: there is one, and nothing piles up in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from routing_app.core.address import group_name
from routing_app.core.cluster import relay, subscriptions
from routing_app.core.cluster.batching import EVERYBODY, WIDE
from routing_app.core.cluster.subscriptions import LayerUnavailable
from tests.core.harness import Node, replaced, until_received
from tests.core.layers import Cluster, cluster, layer_of
from tests.services.waiting import until

pytestmark = pytest.mark.once

MANY = tuple(f"token:{number}" for number in range(WIDE + 1))
"""The addresses of a wide publication."""


@contextmanager
def refusing(node: Node, address: str) -> Iterator[None]:
    """While it lasts, the layer of a process refuses to subscribe to an address."""
    add = node.layer.group_add

    async def add_or_refuse(group: str, channel: str) -> None:
        if group == group_name(address):
            raise ConnectionError("gone between two commands")
        await add(group, channel)

    with replaced(node.layer, "group_add", add_or_refuse):
        yield


async def try_to_open(node: Node, attempts: int = 3) -> None:
    for _ in range(attempts):
        with pytest.raises(LayerUnavailable):
            await node.relay.want([f"worker:{node.id}"])


@pytest.mark.parametrize("refused", ["everybody", "own"])
async def test_attempts_to_open_share_one_channel(lagging: Cluster, refused: str):
    here = lagging.node()
    with refusing(here, EVERYBODY if refused == "everybody" else f"worker:{here.id}"):
        await try_to_open(here)
    await here.relay.want([f"worker:{here.id}"])

    assert len(layer_of(here)._queues) == 1


async def test_what_comes_before_the_channel_is_open_is_neither_kept_nor_delivered_later(lagging: Cluster):
    here, there = lagging.node(), lagging.node()
    with replaced(relay, "HEARTBEAT_SECONDS", 0.01):
        with refusing(here, f"worker:{here.id}"):
            await try_to_open(here)
            await until(lambda: group_name(EVERYBODY) in layer_of(here).held())
            sends = layer_of(there).sends
            await there.publish("before", *MANY)
            await until(lambda: layer_of(there).sends > sends)
            await until(lambda: all(queue.empty() for queue in layer_of(here)._queues.values()))
        subscriber = await here.subscriber(*MANY)
        await there.publish("after", *MANY)

    assert await until_received(subscriber) == ["after"]


async def test_a_subscription_that_takes_too_long_can_be_repeated_with_the_same_channel(lagging: Cluster):
    here, there = lagging.node(), lagging.node()
    add, hanging = here.layer.group_add, {group_name(f"worker:{here.id}")}

    async def add_or_hang(group: str, channel: str) -> None:
        await add(group, channel)
        await until(lambda: group not in hanging)

    with replaced(here.layer, "group_add", add_or_hang), replaced(subscriptions, "CONFIRM_SECONDS", 0.05):
        await try_to_open(here)
    hanging.clear()
    subscriber = await here.subscriber("token:a")
    await there.publish("after", "token:a")

    assert await until_received(subscriber) == ["after"]
    assert len(layer_of(here)._queues) == 1


async def test_a_process_that_never_opened_its_channel_ends_with_it(lagging: Cluster):
    here, there = lagging.node(), lagging.node()
    with refusing(here, f"worker:{here.id}"):
        await try_to_open(here)
    before, reader = here.relay._channel.name, here.relay._channel._reader
    await here.relay.stop()
    assert reader is not None
    assert reader.done()
    subscriber = await here.subscriber("token:a")
    await there.publish("after", "token:a")

    assert await until_received(subscriber) == ["after"]
    assert here.relay._channel.name != before


async def test_attempts_with_redis_share_one_channel(redis_url: str):
    """The library notes the membership before it subscribes, so a failed attempt leaves it."""
    async with cluster("redis", redis_url) as processes:
        here, there = processes.node(), processes.node()
        layer = here.layer._get_layer()
        [shard] = layer._shards
        subscribe, everybody = shard.subscribe, layer._get_group_channel_name(group_name(EVERYBODY))

        async def subscribe_or_fail(name: str) -> None:
            if name == everybody:
                raise ConnectionError("gone between two commands")
            await subscribe(name)

        with replaced(shard, "subscribe", subscribe_or_fail):
            await try_to_open(here)
        subscriber = await here.subscriber(*MANY)
        await there.publish("after", *MANY)

        assert await until_received(subscriber) == ["after"]
        assert len(layer.channels) == 1
        assert {name for group in layer.groups.values() for name in group} == set(layer.channels)
