"""A message to several addresses comes once to each connection, and is not left out for that.

A process may get it for one of its addresses long before another one has subscribers here, and an order.
"""

from __future__ import annotations

import random
from functools import partial

import pytest

from routing_app.core.delivery.connection import Connection
from routing_app.core.delivery.publication import Position, Publication
from routing_app.core.streams.rules import RuleTable
from routing_app.core.streams.store import Bounds
from tests.core.harness import received, until_received
from tests.services.waiting import until
from tests.streams.harness import A, B
from tests.streams.processes import Processes

pytestmark = pytest.mark.once

PLAIN = "user:1"


def told_of_gaps(*connections: Connection) -> list[Connection]:
    """Connections are added as they are told of a gap."""
    told: list[Connection] = []
    for one in connections:
        one.on_gap = partial(told.append, one)
    return told


async def behind_the_store(two: Processes, **published: tuple[str, ...]) -> None:
    """Publish messages of these names that the layer holds back."""
    two.layer.held = []
    for name, addresses in published.items():
        await two.here.publish(name, *addresses)
    await until(lambda: len({one.message for one in two.layer.held or ()}) == len(published))


async def late_subscriber(two: Processes, *addresses: str) -> Connection:
    """One that has come while the store was out, so that the order begins with what comes first."""
    two.store.down = True
    late = await two.there.subscriber(*addresses)
    two.store.down = False
    return late


async def test_what_came_for_one_address_comes_at_another_whose_order_begins_before_it(two: Processes):
    """The store brought it to the subscribers of B while the layer was slow."""
    early = await two.there.subscriber(B)
    also = await two.there.subscriber(A)  # else the layer would send to B alone
    await behind_the_store(two, first=(A,), second=(A, B), third=(A,))
    two.there.hub.drop(also)
    await two.there_streams.order.check_ends()
    assert await until_received(early) == ["second"]

    late = await late_subscriber(two, A)
    told = told_of_gaps(early, late)
    two.layer.release()

    assert await until_received(late, 3) == ["first", "second", "third"]
    assert received(early) == ["second"]
    assert told == []


async def test_a_connection_that_has_it_from_one_address_is_told_of_the_hole_at_another(two: Processes):
    early = await two.there.subscriber(B)
    also = await two.there.subscriber(A)
    await behind_the_store(two, first=(A,), second=(A, B), third=(A,))
    two.there.hub.drop(also)
    await two.there_streams.order.check_ends()
    assert await until_received(early) == ["second"]

    two.store.down = True
    await two.there.hub.subscribe(early, A)
    two.store.down = False
    told = told_of_gaps(early)
    two.layer.release()

    assert await until_received(early, 3) == ["second", "first", "third"]
    assert told == [early]


async def test_what_nobody_here_has_got_is_not_taken_for_a_repeat(two: Processes):
    """Its addresses had lost their last subscribers when it came."""
    also = await two.there.subscriber(A)
    await behind_the_store(two, first=(A,), second=(A, B), third=(A,))
    held, two.layer.held = list(two.layer.held or ()), []
    two.there.hub.drop(also)
    for publication in held:
        two.there.hub.deliver(publication)

    late = await late_subscriber(two, A)
    two.layer.held = held
    two.layer.release()

    assert await until_received(late, 3) == ["first", "second", "third"]


@pytest.mark.parametrize("own", [False, True], ids=["subscribed", "its own address"])
async def test_a_subscriber_without_history_gets_what_a_new_stream_subscriber_has_behind_it(
    two: Processes, own: bool
):
    """The end of the stream, as its first subscriber found it, is behind what is on its way here."""
    plain = await two.there.subscriber(PLAIN)
    address = f"connection:{plain.id}" if own else PLAIN
    await behind_the_store(two, message=(A, address))
    new = await two.there.subscriber(A)
    two.layer.release()
    await two.here.publish("end", A, address)

    assert await until_received(plain, 2) == ["message", "end"]
    assert await until_received(new) == ["end"]


async def test_what_a_replay_brings_does_not_come_from_an_address_without_history_as_well(two: Processes):
    start = Position((await two.store.read(A, Bounds(10, 300))).epoch, 0)
    plain = await two.there.subscriber(PLAIN)
    both = two.there.connect()
    await behind_the_store(two, message=(A, PLAIN))
    attachment = await two.there_streams.replays.attach(both, (A, PLAIN), {A: start})
    two.layer.release()
    assert await until_received(plain) == ["message"]

    attachment.start()
    await two.here.publish("end", A, PLAIN)

    assert await until_received(both, 2) == ["message", "end"]
    assert await until_received(plain, 2) == ["message", "end"]


async def test_what_waits_for_the_order_of_a_stream_comes_when_its_last_subscriber_leaves(two: Processes):
    plain = await two.there.subscriber(PLAIN)
    other = await two.there.subscriber(A)
    two.layer.lose = lambda publication: publication.message == "lost"
    await two.here.publish("lost", A)
    await two.here.publish("held", A, PLAIN)
    two.store.down = True
    order = two.there_streams.order
    await until(lambda: bool(order._sequences[A].held))
    assert received(plain) == []

    two.there.hub.drop(other)

    assert await until_received(plain) == ["held"]


async def test_a_stream_heals_what_was_sent_again_to_addresses_without_history(two: Processes, monkeypatch):
    """A worker died with a message of a name; the next one sends it again to those that have no stream."""
    for streams in two.streams:
        streams.use(RuleTable([(A, 10, 300, False)]))
    kept, plain, both = [await two.there.subscriber(*addresses) for addresses in ((A,), (B,), (A, B))]
    told = told_of_gaps(kept, plain, both)
    monkeypatch.setattr(two.here_streams, "_settle_soon", lambda once, failures: None)
    two.layer.lose = lambda publication: True
    await two.here_streams.publish(Publication((A, B), "x"), "n", "c")

    assert (await two.there_streams.publish(Publication((A, B), "x"), "n", "c")).repeated
    await two.there_streams.order.check_ends()

    assert await until_received(kept) == await until_received(plain) == await until_received(both) == ["x"]
    await two.there.publish("end", A, B)
    assert await until_received(both, 2) == ["x", "end"]
    assert await until_received(kept, 2) == ["x", "end"]
    assert told == [both]


@pytest.mark.parametrize("seed", range(20))
async def test_whoever_stays_gets_everything_once_whoever_comes_and_goes(two: Processes, seed: int):
    """The layer loses what has history, holds and shuffles; the store is out while some of them come."""
    chance = random.Random(seed)
    for streams in two.streams:
        streams.use(RuleTable([("token:*", 1000, 300, False)]))
    choices = [(A,), (B,), (PLAIN,), (A, B), (A, PLAIN), (PLAIN, B), (A, B, PLAIN)]
    staying = {to: await two.there.subscriber(*to) for to in chance.sample(choices, chance.choice((2, 3, 7)))}
    told = told_of_gaps(*staying.values())
    guests: list[Connection] = []
    # What has no history at one of its addresses is healed only where another one is followed.
    two.layer.lose = lambda publication: PLAIN not in publication.addresses and chance.random() < 0.2
    published: list[tuple[int, tuple[str, ...]]] = []
    for number in range(80):
        published.append((number, chance.choice(choices)))
        await chance.choice((two.here, two.there)).publish(number, *published[-1][1])
        if chance.random() < 0.15:
            two.layer.held = two.layer.held or []
        elif two.layer.held is not None and chance.random() < 0.3:
            two.layer.release(chance.shuffle)
        if chance.random() < 0.3:
            two.store.down = chance.random() < 0.5
            guests.append(await two.there.subscriber(*chance.choice(choices)))
            two.store.down = False
        elif guests and chance.random() < 0.2:
            two.there.hub.drop(chance.choice(guests))
    two.layer.release(chance.shuffle)
    for streams in two.streams:
        await streams.order.check_ends()

    for mine, one in staying.items():
        wanted = [number for number, to in published if {*mine} & {*to}]
        assert sorted(await until_received(one, len(wanted))) == wanted, mine
    assert told == []
    for guest in guests:
        assert len(received(guest)) == len(set(received(guest)))
