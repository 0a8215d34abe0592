"""After a subscription from a position on: all that was missed, once, in order, and before what is new."""

from __future__ import annotations

import asyncio

import pytest

from routing_app.core.codes import GAP
from routing_app.core.delivery.connection import Limits
from routing_app.core.delivery.publication import Position
from routing_app.core.streams import replay as module
from routing_app.core.streams.replay import NO_PLACE, Place
from routing_app.core.streams.rules import RuleTable
from routing_app.core.streams.store import Bounds, StoreUnavailable
from tests.core.harness import Recorder, lost
from tests.services.waiting import until
from tests.streams.client import ENCODER, MANY, Client
from tests.streams.harness import A, B
from tests.streams.processes import Processes

pytestmark = pytest.mark.once


async def test_missed_messages_come_first_then_new_ones(two: Processes, reader: Client):
    await reader.connect(two.here, two.here_streams, A)
    await two.there.publish(1, A)
    await reader.until_read(1)
    reader.leave(two.here)
    for number in (2, 3, 4):
        await two.here.publish(number, A)

    places = await reader.connect(two.there, two.there_streams, A)
    await two.here.publish(5, A)

    assert await reader.until_read(5) == [1, 2, 3, 4, 5]
    assert places[A].recovered is True
    assert places[A].position.offset == 4
    assert reader.places == {A: [1, 2, 3, 4, 5]}


async def test_nothing_comes_before_the_start(two: Processes):
    await two.here.publish(1, A)
    page = await two.store.read(A, MANY)
    one = two.here.connect()
    attachment = await two.here_streams.replays.attach(one, [A], {A: Position(page.epoch, 0)})
    await two.here.publish(2, A)
    for _ in range(20):
        await asyncio.sleep(0)
    assert isinstance(one.writer, Recorder)
    assert one.writer.texts == []

    attachment.start()

    await until(lambda: len(one.writer.messages) == 2)  # type: ignore[attr-defined]
    assert one.writer.messages == [1, 2]


async def test_the_last_messages(two: Processes, reader: Client):
    two.here_streams.use(RuleTable([("token:*", *MANY, False)]))
    for number in range(250):
        await two.here.publish(number, A)

    places = await reader.connect(two.here, two.here_streams, A, B, last=120)
    await two.here.publish(250, A)

    assert await reader.until_read(121) == list(range(130, 251))
    assert places == {A: Place(Position(places[A].position.epoch, 250)), B: Place(places[B].position)}


async def test_more_than_are_kept_are_those_that_are(two: Processes, reader: Client):
    for number in range(30):
        await two.here.publish(number, A)

    await reader.connect(two.here, two.here_streams, A, last=1000)

    assert await reader.until_read(10) == list(range(20, 30))


@pytest.mark.parametrize("epoch", ["unknown", ""])
@pytest.mark.parametrize("offset", [0, 3, 99])
async def test_none_of_the_old_ones_comes_where_it_cannot_be_whole(
    two: Processes, reader: Client, epoch: str, offset: int
):
    for number in range(12):
        await two.here.publish(number, A)
    end = (await two.store.read(A, Bounds(10, 300))).position
    since = Position(epoch or end.epoch, {3: 1}.get(offset, offset))

    places = await reader.connect(two.here, two.here_streams, A, since={A: since}, last=5)
    await two.here.publish("new", A)

    assert await reader.until_read(1) == ["new"]
    assert places == {A: Place(end, recovered=False)}


async def test_an_address_without_history_has_no_place(two: Processes, reader: Client):
    places = await reader.connect(two.here, two.here_streams, A, "user:1", since={"user:1": Position("x", 3)})
    assert places == {"user:1": NO_PLACE, A: Place(places[A].position)}
    await two.there.publish("x", "user:1")
    assert await reader.until_read(1) == ["x"]


async def test_new_messages_wait_while_the_client_does_not_read(two: Processes, reader: Client):
    """However many were missed, the connection is not closed as too slow."""
    two.here_streams.use(RuleTable([("token:*", *MANY, False)]))
    for number in range(3000):
        await two.here.publish(number, A)
    start = Position((await two.store.read(A, MANY)).epoch, 0)
    await reader.connect(
        two.here, two.here_streams, A, since={A: start}, limits=Limits(outbox_frames=100, outbox_bytes=10**6)
    )
    assert reader.connection is not None
    writer = reader.connection.writer
    assert isinstance(writer, Recorder)
    writer.stuck = True
    for number in range(3000, 3100):
        await two.here.publish(number, A)
    await until(lambda: reader.connection.outbox.filled > module.SHARE)  # type: ignore[union-attr]
    assert len(writer.held) < 100

    writer.release()

    assert await reader.until_read(3100) == list(range(3100))
    assert reader.connection.close_sent is None


async def test_subscribing_again_replays_again(two: Processes, reader: Client):
    start = Position((await two.store.read(A, MANY)).epoch, 0)
    await reader.connect(two.here, two.here_streams, A)
    for number in range(3):
        await two.here.publish(number, A)
    await reader.until_read(3)

    await reader.subscribe(two.here_streams, A, since={A: start})
    await two.here.publish(3, A)

    assert await reader.until_read(7) == [0, 1, 2, 0, 1, 2, 3]


async def test_the_sender_of_a_message_is_left_out_of_its_replay(two: Processes, reader: Client):
    start = Position((await two.store.read(A, MANY)).epoch, 0)
    reader.connection = two.here.connect(ENCODER)
    await two.here.publish("own", A, exclude=reader.connection.id)
    await two.here.publish("other", A)
    await reader.subscribe(two.here_streams, A, since={A: start})
    assert await reader.until_read(1) == ["other"]


async def test_messages_that_are_gone_before_they_are_read_are_a_gap(
    two: Processes, reader: Client, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "PAGE", 2)
    gaps = lost("layer_gap")
    start = Position((await two.store.read(A, MANY)).epoch, 0)
    for number in range(8):
        await two.here.publish(number, A)
    reader.connection = two.here.connect(ENCODER)
    told: list[int] = []
    reader.connection.on_gap = lambda: told.append(len(reader.read()))
    attachment = await two.here_streams.replays.attach(reader.connection, [A], {A: start})
    for number in range(8, 20):
        await two.here.publish(number, A)

    attachment.start()

    await reader.until_read(12)
    assert reader.messages == [0, 1, *range(10, 20)]
    assert len(told) == 1
    assert gaps.grown == 1


async def test_a_history_that_is_deleted_meanwhile_loses_nothing_that_came_after(
    two: Processes, reader: Client, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "PAGE", 2)
    start = Position((await two.store.read(A, MANY)).epoch, 0)
    for number in range(6):
        await two.here.publish(number, A)
    reader.connection = two.here.connect(ENCODER)
    attachment = await two.here_streams.replays.attach(reader.connection, [A], {A: start})
    await two.here_streams.delete(A, MANY)
    await two.here.publish("after", A)
    attachment.start()
    # Nobody can be told what was deleted; a client that cannot be told of a gap is sent away.
    await until(lambda: reader.connection.close_sent is GAP)  # type: ignore[union-attr]


async def test_what_was_read_of_an_epoch_that_ends_meanwhile_comes(two: Processes, reader: Client):
    """The store was lost between a reading and the sending of it."""
    near = Client()
    await near.connect(two.there, two.there_streams, A)
    near.connection.on_gap = lambda: None  # type: ignore[union-attr]
    start = Position((await two.store.read(A, MANY)).epoch, 0)
    two.layer.held = []
    for number in range(3):
        await two.here.publish(number, A)
    reader.connection = two.there.connect(ENCODER)
    told: list[int] = []
    reader.connection.on_gap = lambda: told.append(len(reader.read()))
    attachment = await two.there_streams.replays.attach(reader.connection, [A, B], {A: start})
    two.store._streams.pop(A)
    two.layer.held = None
    await two.here.publish("new", A)
    assert await near.until_read(1) == ["new"]

    attachment.start()
    await two.here.publish("b", B)

    await until(lambda: {"new", "b"} <= set(reader.read()))
    assert [one for one in reader.messages if one != "b"] == [0, 1, 2, "new"]
    assert len(told) == 1


async def test_a_store_that_is_out_subscribes_to_nothing(two: Processes, reader: Client):
    await reader.connect(two.here, two.here_streams, A)
    await two.here.publish(0, A)
    two.store.down = True
    with pytest.raises(StoreUnavailable):
        await reader.subscribe(two.here_streams, A, B, since={B: Position("x", 1)})
    two.store.down = False
    assert reader.connection is not None
    assert set(reader.connection.addresses) == {A}

    await two.here.publish(1, A)
    assert await reader.until_read(2) == [0, 1]
    assert reader.places == {A: [1, 2]}


async def test_unsubscribing_ends_a_replay(two: Processes, reader: Client):
    start = Position((await two.store.read(A, MANY)).epoch, 0)
    await two.here.publish(0, A)
    reader.connection = two.here.connect(ENCODER)
    attachment = await two.here_streams.replays.attach(reader.connection, [A, B], {A: start})
    two.here.hub.unsubscribe(reader.connection, A)
    attachment.start()
    await two.here.publish("b", B)
    assert await reader.until_read(1) == ["b"]
    await until(lambda: not two.here_streams.replays._running)
    assert not two.here.hub.holds._addresses


@pytest.mark.parametrize(
    ("addresses", "gaps"), [((A, "user:1"), 1), ((A,), 0), ((A, B), 0), (("user:1",), 0)], ids=str
)
async def test_leaving_a_stream_whose_replay_would_have_brought_something_for_another_address_is_a_gap(
    two: Processes, reader: Client, addresses: tuple[str, ...], gaps: int
):
    """The replay that brings it for both addresses has ended; that of another stream goes on."""
    told: list[bool] = []
    start = Position((await two.store.read(A, MANY)).epoch, 0)
    reader.connection = two.here.connect(ENCODER)
    reader.connection.on_gap = lambda: told.append(True)
    since = {A: start, B: Position((await two.store.read(B, MANY)).epoch, 0)}
    attachment = await two.here_streams.replays.attach(reader.connection, [A, B, "user:1"], since)
    await two.there.publish("x", *addresses)
    await until(lambda: two.here_streams.order.position(A) == Position(start.epoch, A in addresses))

    two.here.hub.unsubscribe(reader.connection, A)
    attachment.start()
    await two.there.publish("y", "user:1")

    await until(lambda: "y" in reader.read())
    await until(lambda: not two.here_streams.replays._running)
    assert len(told) == gaps
    assert reader.read().count("x") == (B in addresses or "user:1" in addresses) - gaps
    assert not two.here.hub.holds._withheld


async def test_leaving_a_stream_after_its_replay_is_no_gap(two: Processes, reader: Client):
    told: list[bool] = []
    start = Position((await two.store.read(A, MANY)).epoch, 0)
    reader.connection = two.here.connect(ENCODER)
    reader.connection.on_gap = lambda: told.append(True)
    attachment = await two.here_streams.replays.attach(reader.connection, [A, "user:1"], {A: start})
    await two.there.publish("x", A, "user:1")
    attachment.start()
    assert await reader.until_read(1) == ["x"]
    await until(lambda: not two.here_streams.replays._running)

    two.here.hub.unsubscribe(reader.connection, A)
    await two.there.publish("y", "user:1")

    assert await reader.until_read(2) == ["x", "y"]
    assert told == []


async def test_what_was_published_before_its_process_knew_the_rule_comes_at_once(
    two: Processes, reader: Client
):
    start = Position((await two.store.read(A, MANY)).epoch, 0)
    await two.here.publish(0, A)
    reader.connection = two.here.connect(ENCODER)
    attachment = await two.here_streams.replays.attach(reader.connection, [A], {A: start})
    two.there_streams.use(RuleTable())
    two.there.hub.streams = None
    await two.there.publish("unkept", A)
    assert await reader.until_read(1) == ["unkept"]
    attachment.start()
    assert await reader.until_read(2) == ["unkept", 0]


async def test_a_position_ahead_of_this_process_is_waited_for(two: Processes, reader: Client):
    """Another worker had delivered further before the client came here."""
    near = Client()
    await near.connect(two.there, two.there_streams, A)
    two.layer.lose = lambda publication: True
    await two.here.publish(0, A)
    end = (await two.store.read(A, MANY)).position

    await reader.connect(two.there, two.there_streams, A, since={A: end})
    await two.here.publish(1, A)

    assert await reader.until_read(1) == [1]
    assert await near.until_read(2) == [0, 1]


async def test_an_order_that_began_without_the_store_repeats_nothing_after_a_replay(
    two: Processes, reader: Client
):
    live = Client()
    two.store.down = True
    await live.connect(two.there, two.there_streams, A)
    told: list[int] = []
    live.connection.on_gap = lambda: told.append(1)  # type: ignore[union-attr]
    two.store.down = False
    start = Position((await two.store.read(A, MANY)).epoch, 0)
    two.layer.held = []
    for number in range(3):
        await two.here.publish(number, A)
    await until(lambda: len(two.layer.held or []) == 3)
    await reader.connect(two.there, two.there_streams, A, since={A: start})
    assert await reader.until_read(3) == [0, 1, 2]

    two.layer.release()
    await two.here.publish(3, A)

    assert await reader.until_read(4) == [0, 1, 2, 3]
    assert await live.until_read(1) == [3]
    assert told == [1]
