"""Messages that another process could not send, or sent in vain: their receivers, and those that are told
of a gap.

Each test drives its own clock, so that "before" and "after" are what it says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from routing_app.core.cluster import receiver, relay, replay
from routing_app.core.cluster.redis_layer import RedisLayer
from routing_app.core.cluster.replay import Log
from routing_app.core.codes import KICKED
from routing_app.core.delivery.connection import Connection, ConnectionState
from tests.core.harness import Node, lost, received, replaced, until_received
from tests.core.layers import Cluster, layer_of
from tests.services.waiting import until

pytestmark = pytest.mark.once


class Time:
    """A clock that stands until it is moved, and one of another host, which has nothing to do with it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def here(self) -> float:
        return self.now

    def there(self) -> float:
        return self.now - 777.25


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture(autouse=True)
def hasty() -> Iterator[None]:
    """Failures are noticed soon; what is waited for by the test's clock, never in vain."""
    with ExitStack() as stack:
        for name, seconds in (
            ("RETRY_SECONDS", 0.03),
            ("NOTICE_SECONDS", 0.03),
            ("HEARTBEAT_SECONDS", 0.01),
            ("RECOVERY_TICK_SECONDS", 0.01),
        ):
            stack.enter_context(replaced(relay, name, seconds))
        yield


@contextmanager
def outage(*nodes: Node) -> Iterator[None]:
    """While it lasts, these processes cannot send."""
    for node in nodes:
        layer_of(node).down = True
    try:
        yield
    finally:
        for node in nodes:
            layer_of(node).down = False


async def publish(node: Node, *numbers: int) -> None:
    for number in numbers:
        await node.publish(number, "token:a")
    await until(lambda: node.relay._batches.backlog == 0)


async def acquainted(node: Node, *others: Node) -> None:
    """Wait until a process has received heartbeats of the others, and knows their clocks."""
    names = [other.id for other in others]
    peers = node.relay._receiver._peers
    await until(lambda: all(name in peers and peers[name].offset.seconds is not None for name in names))


def counting(connection: Connection) -> list[int]:
    """Has a connection note when it is told of a gap."""
    told: list[int] = []
    connection.on_gap = lambda: told.append(1)
    return told


# --- nobody is missed -------------------------------------------------------------------------------------


@pytest.mark.parametrize("first_word", ["heartbeat", "message"])
async def test_a_process_cut_off_for_long_is_asked_by_one_that_was_deaf_when_it_came_back(
    lagging: Cluster, time: Time, first_word: str
):
    """One cannot publish for longer than it is waited for; during that another one loses its own link."""
    a, b, c = lagging.node(time.here), lagging.node(time.there), lagging.node(time.here)
    subscriber = await a.subscriber("token:a")
    for node in (b, c):
        await node.subscriber("token:b")
    await publish(b, 0)
    await acquainted(a, b, c)
    gap = lost("layer_gap")
    with outage(b):
        await publish(b, *range(1, 53))
        await until(lambda: not b.relay.healthy)
        time.now += 3 * receiver.PEER_SECONDS
        await until(lambda: a.relay._receiver._peers[c.id].received_at == time.now)
        layer_of(a).cut()
    await until(lambda: b.relay.healthy)  # it has told everybody, but one
    if first_word == "message":
        await publish(b, 53)
    layer_of(a).mend()
    if first_word == "heartbeat":
        await publish(b, 53)

    assert await until_received(subscriber, 54) == list(range(54))
    await until(lambda: a.relay.healthy)
    assert gap.grown == 0


async def test_a_message_without_a_form_holds_up_no_answer_and_is_counted_once(lagging: Cluster, time: Time):
    a, b = lagging.node(time.here), lagging.node(time.there)
    subscriber, _ = await a.subscriber("token:a"), await b.subscriber("token:b")
    send, serialize = layer_of(b).group_send, RedisLayer().serialize

    async def send_packed(group: str, message: Any) -> None:
        serialize(message)
        await send(group, message)

    await publish(b, 0)
    await acquainted(a, b)
    gap, unencodable = lost("layer_gap"), lost("unencodable")
    with replaced(layer_of(b), "group_send", send_packed):
        layer_of(a).cut()
        for message in (1, {1, 2}, 2**70, 3):
            await b.publish(message, "token:a")
            await b.relay.settled()
        layer_of(a).mend()

        assert await until_received(subscriber, 4) == [0, 1, 2**70, 3]
    await until(lambda: a.relay.healthy)
    assert (gap.grown, unencodable.grown) == (0, 1)


async def test_a_process_that_lost_its_word_to_us_is_asked_when_its_next_one_comes(
    lagging: Cluster, time: Time
):
    """Whatever became of the announcement, what is missing shows in everything that is sent later."""
    a, b = lagging.node(time.here), lagging.node(time.there)
    subscriber, _ = await a.subscriber("token:a"), await b.subscriber("token:b")
    await publish(b, 0)
    await until_received(subscriber)
    with outage(b):
        await publish(b, 1, 2)
        layer_of(a)._cut = True  # deaf, and never told
    await until(lambda: b.relay.healthy)
    layer_of(a)._cut = False
    await publish(b, 3)

    assert await until_received(subscriber, 4) == [0, 1, 2, 3]


async def test_a_new_process_gets_messages_that_one_unknown_to_it_could_not_send(
    lagging: Cluster, time: Time
):
    b, c = lagging.node(time.there), lagging.node(time.here)
    await b.subscriber("token:b")
    old = await c.subscriber("token:a")
    await publish(b, 0)
    await until_received(old)
    with outage(b):
        await publish(b, 1, 2)
        time.now += 10
        a = lagging.node(time.here)
        subscriber = await a.subscriber("token:a")
        await publish(b, 3, 4)

    assert await until_received(old, 5) == [0, 1, 2, 3, 4]
    assert await until_received(subscriber, 2) == [3, 4]


async def test_a_process_that_began_while_we_were_deaf_is_asked_for_all(lagging: Cluster, time: Time):
    a = lagging.node(time.here)
    subscriber = await a.subscriber("token:a")
    layer_of(a).cut()
    b = lagging.node(time.there)
    await b.subscriber("token:b")
    await publish(b, 0, 1)
    layer_of(a).mend()
    await publish(b, 2)

    assert await until_received(subscriber, 3) == [0, 1, 2]


async def test_a_message_that_the_layer_cannot_encode_does_not_keep_the_rest_from_being_sent_again(
    lagging: Cluster, time: Time, monkeypatch: pytest.MonkeyPatch
):
    a, b = lagging.node(time.here), lagging.node(time.there)
    subscriber, _ = await a.subscriber("token:a"), await b.subscriber("token:b")
    await publish(b, 0)
    await until_received(subscriber)
    send = layer_of(b).group_send

    async def strict(group: str, message: Any) -> None:
        if 2**70 in [item[1] for entry in message.get("entries", ()) for item in entry[1] if item[0] != "["]:
            raise OverflowError
        await send(group, message)

    monkeypatch.setattr(b.layer, "group_send", strict)
    with outage(b):
        await publish(b, 1, 2**70, 3)

    assert await until_received(subscriber, 4) == [0, 1, 2**70, 3]


async def test_a_long_log_comes_in_parts(lagging: Cluster, time: Time):
    a, b = lagging.node(time.here), lagging.node(time.there)
    subscriber, _ = await a.subscriber("token:a"), await b.subscriber("token:b")
    await publish(b, 0)
    await until_received(subscriber)
    with replaced(replay, "PART_BYTES", 2000):
        with outage(b):
            for number in range(1, 50):
                await publish(b, number)
        assert await until_received(subscriber, 50) == list(range(50))


async def test_answers_that_wait_while_this_process_stands_still_are_not_late(
    lagging: Cluster, time: Time, monkeypatch: pytest.MonkeyPatch
):
    """The first of several is read before anything tells that this process stood still."""
    loop = asyncio.get_running_loop()
    a, others = lagging.node(time.here), [lagging.node(time.there) for _ in range(2)]
    subscriber = await a.subscriber("token:a")
    for node in others:
        await node.subscriber("token:b")
        await publish(node, 0)
    await acquainted(a, *others)
    gap, told = lost("layer_gap"), counting(subscriber)
    [queue] = layer_of(a)._queues.values()
    answers: list[Any] = []
    put = queue.put_nowait

    def hold_answers(envelope: Any) -> None:
        (answers.append if envelope["kind"] == "replay" else put)(envelope)

    layer_of(a).cut()
    for node in others:
        await publish(node, 1)
    queue.put_nowait = hold_answers  # type: ignore[method-assign,assignment]
    layer_of(a).mend()
    await until(lambda: len({envelope["from"] for envelope in answers}) == 2)
    queue.put_nowait = put  # type: ignore[method-assign]
    for envelope in answers:
        put(envelope)
    stood, clock = 2 * receiver.RECOVERY_SECONDS, loop.time
    time.now += stood
    monkeypatch.setattr(loop, "time", lambda: clock() + stood)

    assert await until_received(subscriber, 4) == [0, 0, 1, 1]
    await until(lambda: a.relay.healthy)
    assert (gap.grown, told) == (0, [])


# --- the past is for nobody -------------------------------------------------------------------------------


BREAKS: dict[str, Callable[[Node, Node], tuple[Callable[[], None], Callable[[], None]]]] = {
    "the sender cannot send": lambda here, there: (
        lambda: setattr(there.layer, "down", True),
        lambda: setattr(there.layer, "down", False),
    ),
    "the receiver is deaf": lambda here, there: (layer_of(here).cut, layer_of(here).mend),
}


@pytest.mark.parametrize("breaks", BREAKS)
@pytest.mark.parametrize("who", ["a new connection", "an open connection"])
async def test_publications_before_a_subscription_are_not_for_it(
    lagging: Cluster, time: Time, breaks: str, who: str
):
    a, b = lagging.node(time.here), lagging.node(time.there)
    old, open_one = await a.subscriber("token:a"), await a.subscriber("token:other")
    await b.subscriber("token:b")
    await publish(b, 0)
    await acquainted(a, b)
    break_it, mend_it = BREAKS[breaks](a, b)
    break_it()
    time.now += 1
    await publish(b, *range(1, 30))
    time.now += 1
    young = open_one if who == "an open connection" else a.connect()
    await a.hub.subscribe(young, "token:a")
    time.now += 1
    await publish(b, *range(30, 50))
    mend_it()

    assert await until_received(old, 50) == list(range(50))
    assert await until_received(young, 20) == list(range(30, 50))


async def test_a_client_that_moves_to_another_process_after_a_gap_receives_nothing_twice(
    lagging: Cluster, time: Time
):
    """It has received there what is sent again here."""
    a, b = lagging.node(time.here), lagging.node(time.there)
    stays, near = await a.subscriber("token:a"), await b.subscriber("token:a")
    await publish(b, 0)
    await acquainted(a, b)
    with outage(a, b):
        await publish(b, *range(1, 20))
        time.now += 1
        b.hub.drop(near)
        moved = await a.subscriber("token:a")
        await publish(b, 20)

    assert received(near) == list(range(20))
    assert await until_received(stays, 21) == list(range(21))
    assert await until_received(moved) == [20]


async def test_an_old_order_to_close_ends_no_later_connection(lagging: Cluster, time: Time):
    a, b = lagging.node(time.here), lagging.node(time.there)
    old, _ = await a.subscriber("token:a"), await b.subscriber("token:b")
    await publish(b, 0)
    await acquainted(a, b)
    with outage(b):
        await b.hub.close("token:a", KICKED)
        time.now += 1
        young = await a.subscriber("token:a")
        await publish(b, 1)

    assert await until_received(young) == [1]
    assert (old.close_sent, young.state) == (KICKED, ConnectionState.OPEN)


async def test_late_messages_are_not_for_clients_that_came_after_them(lagging: Cluster, time: Time):
    """A Redis, or we, stood still for a while, and go on."""
    a, b = lagging.node(time.here), lagging.node(time.there)
    old, _ = await a.subscriber("token:a"), await b.subscriber("token:b")
    await publish(b, 0)
    await until_received(old)
    await acquainted(a, b)
    [queue] = layer_of(a)._queues.values()
    under_way: list[Any] = []
    put = queue.put_nowait
    queue.put_nowait = under_way.append  # type: ignore[method-assign,assignment]
    await publish(b, 1)
    queue.put_nowait = put  # type: ignore[method-assign]
    time.now += 20
    young = await a.subscriber("token:a")
    for envelope in under_way:
        queue.put_nowait(envelope)
    await publish(b, 2)

    assert await until_received(old, 3) == [0, 1, 2]
    assert await until_received(young) == [2]


# --- who is told of what is lost --------------------------------------------------------------------------


async def test_only_those_are_told_that_had_subscribed_when_the_lost_ones_were_published(
    lagging: Cluster, time: Time
):
    a, b = lagging.node(time.here), lagging.node(time.there)
    old, _ = await a.subscriber("token:a"), await b.subscriber("token:b")
    told = counting(old)
    await publish(b, 0)
    await acquainted(a, b)
    gap = lost("layer_gap")
    b.relay._log = Log(max_seconds=60, clock=time.there, on_lost=b.relay._log._on_lost)
    with outage(b):
        await publish(b, 1, 2)
        time.now += 50
        young = await a.subscriber("token:a")
        told_too_often = counting(young)
        time.now += 40
        await publish(b, 3)

    assert await until_received(young) == [3]
    await until(lambda: told)
    assert received(old) == [0, 3]
    assert (told, told_too_often, gap.grown) == ([1], [], 1)


async def test_one_that_ends_before_it_has_answered_leaves_a_gap_that_is_told(lagging: Cluster, time: Time):
    a, b = lagging.node(time.here), lagging.node(time.there)
    old, _ = await a.subscriber("token:a"), await b.subscriber("token:b")
    told = counting(old)
    await publish(b, 0)
    await acquainted(a, b)
    layer_of(a).cut()
    await publish(b, 1)
    with outage(a):  # it cannot ask
        layer_of(a).mend()
        await b.relay.stop()
        await until(lambda: told)

    assert (told, received(old)) == ([1], [0])


async def test_a_process_that_only_publishes_is_never_waited_for(lagging: Cluster, time: Time):
    a = lagging.node(time.here)
    subscriber = await a.subscriber("token:a")
    told = counting(subscriber)
    layer_of(a).cut()
    layer_of(a).mend()
    script = lagging.node(time.there)
    await script.publish("elsewhere", "token:b")
    await publish(script, 1, 2)

    assert await until_received(subscriber, 2) == [1, 2]
    assert not a.relay._receiver.recovering
    layer_of(a).cut()
    layer_of(a).mend()  # it may have sent more, and cannot be asked
    await until(lambda: told)
    await publish(script, 3)
    assert await until_received(subscriber, 3) == [1, 2, 3]
    await asyncio.sleep(0)
    assert told == [1]
