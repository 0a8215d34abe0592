"""A connection that subscribes again gets all that it was not sent yet, whatever its replay was doing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from routing_app.core.delivery.connection import Limits
from routing_app.core.delivery.publication import Position
from routing_app.core.streams import replay as module
from routing_app.core.streams.replay import Place, Replay
from routing_app.core.streams.rules import RuleTable
from routing_app.core.streams.store import StoreUnavailable
from tests.core.harness import Recorder
from tests.services.waiting import until
from tests.streams.client import MANY, Client
from tests.streams.harness import A, B
from tests.streams.processes import Processes

pytestmark = pytest.mark.once

FEW = Limits(outbox_frames=100, outbox_bytes=10**6)


def gaps_of(reader: Client) -> list[int]:
    """How much had been read at each gap that is told from here on."""
    told: list[int] = []
    assert reader.connection is not None
    reader.connection.on_gap = lambda: told.append(len(reader.read()))
    return told


async def stuck_in_a_replay(two: Processes, reader: Client, count: int) -> Recorder:
    """Connect a reader whose replay of `count` messages of A waits for it to read."""
    two.here_streams.use(RuleTable([("token:*", *MANY, False)]))
    for number in range(count):
        await two.here.publish(number, A)
    start = Position((await two.store.read(A, MANY)).epoch, 0)
    await reader.connect(two.here, two.here_streams, A, since={A: start}, limits=FEW)
    assert reader.connection is not None
    writer, outbox = reader.connection.writer, reader.connection.outbox
    assert isinstance(writer, Recorder)
    writer.stuck = True
    await until(lambda: outbox.filled > module.SHARE)
    return writer


@pytest.mark.parametrize("last", [0, 5])
async def test_what_a_running_replay_has_still_to_bring_comes(two: Processes, reader: Client, last: int):
    writer = await stuck_in_a_replay(two, reader, 500)
    told = gaps_of(reader)

    places = await reader.subscribe(two.here_streams, A, since={}, last=last)
    writer.release()
    await two.here.publish("new", A)

    assert await reader.until_read(501) == [*range(500), "new"]
    assert told == []
    assert last or 0 < places[A].position.offset < 500


async def test_a_position_that_the_client_names_leaves_out_the_rest(two: Processes, reader: Client):
    writer = await stuck_in_a_replay(two, reader, 500)
    sent = len(writer.held)
    end = (await two.store.read(A, MANY)).position

    await reader.subscribe(two.here_streams, A, since={A: Position(end.epoch, 490)})
    writer.release()

    assert await reader.until_read(sent + 10) == [*range(sent), *range(490, 500)]


async def test_what_comes_to_an_address_while_another_one_is_attached_comes_once(
    two: Processes, reader: Client
):
    for number in range(3):
        await two.here.publish(number, B)
    await reader.connect(two.here, two.here_streams, A)
    told = gaps_of(reader)
    assert reader.connection is not None
    attaching = asyncio.ensure_future(two.here_streams.replays.attach(reader.connection, (A, B), {}, {B: 3}))
    await until(lambda: two.here.hub.holds.has(reader.connection, A))  # type: ignore[arg-type]
    await two.here.publish("meanwhile", A)

    attachment = await attaching
    attachment.start()
    await two.here.publish("after", A)

    assert sorted(map(str, await reader.until_read(5))) == ["0", "1", "2", "after", "meanwhile"]
    assert reader.places[A] == [1, 2]
    assert told == []


async def test_the_last_messages_leave_out_nothing_that_is_on_its_way(two: Processes, reader: Client):
    await reader.connect(two.there, two.there_streams, A)
    told = gaps_of(reader)
    two.layer.held = []
    for number in range(10):
        await two.here.publish(number, A)
    await until(lambda: len(two.layer.held or []) == 10)

    await reader.subscribe(two.there_streams, A, since={}, last=3)
    two.layer.release()

    assert await reader.until_read(10) == list(range(10))
    assert told == []


async def subscribed_without_the_store(two: Processes, reader: Client) -> None:
    """Subscribe to A, which has ten messages, while the store is out: nothing is known of its order."""
    for number in range(10):
        await two.here.publish(number, A)
    two.store.down = True
    await reader.connect(two.here, two.here_streams, A)
    two.store.down = False


async def test_history_of_an_address_without_an_order_comes_once(two: Processes, reader: Client):
    await subscribed_without_the_store(two, reader)
    told = gaps_of(reader)
    assert reader.connection is not None
    attachment = await two.here_streams.replays.attach(reader.connection, (A,), {}, {A: 5})
    await two.here.publish("live", A)
    attachment.start()

    assert await reader.until_read(6) == [5, 6, 7, 8, 9, "live"]
    assert told == []


@pytest.mark.parametrize("published", [True, False])
async def test_a_message_to_an_address_without_an_order_is_told_where_its_replay_fails(
    two: Processes, reader: Client, published: bool, monkeypatch: pytest.MonkeyPatch
):
    await subscribed_without_the_store(two, reader)
    told = gaps_of(reader)

    async def find(*arguments: object) -> object:
        if published:
            await two.here.publish("withheld", A)
        raise StoreUnavailable("out")

    with monkeypatch.context() as patched:
        patched.setattr(two.here_streams.replays, "_find", find)
        with pytest.raises(StoreUnavailable):
            await reader.subscribe(two.here_streams, A, since={}, last=5)
    await two.here.publish("next", A)

    assert await reader.until_read(1) == ["next"]
    assert told == [0] * published
    await until(lambda: not two.here_streams.replays._running)


async def test_a_replay_that_fails_while_another_address_is_attached_goes_on_with_that(
    two: Processes, reader: Client, monkeypatch: pytest.MonkeyPatch
):
    writer = await stuck_in_a_replay(two, reader, 500)
    told = gaps_of(reader)
    for number in range(3):
        await two.here.publish(["b", number], B)
    assert reader.connection is not None

    find, finding, failed = two.here_streams.replays._find, asyncio.Event(), asyncio.Event()

    async def find_late(*arguments: Any) -> Any:
        finding.set()
        await failed.wait()
        return await find(*arguments)

    def fails(self: Replay) -> bool:
        raise ValueError("a fault of the product")

    monkeypatch.setattr(two.here_streams.replays, "_find", find_late)
    with monkeypatch.context() as patched:
        patched.setattr(Replay, "_is_done", fails)
        attaching = asyncio.ensure_future(
            two.here_streams.replays.attach(reader.connection, (B,), {}, {B: 3})
        )
        await finding.wait()
        two.here_streams.replays._running[reader.connection]._go.set()
        await until(lambda: told)
    failed.set()
    (await attaching).start()
    writer.release()
    await two.here.publish("live", A)

    await until(lambda: "live" in reader.read())
    await until(
        lambda: [one for one in reader.read() if isinstance(one, list)] == [["b", n] for n in range(3)]
    )
    await until(lambda: not two.here_streams.replays._running)
    assert len(told) == 1


async def test_a_replay_remembers_a_bounded_number_of_messages_to_several_addresses(
    two: Processes, reader: Client, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "MAX_SENT", 10)
    two.here_streams.use(RuleTable([("token:*", *MANY, False)]))
    for number in range(200):
        await two.here.publish(number, A, B)
    start = Position((await two.store.read(A, MANY)).epoch, 0)
    sizes: list[int] = []
    send = Replay._send

    def counted(self: Replay, reading: module._Reading) -> None:
        send(self, reading)
        sizes.append(len(self._sent))

    monkeypatch.setattr(Replay, "_send", counted)
    await reader.connect(two.here, two.here_streams, A, B, since={A: start}, last=0)

    assert await reader.until_read(200) == list(range(200))
    assert max(sizes) == 10


async def test_the_place_of_an_address_that_is_followed_is_what_was_sent(two: Processes, reader: Client):
    await reader.connect(two.here, two.here_streams, A)
    await two.here.publish(0, A)
    await reader.until_read(1)
    epoch = reader.positions[A].epoch

    places = await reader.subscribe(two.here_streams, A, B, since={B: Position("unknown", 3)})

    assert places[A] == Place(Position(epoch, 1))
