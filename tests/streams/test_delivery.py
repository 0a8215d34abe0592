"""Each offset once and in order, in every process, whatever the layer between them loses."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import replace
from functools import partial
from time import monotonic

import pytest

from routing_app.core import fresh_rows
from routing_app.core.codes import GAP
from routing_app.core.delivery.connection import Connection
from routing_app.core.delivery.publication import Position, Publication
from routing_app.core.delivery.repeats import Repeats
from routing_app.core.streams import ordering
from routing_app.core.streams import streams as module
from routing_app.core.streams.rules import RuleTable
from routing_app.core.streams.store import Append, Bounds, StoreUnavailable
from tests.core.harness import Encoder, Recorder, lost, received, until_received
from tests.services.waiting import until
from tests.streams.harness import A, B, drop_first
from tests.streams.processes import Processes

pytestmark = pytest.mark.once


def texts(connection: Connection) -> list[str]:
    """What has reached a writer, as it is."""
    assert isinstance(connection.writer, Recorder)
    return connection.writer.texts


async def test_a_message_has_its_position_in_every_process(two: Processes):
    seen: list[Publication] = []

    class Watching(Encoder):
        def __call__(self, publication: Publication, address: str) -> str:
            seen.append(publication)
            return "x"

    near = await two.here.subscriber(A, encoder=Watching())
    far = await two.there.subscriber(A, encoder=Watching())

    await two.here.publish("one", A)
    await until(lambda: len(texts(near)) + len(texts(far)) == 2)

    page = await two.store.read(A, Bounds(10, 300))
    assert [publication.positions for publication in seen] == [{A: page.position}] * 2


async def test_what_two_processes_publish_has_one_order_everywhere(two: Processes):
    subscribers = [await node.subscriber(A) for node in (two.here, two.there) for _ in range(2)]

    for number in range(100):
        node = random.choice((two.here, two.there))
        await node.publish(number, A)
    for subscriber in subscribers:
        await until_received(subscriber, 100)

    assert [received(one) for one in subscribers] == [list(range(100))] * 4


async def test_what_comes_out_of_order_is_put_in_order(two: Processes):
    far = await two.there.subscriber(A)
    two.layer.held = []
    for number in range(20):
        await two.here.publish(number, A)
    await until(lambda: len(two.layer.held or []) == 20)

    two.layer.release(random.shuffle)

    assert await until_received(far, 20) == list(range(20))
    assert two.store.reads == 0


async def test_what_the_layer_loses_is_fetched_before_what_follows(two: Processes):
    far = await two.there.subscriber(A)
    two.layer.lose = lambda publication: publication.message in (1, 2, 4)
    gaps = lost("layer_gap")

    for number in range(6):
        await two.here.publish(number, A)

    assert await until_received(far, 6) == list(range(6))
    assert gaps.grown == 0


async def test_the_last_message_is_missed_too(two: Processes):
    """Nothing follows it that would tell: the ends of streams are looked at."""
    far = await two.there.subscriber(A)
    two.layer.lose = lambda publication: True
    await two.here.publish("last", A)

    await two.there_streams.order.check_ends()

    assert await until_received(far) == ["last"]


async def test_a_break_of_the_layer_is_healed_from_the_stream(two: Processes):
    """Where it would be told as a gap, without history."""
    far = await two.there.subscriber(A)
    plain = await two.there.subscriber("user:1")
    two.layer.lose = lambda publication: True
    await two.here.publish("one", A)

    assert two.there.hub.tell_gap() == 1

    assert await until_received(far) == ["one"]
    assert far.close_sent is None
    assert plain.close_sent is GAP


async def test_of_the_death_of_a_worker_only_those_are_told_who_may_miss_something(two: Processes):
    told: list[str] = []
    kept, plain = await two.there.subscriber(A), await two.there.subscriber("user:1")
    both, neither = await two.there.subscriber(A, "user:1"), await two.there.subscriber()
    for name, one in (("kept", kept), ("both", both), ("neither", neither)):
        one.on_gap = partial(told.append, name)
    two.layer.lose = lambda publication: True
    await two.here.publish("one", A)

    two.there.hub.tell_of_death()

    assert await until_received(kept) == ["one"]
    assert told == ["both"]
    assert {one.close_sent for one in (kept, plain, both, neither)} == {None}


async def test_what_the_stream_has_no_more_is_a_gap(two: Processes):
    far = await two.there.subscriber(A)
    told: list[str] = []
    far.on_gap = lambda: told.append("gap")
    two.layer.lose = lambda publication: publication.message < 14
    for number in range(15):
        await two.here.publish(number, A)

    # Ten are kept.
    assert await until_received(far, 10) == list(range(5, 15))
    assert told == ["gap"]


async def test_a_connection_receives_nothing_from_before_its_subscription(two: Processes):
    earlier = await two.there.subscriber(A)
    await two.here.publish("before", A)
    assert await until_received(earlier) == ["before"]
    held: list[Publication] = []
    two.layer.held = held
    await two.here.publish("late", A)
    await until(lambda: len(held) == 1)
    two.there.hub.unsubscribe(earlier, A)
    far = await two.there.subscriber(A)
    two.layer.release()
    await two.here.publish("after", A)

    assert await until_received(far) == ["after"]
    assert await until_received(earlier) == ["before"]


async def test_a_connection_begins_where_the_other_subscribers_of_its_process_are(two: Processes):
    """The position that it is told is theirs: what they get next follows that."""
    earlier = await two.there.subscriber(A)
    held: list[Publication] = []
    two.layer.held = held
    await two.here.publish("late", A)
    await until(lambda: len(held) == 1)
    far = two.there.connect()
    attachment = await two.there_streams.replays.attach(far, [A])
    attachment.start()
    two.layer.release()

    assert attachment.places[A].position.offset == 0
    assert await until_received(far) == await until_received(earlier) == ["late"]


async def test_a_publication_after_a_subscription_is_not_taken_for_one_from_before(two: Processes):
    """Its offset is above the end that the subscription found."""
    for number in range(5):
        await two.here.publish(number, A)
    far = await two.there.subscriber(A)
    two.layer.lose = lambda publication: publication.message == 5
    await two.here.publish(5, A)
    await two.here.publish(6, A)

    assert await until_received(far, 2) == [5, 6]


async def test_a_message_to_several_addresses_reaches_each_once_and_in_the_order_of_all(two: Processes):
    both = await two.there.subscriber(A, B)
    one, other = await two.there.subscriber(A), await two.there.subscriber(B)
    two.layer.lose = lambda publication: random.random() < 0.3
    plan = [random.choice([(A,), (B,), (A, B), (B, A), (A, B, "user:1")]) for _ in range(60)]
    bounds = {"token:*": Bounds(100, 300)}
    for streams in two.streams:
        streams.use(RuleTable((pattern, *limits, False) for pattern, limits in bounds.items()))

    for number, addresses in enumerate(plan):
        await two.here.publish(number, *addresses)
    two.layer.lose = lambda publication: False
    await two.here.publish(60, A, B)

    published = list(enumerate([*plan, (A, B)]))
    await check_order(both, {A, B}, published)
    await check_order(one, {A}, published)
    await check_order(other, {B}, published)


async def test_addresses_without_history_go_on_as_before(two: Processes):
    streams = two.here_streams
    streams.use(RuleTable([("token:a", 10, 300, False)]))
    far = await two.there.subscriber(B)
    two.store.down = True

    await two.here.publish("x", B)

    assert await until_received(far) == ["x"]


async def test_a_message_of_a_worker_takes_no_offset(two: Processes):
    await two.here.publish(None, A, event="$internal")
    await two.here.hub.close(A)

    assert (await two.store.read(A, Bounds(10, 300))).offset == 0


async def test_a_store_that_is_out_loses_the_message_and_it_is_counted(two: Processes):
    near = await two.here.subscriber(A)
    two.store.down = True
    counted = lost("store_down")

    assert await two.here.publish("x", A) == 0
    assert two.here.hub.publish_soon(Publication((A,), "y")) == 0
    with pytest.raises(StoreUnavailable):
        await two.here_streams.publish(Publication((A,), "z"))

    await until(lambda: counted.grown == 2)
    assert received(near) == []


async def test_a_message_that_the_store_takes_late_is_delivered(two: Processes, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.01)
    near = await two.here.subscriber(A)
    two.store.late = []
    with pytest.raises(StoreUnavailable):
        await two.here_streams.publish(Publication((A,), "late"), "n")
    assert received(near) == []

    two.store.answer()

    assert await until_received(near) == ["late"]
    assert (await two.here_streams.publish(Publication((A,), "late"), "n")).repeated
    await two.here.publish("end", A)
    assert await until_received(near, 2) == ["late", "end"]


async def test_a_message_that_nobody_delivers_is_found_in_the_stream(two: Processes):
    """Its worker was killed between the store and the layer."""
    near, far = await two.here.subscriber(A), await two.there.subscriber(A)
    await two.here.publish(1, A)
    killed = Append(b'[2,"message","","","id"]', {A: Bounds(10, 300)})
    two.store.append(killed, lambda outcome: None)

    await two.here_streams.order.check_ends()
    await two.there_streams.order.check_ends()

    assert await until_received(near, 2) == await until_received(far, 2) == [1, 2]


@pytest.mark.parametrize("addresses", [(B,), (A, B)], ids=["without history", "some without history"])
async def test_a_named_message_whose_worker_died_before_it_sent_it_comes_with_the_next_try(
    two: Processes, monkeypatch, addresses: tuple[str, ...]
):
    for streams in two.streams:
        streams.use(RuleTable([(A, 10, 300, False)]))
    far = await two.there.subscriber(B)

    async def die(publication: Publication, id: str = "") -> int:
        raise asyncio.CancelledError

    with monkeypatch.context() as dying:
        dying.setattr(two.here.hub, "publish", die)
        dying.setattr(two.here.hub, "hand_over", lambda publication: None)
        with suppress(asyncio.CancelledError):
            await two.here_streams.publish(Publication(addresses, "x"), "n", "c")
        dying.undo()

    again = await two.there_streams.publish(Publication(addresses, "x"), "n", "c")

    assert again.repeated
    assert await until_received(far) == ["x"]


async def test_a_named_message_that_left_and_is_not_known_to_have_comes_once(two: Processes, monkeypatch):
    """Its worker was killed between the layer and the store."""
    for streams in two.streams:
        streams.use(RuleTable())
    near, far = await two.here.subscriber(B), await two.there.subscriber(B)
    monkeypatch.setattr(two.here_streams, "_settle_soon", lambda once, failures: None)
    assert not (await two.here_streams.publish(Publication((B,), "x"), "n", "c")).repeated

    assert (await two.there_streams.publish(Publication((B,), "x"), "n", "c")).repeated
    await two.there.publish("end", B)

    assert await until_received(near, 2) == await until_received(far, 2) == ["x", "end"]


async def test_a_named_message_is_sent_again_only_until_it_is_known_to_have_left(two: Processes):
    for streams in two.streams:
        streams.use(RuleTable())
    far = await two.there.subscriber(B)
    await two.here_streams.publish(Publication((B,), "x"), "n", "c")
    await until(lambda: not any(known.pending for _, known in two.store.once().values()))
    two.there.hub._repeats = Repeats(two.there.hub.reaches, monotonic)

    assert (await two.here_streams.publish(Publication((B,), "x"), "n", "c")).repeated
    await two.here.publish("end", B)

    assert await until_received(far, 2) == ["x", "end"]


async def test_a_deleted_stream_disturbs_nobody_who_has_all_of_it(two: Processes):
    near, far = await two.here.subscriber(A), await two.there.subscriber(A)
    await two.here.publish(1, A)
    await until_received(far)
    await two.store.delete(A, Bounds(10, 300))
    await two.here.publish(2, A)
    await two.there.publish(3, A)

    assert await until_received(near, 3) == await until_received(far, 3) == [1, 2, 3]
    assert near.close_sent is far.close_sent is None


async def test_a_lost_epoch_is_told_and_what_follows_is_delivered(two: Processes):
    near, far = await two.here.subscriber(A), await two.there.subscriber(A)
    told: list[Connection] = []
    near.on_gap = lambda: told.append(near)
    far.on_gap = lambda: told.append(far)
    await two.here.publish(1, A)
    await until_received(far)
    two.store._streams.clear()  # a crash of the server
    await two.here.publish(2, A)
    await two.there.publish(3, A)

    assert await until_received(near, 3) == await until_received(far, 3) == [1, 2, 3]
    assert set(told) == {near, far}


async def test_what_is_held_is_given_up_while_the_store_is_out(two: Processes, monkeypatch):
    monkeypatch.setattr(ordering, "GIVE_UP_SECONDS", 0.0)
    far = await two.there.subscriber(A)
    told: list[str] = []
    far.on_gap = lambda: told.append("gap")
    two.layer.held = []
    for number in range(3):
        await two.here.publish(number, A)
    await until(lambda: len(two.layer.held or []) == 3)
    two.store.down = True
    two.layer.release(drop_first)

    assert await until_received(far, 2) == [1, 2]
    assert told == ["gap"]
    two.store.down = False
    await two.here.publish(3, A)
    assert await until_received(far, 3) == [1, 2, 3]


async def test_subscribing_while_the_store_is_out_takes_what_comes(two: Processes):
    two.store.down = True
    far = await two.there.subscriber(A)
    two.store.down = False

    for number in range(3):
        await two.here.publish(number, A)

    assert await until_received(far, 3) == [0, 1, 2]


async def test_a_rule_that_comes_later_holds_for_those_who_are_subscribed(two: Processes):
    for streams in two.streams:
        streams.use(RuleTable())
    far = await two.there.subscriber(A)
    await two.here.publish("without", A)
    await until_received(far)
    for streams in two.streams:
        streams.use(RuleTable([("token:*", 10, 300, False)]))
    two.layer.lose = lambda publication: publication.message == 1

    for number in range(3):
        await two.here.publish(number, A)

    assert await until_received(far, 4) == ["without", 0, 1, 2]
    assert two.store.streams()[A].offset == 3


async def test_nothing_is_left_of_an_address_that_nobody_is_subscribed_to(two: Processes):
    far = await two.there.subscriber(A)
    two.layer.lose = lambda publication: True
    await two.here.publish(1, A)
    two.there.hub.drop(far)

    assert two.there_streams.order._sequences == {}
    await two.there_streams.order.check_ends()
    assert received(far) == []


async def test_a_publisher_within_a_delivery_keeps_the_order(two: Processes):
    """What is published while another one is delivered reaches everybody after it."""

    class Answering(Encoder):
        def __call__(self, publication: Publication, address: str) -> str:
            if publication.message == 1:
                two.here.hub.publish_soon(Publication((A,), 2))
            return str(publication.message)

    first = await two.here.subscriber(A, encoder=Answering())
    second = await two.here.subscriber(A)

    await two.here.publish(1, A)

    await until(lambda: len(texts(second)) == 2)
    assert texts(first) == texts(second) == ["1", "2"]


async def check_order(
    subscriber: Connection, mine: set[str], published: list[tuple[int, tuple[str, ...]]]
) -> None:
    """Each message once, and those to one address in its order; two addresses have no order in common."""
    wanted = [number for number, addresses in published if mine & set(addresses)]
    came = await until_received(subscriber, len(wanted))
    assert sorted(came) == wanted
    for address in mine:
        ordered = [number for number, addresses in published if address in addresses]
        assert [number for number in came if number in ordered] == ordered


@pytest.mark.parametrize("seed", range(8))
async def test_any_loss_between_processes_is_healed(two: Processes, seed: int):
    """Random losses, orders and deletions of the layer: each offset once, in order, in both processes."""
    chance = random.Random(seed)
    bounds = Bounds(1000, 300)
    for streams in two.streams:
        streams.use(RuleTable([("token:*", *bounds, False)]))
    subscribers = {
        node: [await node.subscriber(*addresses) for addresses in ((A,), (B,), (A, B))]
        for node in (two.here, two.there)
    }
    two.layer.lose = lambda publication: chance.random() < 0.3
    published: list[tuple[int, tuple[str, ...]]] = []
    for number in range(60):
        addresses = chance.choice([(A,), (B,), (A, B)])
        await chance.choice((two.here, two.there)).publish(number, *addresses)
        published.append((number, addresses))
        if chance.random() < 0.1:
            two.layer.held = two.layer.held or []
        elif two.layer.held is not None and chance.random() < 0.3:
            two.layer.release(chance.shuffle)
        if chance.random() < 0.3:
            await asyncio.sleep(0)
    two.layer.release(chance.shuffle)
    two.layer.lose = lambda publication: True  # so that nothing else may come
    for streams in two.streams:
        await streams.order.check_ends()

    for members in subscribers.values():
        for one, mine in zip(members, ({A}, {B}, {A, B}), strict=True):
            await check_order(one, mine, published)


def test_positions_cross_the_layer() -> None:
    publication = Publication((A, B), 1, id="i", positions={A: Position("e", 1), B: Position("f", 2)})

    unpacked = Publication.unpack(publication.pack())

    assert unpacked.positions == publication.positions
    assert replace(unpacked, positions=None).binary == ()


async def test_rules_that_were_read_earlier_do_not_replace_later_ones(two: Processes, monkeypatch):
    """Of two readings at once the first one may end last."""
    first: asyncio.Future[list[tuple[str, int, int, bool]]] = asyncio.get_running_loop().create_future()
    answers = [first, asyncio.sleep(0, [(A, 10, 300, False)])]

    async def query(function: object) -> list[tuple[str, int, int, bool]]:
        return await answers.pop(0)

    monkeypatch.setattr(fresh_rows, "query", query)
    slow = asyncio.ensure_future(two.here_streams.read_rules())
    await until(lambda: len(answers) == 1)
    await two.here_streams.read_rules()
    first.set_result([])
    await slow

    assert two.here_streams.bounds(A) == Bounds(10, 300)
