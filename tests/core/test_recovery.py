"""Any sequence of outages: everything arrives once and in each sender's order, or the client is told."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing_app.core.cluster import receiver, relay
from routing_app.core.delivery.connection import Connection
from tests.core.harness import Node, lost, received, replaced, scaled, until_received
from tests.core.layers import LaggingLayer, cluster
from tests.services.waiting import until

pytestmark = pytest.mark.once

SENDERS = 2
LAST = 1_000_000
TROUBLES = ["down", "unsure", "cut"]

publish = st.tuples(st.just("publish"), st.integers(0, SENDERS - 1), st.sampled_from(["a", "b", "ab"]))
trouble = st.tuples(st.just("trouble"), st.integers(0, SENDERS), st.sampled_from(TROUBLES))
mend = st.tuples(st.just("mend"), st.integers(0, SENDERS), st.none())
join = st.tuples(st.just("join"), st.integers(0, SENDERS), st.none())
wait = st.tuples(st.just("wait"), st.sampled_from([0, 5, 15, 40, 60]), st.none())
episode = st.tuples(publish, trouble, publish | join, wait, publish, trouble | mend | join, wait, publish)
steps = st.one_of(
    st.lists(episode, min_size=1, max_size=4).map(
        lambda episodes: [step for one in episodes for step in one]
    ),
    st.lists(publish | trouble | mend | wait | join, max_size=40),
)


@settings(max_examples=scaled(20))
@given(steps)
def test_after_any_sequence_of_outages_everything_arrives_once_and_in_order(steps):
    with (
        replaced(relay, "RETRY_SECONDS", 0.03),
        replaced(relay, "NOTICE_SECONDS", 0.02),
        replaced(relay, "HEARTBEAT_SECONDS", 0.01),
        replaced(relay, "RECOVERY_TICK_SECONDS", 0.01),
        replaced(receiver, "RECOVERY_SECONDS", 10),
    ):
        asyncio.run(_carry_out(steps))


async def _carry_out(steps: list[Any]) -> None:
    async with cluster("lagging") as processes:
        nodes = [processes.node() for _ in range(SENDERS + 1)]
        subscribers = [await node.subscriber("token:a", "token:b", "token:all") for node in nodes]
        told: list[int] = []
        for subscriber in subscribers:
            subscriber.on_gap = partial(told.append, 1)
        await _know_each_other(nodes, subscribers)
        counts = lost("layer_down"), lost("layer_gap"), lost("layer_backlog")

        published: list[list[Any]] = []
        joined: list[tuple[Connection, int]] = []
        for number, (step, which, detail) in enumerate(steps):
            if step == "publish":
                addresses = [f"token:{name}" for name in detail]
                published.append([which, number, addresses])
                await nodes[which].publish(published[-1], *addresses)
            elif step == "join":
                joined.append((await nodes[which].subscriber("token:a", "token:b"), len(published)))
            elif step == "trouble":
                _disturb(nodes[which], detail)
            elif step == "mend":
                _mend(nodes[which])
            else:
                await asyncio.sleep(which / 1000)
        for node in nodes:
            _mend(node)
        for subscriber in subscribers:
            await until_received(subscriber, len(nodes) + len(published))
        await _publish_last(nodes, subscribers, published)

        for subscriber in subscribers:
            _check(received(subscriber)[len(nodes) :], published)
        await _check_later([(subscriber, published[begin:]) for subscriber, begin in joined])
        assert told == []
        assert [count.grown for count in counts] == [0, 0, 0]


async def _publish_last(nodes: list[Node], subscribers: list[Connection], published: list[list[Any]]) -> None:
    """What would come again comes before what each node publishes now."""
    for which, node in enumerate(nodes):
        published.append([which, LAST, ["token:a", "token:b"]])
        await node.publish(published[-1], "token:a", "token:b")
    for subscriber in subscribers:
        await until_received(subscriber, len(nodes) + len(published))


async def _check_later(joined: list[tuple[Connection, list[list[Any]]]]) -> None:
    """Those that subscribed late have all that was published afterwards."""
    for subscriber, published in joined:
        for message in published:
            await until(partial(_has, subscriber, message))
        _check([message for message in received(subscriber) if message in published], published)


def _check(messages: list[Any], published: list[list[Any]]) -> None:
    """Each message once, and in order for each sender and address."""
    assert sorted(messages) == sorted(published)
    for sender in range(SENDERS):
        for address in ("token:a", "token:b"):
            numbers = [number for who, number, to in messages if who == sender and address in to]
            assert numbers == sorted(numbers)


async def _know_each_other(nodes: list[Node], subscribers: list[Any]) -> None:
    """Each has received each: what a process sent before that is nobody's loss."""
    for node in nodes:
        await node.publish(["begin"], "token:all")
    for subscriber in subscribers:
        await until_received(subscriber, len(nodes))


def _layer(node: Node) -> LaggingLayer:
    assert isinstance(node.layer, LaggingLayer)
    return node.layer


def _disturb(node: Node, trouble: str) -> None:
    if trouble == "cut":
        _layer(node).cut()
    else:
        setattr(_layer(node), trouble, True)


def _mend(node: Node) -> None:
    layer = _layer(node)
    layer.down = layer.unsure = False
    layer.mend()


def _has(subscriber: Connection, message: Any) -> bool:
    return message in received(subscriber)
