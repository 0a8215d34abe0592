"""Streams on several servers: each has an order of its own, and a message to several is received once."""

from __future__ import annotations

import asyncio
import random

import pytest

from routing_app.core.delivery.publication import Publication
from routing_app.core.streams.memory import MemoryStore
from routing_app.core.streams.rules import RuleTable
from routing_app.core.streams.store import Append, Done, StoreUnavailable
from routing_app.core.streams.stores import Stores
from routing_app.core.streams.streams import Streams
from tests.core.harness import received, until_received
from tests.core.test_spread import SERVERS, SpreadNode, all_servers, on_server
from tests.services.waiting import until

pytestmark = pytest.mark.once


class OneStore(MemoryStore):
    """A server that can be out."""

    down = False

    def append(self, append: Append, done: Done) -> None:
        if self.down:
            done(StoreUnavailable("down"))
        else:
            super().append(append, done)


def streams_of(node: SpreadNode, stores: list[OneStore]) -> Streams:
    streams = Streams(node.hub, node.spread, Stores(stores), asyncio.ensure_future)
    streams.use(RuleTable([("token:*", 1000, 300, False)]))
    return streams


@pytest.mark.parametrize("seed", range(4))
async def test_messages_to_addresses_of_several_servers_arrive_once_and_in_the_order_of_each(seed: int):
    chance = random.Random(seed)
    stores = [OneStore() for _ in range(SERVERS)]
    addresses = [on_server(number)[0] for number in range(SERVERS)]
    async with all_servers() as servers:
        nodes = [servers.node(), servers.node()]
        both = [streams_of(node, stores) for node in nodes]
        alone = {address: await nodes[1].subscriber(address) for address in addresses}
        every = [await node.subscriber(*addresses) for node in nodes]
        published: dict[str, list[int]] = {address: [] for address in addresses}
        for number in range(60):
            to = chance.sample(addresses, chance.randint(1, SERVERS))
            await chance.choice(nodes).publish(number, *to)
            for address in to:
                published[address].append(number)

        for address, one in alone.items():
            assert await until_received(one, len(published[address])) == published[address]
        for one in every:
            assert sorted(await until_received(one, 60)) == list(range(60))
        for streams in both:
            await streams.order.check_ends()
        assert [len(received(one)) for one in every] == [60, 60]


async def test_what_is_lost_between_is_fetched_and_repeats_nothing():
    stores = [OneStore() for _ in range(SERVERS)]
    addresses = [on_server(number)[0] for number in range(SERVERS)]
    async with all_servers() as servers:
        here, there = servers.node(), servers.node()
        streams_of(here, stores)
        healing = streams_of(there, stores)
        one, every = await there.subscriber(addresses[0]), await there.subscriber(*addresses)
        there.spread.receive_with(lambda publication: 0, there.hub.tell_gap)
        for number in range(10):
            await here.publish(number, *addresses)

        await healing.order.check_ends()

        assert await until_received(one, 10) == list(range(10))
        assert sorted(await until_received(every, 10)) == list(range(10))
        await until(lambda: not any(x.healing for x in healing.order._sequences.values()))
        assert len(received(every)) == 10


async def test_a_server_that_is_out_fails_its_part_and_the_same_id_completes_it():
    stores = [OneStore() for _ in range(SERVERS)]
    first, second = on_server(0)[0], on_server(1)[0]
    async with all_servers() as servers:
        node = servers.node()
        streams = streams_of(node, stores)
        one, other = await node.subscriber(first), await node.subscriber(second)
        stores[1].down = True
        message = Publication((first, second), "x")
        with pytest.raises(StoreUnavailable):
            await streams.publish(message, "n", "caller")
        assert await until_received(one) == ["x"]
        stores[1].down = False

        published = await streams.publish(message, "n", "caller")

        assert set(published.positions) == {first, second}
        assert await until_received(other) == ["x"]
        await node.publish("end", first)
        assert await until_received(one, 2) == ["x", "end"]
