"""The relay when the layer fails, hangs, repeats itself or is given what it cannot carry."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from time import monotonic

import pytest
import redis
from django.utils.module_loading import import_string

from routing_app.core.address import group_name
from routing_app.core.cluster import batching, receiver, relay, subscriptions
from routing_app.core.cluster.layers import ProcessChannelLayer
from routing_app.core.cluster.redis_layer import RedisLayer
from routing_app.core.cluster.replay import Log
from routing_app.core.cluster.subscriptions import LayerUnavailable
from routing_app.core.codes import GAP
from routing_app.core.delivery.publication import Publication
from tests.core.harness import Counted, Node, lost, received, replaced, say_gaps, until_received
from tests.core.layers import Cluster, cluster, layer_of
from tests.services.redis import Redis
from tests.services.waiting import SECONDS, until

pytestmark = pytest.mark.once

MANY = 128
DEEP: list[object] = []
for _ in range(600):
    DEEP = [DEEP]


# --- what is said twice, or makes no sense ----------------------------------------------------------------


async def test_an_envelope_that_comes_twice_is_delivered_once(lagging: Cluster):
    here, there = lagging.node(), lagging.node()
    subscriber = await there.subscriber("token:a", "token:b")
    layer_of(here).doubled = True
    for number in range(20):
        await here.publish(number, "token:a")
        await here.publish(100 + number, "token:a", "token:b")
        await asyncio.sleep(0.001)
    layer_of(here).doubled = False
    await here.publish("last", "token:a")
    await until(lambda: "last" in received(subscriber))

    assert sorted(received(subscriber)[:-1]) == [*range(20), *range(100, 120)]


async def test_the_envelopes_of_many_senders_are_told_apart(lagging: Cluster):
    there = lagging.node()
    subscriber = await there.subscriber("token:a")
    for number in range(MANY):
        node = lagging.node()
        layer_of(node).doubled = True
        await node.publish(number, "token:a")
        await node.relay.settled()
    await until_received(subscriber, MANY)

    assert received(subscriber) == list(range(MANY))


MALFORMED = [
    {},
    {"type": "hub.envelope"},
    {"from": "x"},
    {"from": "x", "kind": "nonsense"},
    {"from": "x", "kind": "items", "number": 1, "hole": None, "items": 7},
    {"from": "x", "kind": "items", "number": "1", "hole": None, "items": []},
    {"from": ["x"], "kind": "items", "number": 2, "hole": None, "items": []},
    {"from": "x", "kind": "items", "number": 3, "items": []},
    {"from": "x", "kind": "items", "number": 9, "hole": None, "items": [[], "{", 7, None, ["token:a"], [[]]]},
    {
        "from": "x",
        "kind": "items",
        "number": 10,
        "hole": None,
        "items": [[["a"], "m", "$close", "", "", "", 1.0]],
    },
    {"from": "x", "kind": "heartbeat", "number": "x"},
    {"from": "x", "kind": "ask", "after": None},
    {"from": "x", "kind": "replay", "entries": [[1]], "last": True},
]


async def test_senseless_envelopes_do_not_end_the_receiver(processes: Cluster):
    here, there = processes.node(), processes.node()
    subscriber = await there.subscriber("token:a")
    for message in MALFORMED:
        await here.layer.group_send(group_name("token:a"), message)
    if processes.kind == "redis":
        with redis.Redis.from_url(processes.url) as client:
            client.publish(f"{processes.prefix}__group__{group_name('token:a')}", b"\xc1 no msgpack")
    await here.publish("still here", "token:a")

    assert await until_received(subscriber) == ["still here"]


async def test_a_bad_publication_does_not_take_its_neighbours_with_it(processes: Cluster):
    here, there = processes.node(), processes.node()
    subscriber = await there.subscriber("token:a")
    good = [["token:a"], "good", "message", "", "", "", 1.0]
    items = [good, ["token:a"], [["token:a"], "m", "$close", "", "", "", 1.0], good]
    await here.layer.group_send(
        group_name("token:a"),
        {"from": "x", "number": 1, "hole": None, "items": items, "kind": "items", "type": "hub.envelope"},
    )

    assert await until_received(subscriber, 2) == ["good", "good"]


@pytest.mark.parametrize(
    "message",
    [2**70, -(2**64), {"text": "\ud800"}, "\ud800", DEEP],
    ids=["big", "small", "key", "text", "deep"],
)
async def test_any_json_crosses_the_layer_and_holds_up_nothing(processes: Cluster, message):
    here, there = processes.node(), processes.node()
    near, far = await here.subscriber("token:a"), await there.subscriber("token:a")
    failures = lost("layer_down"), lost("unencodable")
    for one in ("before", message, "after"):
        await here.publish(one, "token:a")

    assert await until_received(far, 3) == await until_received(near, 3) == ["before", message, "after"]
    assert [failure.grown for failure in failures] == [0, 0]


async def test_an_unencodable_message_is_lost_alone_and_counted(redis_url: str):
    async with cluster("redis", redis_url) as processes:
        here, there = processes.node(), processes.node()
        subscriber = await there.subscriber("token:a")
        unencodable = lost("unencodable")
        for message in ("before", {1, 2}, "after"):
            await here.publish(message, "token:nobody-here", "token:a")
            await here.publish(message, "token:a")

        assert await until_received(subscriber, 4) == ["before", "before", "after", "after"]
        await until(lambda: unencodable.grown == 3)


def has_grown(counted: Counted, count: int) -> bool:
    return counted.grown == count


async def test_what_an_unencodable_message_had_taken_of_the_backlog_is_free_again(redis_url: str):
    async with cluster("redis", redis_url) as processes:
        here, there = processes.node(), processes.node()
        subscriber = await there.subscriber("token:a")
        unencodable, refused = lost("unencodable"), lost("layer_backlog")
        with replaced(batching, "BACKLOG", 4), replaced(relay, "PATIENCE_SECONDS", 0.05):
            for number in range(10):
                for message in (number, {1, 2}):  # in one envelope
                    here.hub.publish_soon(Publication(("token:a",), message))
                await until(partial(has_grown, unencodable, number + 1))
                await here.hub.caught_up()

        assert (await until_received(subscriber, 10), refused.grown) == ([*range(10)], 0)
        async with asyncio.timeout(SECONDS):
            await here.relay.settled()


# --- a layer that is down ---------------------------------------------------------------------------------


async def test_while_the_layer_is_down_local_delivery_works_and_the_others_get_it_later(lagging: Cluster):
    here, there = lagging.node(), lagging.node()
    near, far = await here.subscriber("token:a"), await there.subscriber("token:a")
    await here.publish("before", "token:a")
    assert await until_received(far) == ["before"]
    down = lost("layer_down")
    with replaced(relay, "RETRY_SECONDS", 0.2), replaced(relay, "NOTICE_SECONDS", 0.1):
        layer_of(here).down = True
        for number in range(10):
            assert await here.publish(number, "token:a") == 1
        assert await until_received(near, 11) == ["before", *range(10)]
        await until(lambda: not here.relay.healthy)
        await here.publish("late", "token:a")
        layer_of(here).down = False
        await here.publish("back", "token:a")

        assert await until_received(far, 13) == ["before", *range(10), "late", "back"]
        await until(lambda: here.relay.healthy and there.relay.healthy)
    assert down.grown == 0


async def test_a_heartbeat_does_not_vouch_for_messages_that_never_left(lagging: Cluster):
    """The word that something is to be asked for fails, and the heartbeat after it gets through."""
    here, there = lagging.node(), lagging.node()
    _, far = await here.subscriber("token:a"), await there.subscriber("token:a")
    await here.publish("before", "token:a")
    assert await until_received(far) == ["before"]
    with (
        replaced(relay, "RETRY_SECONDS", 0.05),
        replaced(relay, "NOTICE_SECONDS", 0.05),
        replaced(relay, "HEARTBEAT_SECONDS", 0.01),
    ):
        layer_of(here).down = True
        await here.publish("unsent", "token:a")
        await until(lambda: not here.relay.healthy)
        layer_of(here).failures, layer_of(here).down = 1, False

        assert await until_received(far, 2) == ["before", "unsent"]


async def test_messages_beyond_the_log_while_the_layer_is_down_are_lost_and_counted(lagging: Cluster):
    here, there = lagging.node(), lagging.node()
    _, far = await here.subscriber("token:a"), await there.subscriber("token:a")
    await here.publish("before", "token:a")
    assert await until_received(far) == ["before"]
    told: list[int] = []
    far.on_gap = lambda: told.append(1)
    down, gap = lost("layer_down"), lost("layer_gap")
    here.relay._log = Log(max_bytes=5_000, on_lost=here.relay._log._on_lost)
    with replaced(relay, "RETRY_SECONDS", 0.1), replaced(relay, "NOTICE_SECONDS", 0.1):
        layer_of(here).down = True
        for number in range(50):
            await here.publish(f"{number:<1000}", "token:a")
            await asyncio.sleep(0.005)
        await until(lambda: down.grown > 0)
        layer_of(here).down = False
        await here.publish("back", "token:a")
        await until(lambda: received(far)[-1] == "back")

    assert told == [1]
    assert gap.grown == 1
    numbers = [int(text) for text in received(far)[1:-1]]
    assert numbers == list(range(50 - len(numbers), 50))
    assert len(numbers) + down.grown == 50


async def test_a_short_outage_loses_nothing(lagging: Cluster):
    here, there = lagging.node(), lagging.node()
    far = await there.subscriber("token:a")
    down = lost("layer_down")
    layer_of(here).down = True
    for number in range(10):
        await here.publish(number, "token:a")
        await asyncio.sleep(0.01)
    layer_of(here).down = False

    assert await until_received(far, 10) == list(range(10))
    assert down.grown == 0


@pytest.mark.parametrize("trouble", ["down", "hanging"])
async def test_a_new_socket_waits_seconds_and_not_for_all_that_is_waiting(lagging: Cluster, trouble: str):
    node = lagging.node()
    await node.subscriber("token:a")
    with replaced(relay, "RETRY_SECONDS", 0.3):
        setattr(layer_of(node), trouble, True)
        for number in range(200):
            await node.publish(number, f"token:{number}")
        await asyncio.sleep(0)
        with replaced(subscriptions, "CONFIRM_SECONDS", 0.3), pytest.raises(LayerUnavailable):
            await node.subscriber("token:new")

        setattr(layer_of(node), trouble, False)
        await node.subscriber("token:new")


async def test_connections_that_leave_while_the_layer_is_down_are_unsubscribed_when_it_is_back(
    lagging: Cluster,
):
    node = lagging.node()
    crowd = [await node.subscriber(f"token:{number}") for number in range(20)]
    with replaced(subscriptions, "DISCARD_SECONDS", 0.05):
        layer_of(node).down = True
        for one in crowd[1:]:
            node.hub.drop(one)
        await asyncio.sleep(0.2)
        layer_of(node).down = False

        await until(lambda: lagging.subscriptions() == {group_name("token:0")})


async def test_a_full_backlog_slows_the_publisher_and_then_counts_losses(lagging: Cluster):
    here, there = lagging.node(), lagging.node()
    near, far = await here.subscriber("token:a"), await there.subscriber("token:a")
    say_gaps(near, far)
    backlog = lost("layer_backlog")
    with (
        replaced(batching, "BACKLOG", 50),
        replaced(relay, "PATIENCE_SECONDS", 0.1),
        replaced(relay, "RETRY_SECONDS", 60),
    ):
        layer_of(here).hanging = True
        for number in range(50):
            await here.publish(number, "token:a")
        assert backlog.grown == 0
        begun = monotonic()
        assert await here.publish("too much", "token:a") == 1
        assert monotonic() - begun >= 0.1
        assert backlog.grown == 1

    with replaced(batching, "BACKLOG", 50), replaced(relay, "PATIENCE_SECONDS", 60):
        waiting = asyncio.ensure_future(here.publish("in time", "token:a"))
        await asyncio.sleep(0.01)
        layer_of(here).hanging = False
        await waiting

    assert await until_received(far, 52) == [*range(50), "gap", "in time"]
    assert await until_received(near, 52) == [*range(50), "too much", "in time"]
    assert backlog.grown == 1


async def test_a_publisher_that_is_cancelled_while_it_waits_is_a_loss_that_is_told(lagging: Cluster):
    here, there = lagging.node(), lagging.node()
    near, far = await here.subscriber("token:a"), await there.subscriber("token:a")
    say_gaps(near, far)
    backlog, failures = lost("layer_backlog"), here.relay.failures
    with (
        replaced(batching, "BACKLOG", 5),
        replaced(relay, "PATIENCE_SECONDS", 60),
        replaced(relay, "RETRY_SECONDS", 60),
    ):
        layer_of(here).hanging = True
        for number in range(5):
            await here.publish(number, "token:a")
        waiting = asyncio.ensure_future(here.publish("cancelled", "token:a"))
        await until(lambda: "cancelled" in received(near))
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        layer_of(here).hanging = False
        await here.publish("after", "token:a")

    assert await until_received(far, 7) == [*range(5), "gap", "after"]
    assert (backlog.grown, here.relay.failures - failures) == (1, 1)


async def flood(node: Node, trouble: str, *lost_ones: str) -> None:
    """Fill the backlog while the layer is in trouble, and publish to some addresses for which there is no
    room; the layer works again when this returns."""
    with (
        replaced(batching, "BACKLOG", 20),
        replaced(relay, "PATIENCE_SECONDS", 0.05),
        replaced(relay, "RETRY_SECONDS", 30),
    ):
        setattr(layer_of(node), trouble, True)
        for number in range(20):
            await node.publish(number, "token:flood")
        assert node.relay.full
        await asyncio.gather(*(node.publish("lost", address) for address in lost_ones))
        setattr(layer_of(node), trouble, False)


@pytest.mark.parametrize("trouble", ["down", "hanging"])
async def test_those_whose_messages_found_no_room_are_told_and_nobody_else(lagging: Cluster, trouble: str):
    here, there = lagging.node(), lagging.node()
    told, closed, other = [await there.subscriber(one) for one in ("token:a", "token:b", "token:c")]
    own = there.connect()
    say_gaps(told, own)
    await flood(here, trouble, "token:a", "token:b", f"connection:{own.id}")
    for address in ("token:a", "token:b", "token:c", f"connection:{own.id}"):
        await here.publish("after", address)

    assert await until_received(told, 2) == ["gap", "after"]
    assert await until_received(own, 2) == ["gap", "after"]
    assert await until_received(other) == ["after"]
    assert closed.close_sent == GAP
    assert other.close_sent is None


async def test_everybody_is_told_when_messages_to_many_addresses_found_no_room(lagging: Cluster):
    here, there = lagging.node(), lagging.node()
    crowd = [await there.subscriber(f"token:{number}") for number in range(5)]
    with replaced(batching, "MOST_TOLD", 2):
        await flood(here, "down", *(f"token:{number}" for number in range(4)))
        await until(lambda: all(one.close_sent == GAP for one in crowd))


async def test_a_mass_arrival_is_subscribed_in_rounds(lagging: Cluster):
    """One round of all would be over its time; every round is proven by an echo."""
    here, there = lagging.node(), lagging.node()
    with replaced(subscriptions, "SUBSCRIPTIONS", 10):
        subscriber = await there.subscriber(*[f"token:{number}" for number in range(95)])
    for number in range(95):
        await here.publish(number, f"token:{number}")

    assert sorted(await until_received(subscriber, 95)) == list(range(95))


# --- a Redis that goes and comes back ---------------------------------------------------------------------


@pytest.fixture
async def redis_of_its_own(tmp_path: Path):
    # It may stand still for longer than others are waited for, and then be there again.
    with Redis(tmp_path) as server, replaced(receiver, "RECOVERY_SECONDS", 60):
        yield server


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_after_a_restart_of_redis_everything_works_again(redis_of_its_own: Redis, end: str):
    async with cluster("redis", redis_of_its_own.url) as processes:
        here, there = processes.node(), processes.node()
        near, far = await here.subscriber("token:a"), await there.subscriber("token:a", "token:b")
        leaver = await there.subscriber("token:left")
        await here.publish("before", "token:a")
        assert await until_received(far) == ["before"]
        down, gap = lost("layer_down"), lost("layer_gap")
        errors = Counted("switchboard_layer_errors_total")

        getattr(redis_of_its_own, end)()
        with replaced(relay, "RETRY_SECONDS", 0.3):
            for number in range(5):
                assert await here.publish(number, "token:a") == 1
            await until(lambda: not here.relay.healthy)
        with pytest.raises(LayerUnavailable):
            await there.subscriber("token:refused")
        there.hub.drop(leaver)
        assert errors.grown > 0

        redis_of_its_own.start()
        late = await there.subscriber("token:late")
        await here.publish("after", "token:a", "token:late")
        assert "after" in await until_received(late)
        await until(lambda: received(far)[-1:] == ["after"])

        assert received(near) == received(far) == ["before", *range(5), "after"]
        assert (gap.grown, down.grown) == (0, 0)
        await until(lambda: len(processes.subscriptions()) == 3)
        assert processes.subscriptions() == {group_name(f"token:{name}") for name in ("a", "b", "late")}


async def test_a_redis_that_is_down_at_the_start_refuses_and_then_serves(redis_of_its_own: Redis):
    redis_of_its_own.stop()
    async with cluster("redis", redis_of_its_own.url) as processes:
        here, there = processes.node(), processes.node()
        with pytest.raises(LayerUnavailable):
            await there.subscriber("token:a")
        assert there.hub.addresses() == []

        redis_of_its_own.start()
        subscriber = await there.subscriber("token:a")
        await here.publish("x", "token:a")
        assert await until_received(subscriber) == ["x"]


async def test_a_connection_to_redis_that_is_cut_is_made_again_and_nothing_is_missing(
    redis_of_its_own: Redis,
):
    """Nothing else would say that messages were missed: the publisher's own connection was fine."""
    async with cluster("redis", redis_of_its_own.url) as processes:
        here, there = processes.node(), processes.node()
        _, far = await here.subscriber("token:b"), await there.subscriber("token:a")
        await here.publish(-1, "token:a")
        assert await until_received(far) == [-1]
        gap = lost("layer_gap")
        with redis.Redis.from_url(redis_of_its_own.url) as client:
            for number in range(100):
                if number == 50:
                    assert client.execute_command("CLIENT", "KILL", "TYPE", "pubsub") == 2
                await here.publish(number, "token:a")

        assert await until_received(far, 101) == list(range(-1, 100))
        assert gap.grown == 0


def test_the_layer_that_settings_choose_is_the_one_tested_here():
    """With the layer of sorted sets, messages over capacity are lost without a word."""
    from broker_project.settings import CHANNEL_LAYERS, REDIS_URL

    backend = import_string(CHANNEL_LAYERS["default"]["BACKEND"])
    assert backend is (RedisLayer if REDIS_URL else ProcessChannelLayer)
