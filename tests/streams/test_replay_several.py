"""What was missed on several addresses: each message once, in the order of each stream."""

from __future__ import annotations

import asyncio
import random

import pytest

from routing_app.core.delivery.publication import Position
from routing_app.core.streams import replay as module
from routing_app.core.streams.rules import RuleTable
from routing_app.core.streams.streams import Streams
from tests.core.harness import Node
from tests.core.test_spread import SERVERS, all_servers, on_server
from tests.services.waiting import until
from tests.streams.client import ENCODER, MANY, Client
from tests.streams.harness import A, B
from tests.streams.processes import Processes
from tests.streams.test_several_servers import OneStore, streams_of

pytestmark = pytest.mark.once

C = "token:c"


async def test_a_message_to_several_addresses_comes_once_in_the_order_of_each(two: Processes, reader: Client):
    await reader.connect(two.here, two.here_streams, A, B)
    reader.leave(two.here)
    for number, to in enumerate([(A,), (B, A), (B,), (A, B), (A,), (B,)]):
        await two.here.publish(number, *to)

    await reader.connect(two.there, two.there_streams, A, B)

    await reader.until_read(6)
    assert sorted(reader.messages) == list(range(6))
    assert reader.places == {A: [1, 2, 3, 4], B: [1, 2, 3, 4]}


async def test_another_address_from_a_position_on_repeats_nothing_and_keeps_the_order(
    two: Processes, reader: Client
):
    """While it is replayed, messages to it and to an address that was there before come once, in order."""
    start = Position((await two.store.read(B, MANY)).epoch, 0)
    await reader.connect(two.here, two.here_streams, A)
    for number in range(5):
        await two.here.publish(number, B)
    attachment = await two.here_streams.replays.attach(
        reader.connection,  # type: ignore[arg-type]
        [B],
        {B: start},
    )
    await two.here.publish(5, A, B)
    await two.here.publish(6, A)

    attachment.start()

    assert await reader.until_read(7) == list(range(7))
    assert reader.places == {A: [1, 2], B: [1, 2, 3, 4, 5, 6]}


async def test_an_address_that_joins_a_replay_begins_where_it_is(two: Processes, reader: Client):
    start = Position((await two.store.read(A, MANY)).epoch, 0)
    await two.here.publish(0, A)
    await two.here.publish("before", B)
    reader.connection = two.here.connect(ENCODER)
    first = await two.here_streams.replays.attach(reader.connection, [A], {A: start})
    second = await two.here_streams.replays.attach(reader.connection, [B])
    assert second.places[B].position.offset == 1
    await two.here.publish(1, B)
    first.start()
    second.start()

    assert sorted(await reader.until_read(2)) == [0, 1]
    await two.here.publish(2, A, B)
    assert (await reader.until_read(3))[2] == 2
    assert reader.places == {A: [1, 2], B: [2, 3]}


@pytest.mark.parametrize("seed", range(6))
async def test_streams_of_several_servers_come_in_the_order_of_each_and_once(seed: int):
    chance = random.Random(seed)
    stores = [OneStore() for _ in range(SERVERS)]
    addresses = [*on_server(0, 2), *on_server(1, 2)]
    async with all_servers() as servers:
        node = servers.node()
        streams = streams_of(node, stores)
        reader = Client()
        reader.connection = node.connect(ENCODER)
        start = {one: Position((await streams.read(one, MANY)).epoch, 0) for one in addresses}
        for number in range(60):
            await node.publish(number, *chance.sample(addresses, chance.randint(1, 4)))

        await reader.subscribe(streams, *addresses, since=start)

        await reader.until_read(60)
        assert sorted(reader.messages) == list(range(60))
        for offsets in reader.places.values():
            assert offsets == sorted(set(offsets))


@pytest.mark.parametrize("seed", range(12))
async def test_clients_that_come_and_go_miss_nothing_and_get_nothing_twice(
    two: Processes, seed: int, monkeypatch: pytest.MonkeyPatch
):
    chance = random.Random(seed)
    monkeypatch.setattr(module, "PAGE", chance.choice((1, 3, 100)))
    for streams in two.streams:
        streams.use(RuleTable([("token:*", *MANY, False)]))
    addresses = [A, B, C]
    nodes = [(two.here, two.here_streams), (two.there, two.there_streams)]
    clients = [Client() for _ in range(4)]
    at: dict[Client, tuple[Node, Streams]] = {}
    for one in clients:
        at[one] = chance.choice(nodes)
        await one.connect(*at[one], *addresses, since={})
    starts = [dict(one.positions) for one in clients]
    two.layer.lose = lambda publication: chance.random() < 0.1
    published: dict[str, int] = dict.fromkeys(addresses, 0)
    for number in range(150):
        to = chance.sample(addresses, chance.randint(1, 3))
        await chance.choice(nodes)[0].publish(number, *to)
        for address in to:
            published[address] += 1
        for one in clients:
            if chance.random() < 0.1:
                one.leave(at[one][0])
                at[one] = chance.choice(nodes)
                places = await one.connect(*at[one], *addresses)
                assert all(place.recovered for place in places.values())
        if chance.random() < 0.3:
            await asyncio.sleep(0)
    two.layer.lose = lambda publication: False
    await two.there_streams.order.check_ends()

    for one, start in zip(clients, starts, strict=True):
        await one.until_read(150)
        assert sorted(one.messages) == list(range(150))
        for address in addresses:
            first = start[address].offset
            assert one.places[address] == list(range(first + 1, first + published[address] + 1))


async def test_a_message_that_one_of_its_addresses_has_passed_is_new_for_the_other_alone(
    two: Processes, reader: Client
):
    """The order of an address begins with its first subscriber here: what is on its way then is replayed."""
    old = Client()
    await old.connect(two.there, two.there_streams, B)
    start = Position((await two.store.read(A, MANY)).epoch, 0)
    two.layer.held = []
    await two.here.publish(0, A, B)
    await until(lambda: len(two.layer.held or []) == 1)
    await reader.connect(two.there, two.there_streams, A, since={A: start})
    await reader.until_read(1)

    two.layer.release()
    await two.here.publish(1, A, B)

    assert await old.until_read(2) == [0, 1]
    assert await reader.until_read(2) == [0, 1]
    assert (reader.places, old.places) == ({A: [1, 2]}, {B: [1, 2]})


async def test_a_message_is_told_without_the_addresses_where_the_client_is_further(
    two: Processes, reader: Client
):
    starts = {one: Position((await two.store.read(one, MANY)).epoch, 0) for one in (A, B)}
    await two.here.publish(0, A, B)
    await two.here.publish(1, A)
    end = (await two.store.read(A, MANY)).position

    await reader.connect(two.there, two.there_streams, A, B, since={A: end, B: starts[B]})
    await two.here.publish(2, A, B)

    assert await reader.until_read(2) == [0, 2]
    assert reader.places == {B: [1, 2], A: [3]}


async def test_a_message_waits_for_the_epoch_of_another_stream(two: Processes, reader: Client):
    """The store has lost one of two streams; no offset of the new epoch is left out."""
    starts = {one: Position((await two.store.read(one, MANY)).epoch, 0) for one in (A, B)}
    near = Client()
    await near.connect(two.here, two.here_streams, A, B)
    near.connection.on_gap = lambda: None  # type: ignore[union-attr]
    await two.here.publish("old", B)
    reader.connection = two.here.connect(ENCODER)
    told: list[int] = []
    reader.connection.on_gap = lambda: told.append(len(reader.read()))
    attachment = await two.here_streams.replays.attach(reader.connection, [A, B], starts)
    two.store._streams.pop(B)
    await two.here.publish("first", B)
    await two.here.publish("both", A, B)
    await two.here.publish("last", B)
    await near.until_read(4)

    attachment.start()

    assert await reader.until_read(4) == ["old", "first", "both", "last"]
    assert reader.places == {A: [1], B: [1, 1, 2, 3]}
    assert told == [1]


async def test_an_id_that_comes_again_in_another_epoch_leaves_no_offset_out(two: Processes, reader: Client):
    """Its publisher had no answer, and the store has lost both the message and its id."""
    starts = {one: Position((await two.store.read(one, MANY)).epoch, 0) for one in (A, B)}
    near = Client()
    await near.connect(two.here, two.here_streams, A, B)
    near.connection.on_gap = lambda: None  # type: ignore[union-attr]
    await two.here.publish("both", A, B, id="x")
    reader.connection = two.here.connect(ENCODER)
    told: list[int] = []
    reader.connection.on_gap = lambda: told.append(len(reader.read()))
    attachment = await two.here_streams.replays.attach(reader.connection, [A, B], starts)
    two.store._streams.clear()
    await two.here.publish("first", A)
    await two.here.publish("both", A, B, id="x")
    await two.here.publish("last", A)

    attachment.start()

    for client in (near, reader):
        assert await client.until_read(4) == ["both", "first", "both", "last"]
        assert client.places == {A: [1, 1, 2, 3], B: [1, 1]}
    # A's gap comes before what is first in its new epoch, and B's before the message that is first in both.
    assert (told[0], set(told) - {1, 2}) == (1, set())


async def test_a_message_waits_for_what_is_before_it_in_another_stream(two: Processes, reader: Client):
    """That one has not come to this process yet; streams of one server are in no circle."""
    old = Client()
    await old.connect(two.there, two.there_streams, B)
    starts = {one: Position((await two.store.read(one, MANY)).epoch, 0) for one in (A, B)}
    two.layer.held = []
    await two.here.publish(0, B)
    await two.here.publish(1, A, B)
    await until(lambda: len(two.layer.held or []) == 2)
    await reader.connect(two.there, two.there_streams, A, B, since=starts)
    for _ in range(50):
        await asyncio.sleep(0)
    assert reader.read() == []

    two.layer.release()

    assert await reader.until_read(2) == [0, 1]
    assert reader.places == {B: [1, 2], A: [1]}
