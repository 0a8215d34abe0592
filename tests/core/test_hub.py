"""The contract of hub and relay, on every channel layer alike."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import pytest

from routing_app.core.address import AddressError, group_name
from routing_app.core.cluster.subscriptions import LayerUnavailable
from routing_app.core.codes import NORMAL, RESTART, Advice, Close, kicked
from routing_app.core.delivery.connection import Connection, ConnectionState
from tests.core.harness import Encoder, Node, Recorder, received, until_received
from tests.core.layers import Cluster, LaggingLayer
from tests.services.waiting import until

pytestmark = pytest.mark.once


async def quiet(*nodes: Node) -> None:
    """Wait until all that was published before has arrived: a last message each, from each to each."""
    for sender in nodes:
        subscribers = [await node.subscriber(f"token:quiet-{sender.id}") for node in nodes]
        await sender.publish("quiet", f"token:quiet-{sender.id}")
        for subscriber in subscribers:
            await until_received(subscriber)
        for node, subscriber in zip(nodes, subscribers, strict=True):
            node.hub.drop(subscriber)


# --- who gets it, and how often ---------------------------------------------------------------------------


async def test_a_message_reaches_every_subscriber_of_the_address_in_every_process(processes: Cluster):
    here, there = processes.node(), processes.node()
    near, far = await here.subscriber("token:a"), await there.subscriber("token:a")
    deaf = await there.subscriber("token:b")

    assert await here.publish("hello", "token:a") == 1
    await until(lambda: received(near) and received(far))
    await quiet(here, there)

    assert (received(near), received(far), received(deaf)) == (["hello"], ["hello"], [])


async def test_once_however_many_addresses_match(processes: Cluster):
    here, there = processes.node(), processes.node()
    near = await here.subscriber("token:a", "token:b", "user:1")
    far = await there.subscriber("token:a", "token:b", "user:1")
    half = await there.subscriber("token:b")

    assert await here.publish("x", "token:a", "token:b", "user:1", "token:nobody") == 1
    assert await there.publish("y", "user:1", "token:b") == 2
    await quiet(here, there)

    assert sorted(received(near)) == sorted(received(far)) == sorted(received(half)) == ["x", "y"]


async def test_once_also_where_an_address_is_named_twice(processes: Cluster):
    here, there = processes.node(), processes.node()
    near, far = await here.subscriber("token:a"), await there.subscriber("token:a")
    await here.publish("x", "token:a", "token:a")
    await quiet(here, there)

    assert (received(near), received(far)) == (["x"], ["x"])


async def test_the_excluded_connection_receives_nothing_wherever_it_is(processes: Cluster):
    here, there = processes.node(), processes.node()
    near, far = await here.subscriber("token:a"), await there.subscriber("token:a")
    for left_out in (near, far):
        await here.publish(left_out.id, "token:a", exclude=left_out.id)
        await there.publish(left_out.id, "token:a", "token:b", exclude=left_out.id)
    await quiet(here, there)

    assert (received(near), received(far)) == ([far.id, far.id], [near.id, near.id])


async def test_each_line_encodes_once_per_process_not_per_receiver(processes: Cluster):
    here, there = processes.node(), processes.node()
    encoders = [Encoder(), Encoder(per_address=True)]
    for node in (here, there):
        for encoder in encoders:
            for _ in range(10):
                await node.subscriber("token:a", "token:b", encoder=encoder)
    before = [encoder.calls for encoder in encoders]
    await here.publish("x", "token:a")
    await here.publish("y", "token:a", "token:b")
    await quiet(here, there)

    plain, addressed = (encoder.calls - start for encoder, start in zip(encoders, before, strict=True))
    assert plain == 2 * 2
    assert addressed <= 2 * 3


async def test_an_encoder_that_needs_the_address_gets_the_first_that_matches(processes: Cluster):
    here, there = processes.node(), processes.node()
    subscribers = [
        await node.subscriber("token:b", "token:c", encoder=Encoder(True)) for node in (here, there)
    ]
    await here.publish("x", "token:a", "token:b", "token:c")
    await quiet(here, there)

    assert [received(subscriber) for subscriber in subscribers] == [[["token:b", "x"]]] * 2


async def test_a_connection_receives_its_own_address_without_subscribing(processes: Cluster):
    here, there = processes.node(), processes.node()
    await there.relay.want([f"worker:{there.id}"])
    one, other = there.connect(), there.connect()
    assert await there.publish("near", f"connection:{one.id}") == 1
    assert await here.publish("far", f"connection:{one.id}") == 0
    assert await here.publish("both", f"connection:{one.id}", f"connection:{other.id}") == 0
    await until(lambda: len(received(one)) == 3 and received(other))

    assert (received(one), received(other)) == (["near", "far", "both"], ["both"])


async def test_nobody_subscribes_to_the_address_of_a_connection(processes: Cluster):
    """It would take the messages of the other, and its end would take the whole worker's group."""
    here, there = processes.node(), processes.node()
    await there.relay.want([f"worker:{there.id}"])
    one, other = there.connect(), there.connect()
    for address in (f"connection:{one.id}", f"connection:{'0' * 28}"):
        with pytest.raises(AddressError):
            await there.hub.subscribe(other, "token:a", address)
    assert not other.addresses
    await there.hub.subscribe(one, f"connection:{one.id}")
    there.hub.unsubscribe(one, f"connection:{one.id}")
    await here.publish("x", f"connection:{one.id}")
    await quiet(here, there)

    assert (received(one), received(other)) == (["x"], [])


async def test_close_ends_the_connections_of_an_address_in_every_process_behind_sent_messages(
    processes: Cluster,
):
    here, there = processes.node(), processes.node()
    near, far = await here.subscriber("token:a"), await there.subscriber("token:a")
    spared = await there.subscriber("token:b")
    await here.publish("last words", "token:a")
    assert await here.hub.close("token:a", RESTART) == 1
    await until(lambda: far.state is not ConnectionState.OPEN)

    for one in (near, far):
        assert isinstance(one.writer, Recorder)
        assert received(one) == ["last words"]
        assert [close.code for close in one.writer.closed] == [RESTART.code]
    assert spared.state is ConnectionState.OPEN


async def test_a_listener_that_leaves_while_a_message_is_handed_out_disturbs_nobody(processes: Cluster):
    """A protocol may drop a connection at once when it closes, here because it is too slow."""
    here, there = processes.node(), processes.node()
    doomed = []
    for node in (here, there):
        for number in range(6):
            subscriber = await node.subscriber("token:a", "token:b", encoder=Encoder())
            if number % 2:
                subscriber.on_close = lambda close, node=node, subscriber=subscriber: node.hub.drop(
                    subscriber
                )
                subscriber.writer.stuck = True  # type: ignore[attr-defined]
                subscriber.outbox._max_frames = 0
                doomed.append(subscriber)
    healthy = [
        subscriber
        for node in (here, there)
        for subscriber in node.hub.connections()
        if subscriber not in doomed
    ]
    await here.publish("one", "token:a")
    await here.publish("two", "token:a", "token:b")
    await quiet(here, there)

    assert [received(one) for one in healthy] == [["one", "two"]] * 6
    assert all(subscriber.state is not ConnectionState.OPEN for subscriber in doomed)


# --- order ------------------------------------------------------------------------------------------------


async def test_messages_to_one_address_keep_their_order(processes: Cluster):
    here, there = processes.node(), processes.node()
    near, far = await here.subscriber("token:a"), await there.subscriber("token:a")
    for number in range(500):
        await here.publish(number, "token:a")
        if number % 50 == 0:
            await asyncio.sleep(0.001)
    await quiet(here, there)

    assert received(near) == received(far) == list(range(500))


async def test_senders_side_by_side_keep_their_own_order(processes: Cluster):
    nodes = [processes.node() for _ in range(3)]
    subscribers = [await node.subscriber("token:a", "token:b") for node in nodes]

    async def send(node: Node, name: int) -> None:
        rng = random.Random(name)
        for number in range(200):
            addresses = rng.choice([("token:a",), ("token:b",), ("token:a", "token:b")])
            await node.publish([name, number, addresses], *addresses)
            if rng.random() < 0.1:
                await asyncio.sleep(0.001)

    await asyncio.gather(*[send(node, name) for name, node in enumerate(nodes)])
    await quiet(*nodes)

    for subscriber in subscribers:
        messages = received(subscriber)
        assert len(messages) == 600
        for name in range(3):
            for address in ("token:a", "token:b"):
                numbers = [number for who, number, to in messages if who == name and address in to]
                assert numbers == sorted(numbers)
            assert sorted(number for who, number, _ in messages if who == name) == list(range(200))


# --- subscribing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["fresh", "shared", "again"])
async def test_after_subscribe_no_publication_of_another_process_is_missed(processes: Cluster, kind: str):
    """1,000 rounds over the three kinds of address: never used, with another subscriber, and used before."""
    here, there = processes.node(), processes.node()
    subscribers: list[tuple[int, Connection]] = []

    async def rounds(lane: int) -> None:
        for number in range(34):
            address = f"token:{lane}" if kind == "again" else f"token:{lane}-{number}"
            other = await there.subscriber(address) if kind == "shared" else None
            subscriber = await there.subscriber(address)
            await here.publish(number, address)
            subscribers.append((number, subscriber))
            if other is not None:
                there.hub.drop(other)
            if kind == "again":
                await asyncio.sleep(0)
                await until_received(subscriber)
                there.hub.drop(subscriber)

    await asyncio.gather(*[rounds(lane) for lane in range(10)])
    await quiet(here, there)
    missed = [number for number, subscriber in subscribers if received(subscriber) != [number]]

    assert len(subscribers) == 340
    assert missed == []


async def test_a_second_subscription_to_a_pending_address_waits_as_well(lagging: Cluster):
    here, there = lagging.node(), lagging.node()
    assert isinstance(there.layer, LaggingLayer)
    there.layer.lag = 200
    one = there.connect()
    first = asyncio.ensure_future(there.hub.subscribe(one, "token:a"))
    await asyncio.sleep(0)
    await there.hub.subscribe(one, "token:a")
    await here.publish("x", "token:a")
    await first
    await until_received(one)

    assert received(one) == ["x"]


async def test_a_confirmation_through_an_old_subscription_proves_nothing_for_a_new_one(lagging: Cluster):
    """`old` is given up and taken again while its first subscription is on its way."""
    here, there = lagging.node(), lagging.node()
    assert isinstance(there.layer, LaggingLayer)
    there.layer.lag = 100
    holder, subscriber = there.connect(), there.connect()
    first = asyncio.ensure_future(there.hub.subscribe(holder, "token:old"))
    for _ in range(20):
        await asyncio.sleep(0)
    there.hub.unsubscribe(holder, "token:old")
    await there.hub.subscribe(subscriber, "token:new", "token:old")
    await first
    await here.publish("x", "token:new")
    await here.publish("y", "token:old")
    await until_received(subscriber, 2)

    assert received(subscriber) == ["x", "y"]


async def test_a_subscription_that_fails_takes_nothing_from_one_that_succeeds(lagging: Cluster):
    here, there = lagging.node(), lagging.node()
    assert isinstance(there.layer, LaggingLayer)
    failing, lucky = there.connect(), there.connect()
    there.layer.hanging = True
    refused = asyncio.ensure_future(there.hub.subscribe(failing, "token:a", "token:b"))
    await asyncio.sleep(0.02)  # the relay has begun with it
    accepted = asyncio.ensure_future(there.hub.subscribe(lucky, "token:a"))
    await asyncio.sleep(0)
    there.layer.hanging, there.layer.failures = False, 1
    with pytest.raises(LayerUnavailable):
        await refused
    await accepted
    await asyncio.sleep(0.05)
    await here.publish("x", "token:a")
    await quiet(here, there)

    assert received(lucky) == ["x"]


async def test_a_refused_subscription_leaves_nothing_behind(lagging: Cluster):
    node = lagging.node()
    assert isinstance(node.layer, LaggingLayer)
    kept = await node.subscriber("token:kept")
    node.layer.down = True
    with pytest.raises(LayerUnavailable):
        await node.hub.subscribe(kept, "token:kept", "token:new", "token:newer")
    node.layer.down = False

    assert set(kept.addresses) == {"token:kept"}
    assert node.hub.addresses() == ["token:kept"]
    await asyncio.sleep(0.05)
    await until(lambda: lagging.subscriptions() == {group_name("token:kept")})


async def test_a_cancelled_subscription_leaves_nothing_behind(processes: Cluster):
    here, there = processes.node(), processes.node()
    one, other = there.connect(), there.connect()
    waiting = asyncio.ensure_future(there.hub.subscribe(one, "token:a"))
    patient = asyncio.ensure_future(there.hub.subscribe(other, "token:a", "token:b"))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await patient
    await here.publish("x", "token:a")
    await quiet(here, there)

    assert (received(one), received(other), one.addresses) == ([], ["x"], {})
    there.hub.drop(other)
    await until(
        lambda: processes.subscriptions() <= {group_name(f"token:quiet-{n.id}") for n in (here, there)}
    )


async def test_a_client_that_is_gone_subscribes_to_nothing(processes: Cluster):
    """A slow handler may come back after its connection has been cleaned up."""
    node = processes.node()
    one = node.connect()
    one.mark_closed()
    node.hub.drop(one)
    await node.hub.subscribe(one, "token:a")

    assert (node.hub.addresses(), node.hub.connections(), one.addresses) == ([], [], {})


# --- leaving ----------------------------------------------------------------------------------------------


async def test_the_last_listener_ends_the_subscription_and_not_the_one_before(processes: Cluster):
    here, there = processes.node(), processes.node()
    one, other = await there.subscriber("token:a"), await there.subscriber("token:a")
    there.hub.unsubscribe(one, "token:a", "token:never-received")
    await here.publish("x", "token:a")
    await until_received(other)
    assert received(one) == []

    there.hub.drop(other)
    there.hub.drop(other)
    assert there.hub.addresses() == []
    await until(lambda: not processes.subscriptions())


async def test_300_connections_dropped_at_once_leave_nothing_behind(processes: Cluster):
    here, there = processes.node(), processes.node()
    crowd = [there.connect() for _ in range(300)]
    await asyncio.gather(
        *[
            there.hub.subscribe(one, "token:shared", f"token:{number}", f"user:{number % 20}")
            for number, one in enumerate(crowd)
        ]
    )
    await until(lambda: len(processes.subscriptions()) == 321)

    for one in crowd:
        one.close(NORMAL)
        one.mark_closed()
        there.hub.drop(one)
    assert (there.hub.addresses(), there.hub.connections()) == ([], [])
    await until(lambda: not processes.subscriptions())

    subscriber = await there.subscriber("token:7")
    await here.publish("x", "token:7")
    await until_received(subscriber)
    await until(lambda: processes.subscriptions() == {group_name("token:7")})


async def test_half_of_a_crowd_drops_while_messages_flow_and_the_other_half_misses_none(processes: Cluster):
    here, there = processes.node(), processes.node()
    crowd = [await there.subscriber(f"token:{number}") for number in range(100)]
    stay = crowd[::2]
    for number in range(100):
        await here.publish(number, f"token:{number}")
    for one in crowd[1::2]:
        there.hub.drop(one)
    for number in range(100):
        await here.publish(100 + number, f"token:{number}")
    await quiet(here, there)

    assert [received(one) for one in stay] == [[number, 100 + number] for number in range(0, 100, 2)]


async def test_a_stopped_relay_has_sent_its_backlog_and_begins_again_when_it_is_used(processes: Cluster):
    here, there = processes.node(), processes.node()
    far, near = await there.subscriber("token:a"), await here.subscriber("token:b")
    await here.publish("x", "token:a")
    await here.relay.stop()
    await until_received(far)

    here.hub.drop(near)
    subscriber = await here.subscriber("token:b")
    await there.publish("y", "token:b")
    await until_received(subscriber)
    await here.publish("again", "token:a")
    await until(lambda: received(far) == ["x", "again"])


async def test_a_subscription_that_waits_when_the_relay_stops_is_told_so(lagging: Cluster):
    node = lagging.node()
    assert isinstance(node.layer, LaggingLayer)
    node.layer.hanging = True
    begun = asyncio.ensure_future(node.subscriber("token:a"))
    await asyncio.sleep(0.01)
    waiting = asyncio.ensure_future(node.subscriber("token:b"))
    await asyncio.sleep(0.01)
    await node.relay.stop()

    for task in (begun, waiting):
        with pytest.raises(LayerUnavailable):
            await task
    assert node.hub.addresses() == []


@pytest.mark.parametrize(
    ("close", "advice"),
    [
        (replace(RESTART, reason="because"), Advice.NOW),
        (kicked(4999, "because"), Advice.STAY_AWAY),
        (kicked(4100, "because"), Advice.LATER),
        (kicked(4200, "because"), Advice.NOW),
    ],
    ids=lambda value: str(getattr(value, "code", value)),
)
async def test_a_close_comes_as_it_was_sent(processes: Cluster, close: Close, advice: Advice):
    """Code, reason and name; a code that means something else here is an operator's all the same."""
    here, there = processes.node(), processes.node()
    one = await there.subscriber("token:a", "token:b")
    assert isinstance(one.writer, Recorder)
    await here.hub.close_all(("token:a", "token:b"), close)
    await until(lambda: one.state is not ConnectionState.OPEN)

    assert one.writer.closed == [close]
    assert one.writer.closed[0].advice is advice
