"""Any interleaving: messages once and in order, the layer subscribed to exactly what the hub has."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from routing_app.core.address import group_name
from routing_app.core.cluster import batching, subscriptions
from routing_app.core.cluster.subscriptions import LayerUnavailable
from routing_app.core.delivery.connection import Connection
from tests.core.harness import Node, received, replaced, scaled, until_received
from tests.core.layers import Cluster, LaggingLayer, cluster
from tests.services.waiting import until

pytestmark = pytest.mark.once

NAMES = ["token:a", "token:b", "token:c", "user:1"]
some_addresses = st.lists(st.sampled_from(NAMES), min_size=1, max_size=4)

EARS = [("token:a",), ("token:b",), ("token:a", "token:b")]
"""The addresses of the three subscribers of each process."""
plans = st.fixed_dictionaries(
    {
        "processes": st.integers(2, 3),
        # Whether a message to two addresses counts as one to many.
        "wide": st.booleans(),
        # Which process publishes, to what, and how many loop turns pass afterwards.
        "posts": st.lists(
            st.tuples(
                st.integers(0, 1),
                st.sampled_from([["a"], ["a"], ["b"], ["a", "b"], ["b", "a"], ["a", "a"], ["a", "nobody"]]),
                st.sampled_from([0, 0, 0, 0, 0, 1, 20]),
            ),
            min_size=3,
            max_size=40,
        ),
    }
)


@pytest.mark.parametrize(
    ("kind", "examples"),
    [("process", 60), ("lagging", 60), ("redis", 15)],
    ids=["process", "lagging", "redis"],
)
def test_any_plan_of_single_and_multi_address_messages_arrives_once_and_in_order(
    request: pytest.FixtureRequest, kind: str, examples: int
):
    url = request.getfixturevalue("redis_url") if kind == "redis" else ""

    @settings(max_examples=scaled(examples))
    @given(plans)
    def attempt(plan):
        with replaced(batching, "WIDE", 1 if plan["wide"] else batching.WIDE):
            asyncio.run(_carry_out(kind, url, plan))

    attempt()


async def _carry_out(kind: str, url: str, plan: dict[str, Any]) -> None:
    async with cluster(kind, url) as processes:
        nodes = [processes.node() for _ in range(plan["processes"])]
        subscribers = [(await node.subscriber(*mine), set(mine)) for node in nodes for mine in EARS]
        ends = [await node.subscriber("token:end") for node in nodes]
        posts = [(who, [f"token:{name}" for name in names]) for who, names, _ in plan["posts"]]
        for number, (who, addresses) in enumerate(posts):
            await nodes[who].publish([who, number, addresses], *addresses)
            for _ in range(plan["posts"][number][2]):
                await asyncio.sleep(0)
        for node in nodes[:2]:
            await node.publish("end", "token:end")
        for end in ends:
            await until_received(end, 2)

        for subscriber, mine in subscribers:
            _check(received(subscriber), mine, posts)


def _check(messages: list[Any], mine: set[str], posts: list[Any]) -> None:
    """Each message once, and in order for each sender and address."""
    expected = [[who, number, to] for number, (who, to) in enumerate(posts) if mine & set(to)]
    assert Counter(map(str, messages)) == Counter(map(str, expected))
    for sender in (0, 1):
        for address in mine:
            numbers = [number for who, number, to in messages if who == sender and address in to]
            assert numbers == sorted(numbers)


class Subscriptions(RuleBasedStateMachine):
    """Connections of one process that subscribe, give up, leave and are cancelled while others publish.

    Nothing is awaited but by chance: tasks overlap in every way, and the layer fails now and then.
    """

    kind = "lagging"
    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.number = 0
        self.tasks: list[asyncio.Task[None]] = []
        self.loop.run_until_complete(self._begin())

    async def _begin(self) -> None:
        self.cluster = Cluster(self.kind, self.url)
        self.here, self.there = self.cluster.node(), self.cluster.node()
        self.connections = [self.there.connect() for _ in range(3)]

    def _run(self, turns: int = 0) -> None:
        async def wait() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)

        self.loop.run_until_complete(wait())

    @rule(who=st.integers(0, 2), addresses=some_addresses)
    def subscribe(self, who, addresses):
        async def begin() -> None:
            self.tasks.append(
                asyncio.ensure_future(self.there.hub.subscribe(self.connections[who], *addresses))
            )

        self.loop.run_until_complete(begin())

    @rule(who=st.integers(0, 2), addresses=some_addresses)
    def unsubscribe(self, who, addresses):
        async def do() -> None:
            self.there.hub.unsubscribe(self.connections[who], *addresses)

        self.loop.run_until_complete(do())

    @rule(who=st.integers(0, 2))
    def leave_and_come_again(self, who):
        async def do() -> None:
            self.connections[who].mark_closed()
            self.there.hub.drop(self.connections[who])
            self.connections[who] = self.there.connect()

        self.loop.run_until_complete(do())

    @rule(which=st.integers(0, 20))
    def cancel(self, which):
        if self.tasks:
            self.tasks[which % len(self.tasks)].cancel()

    @rule(turns=st.integers(1, 30))
    def time_passes(self, turns):
        self._run(turns)

    @rule(trouble=st.booleans())
    def layer(self, trouble):
        if isinstance(self.there.layer, LaggingLayer):
            self.there.layer.down = trouble

    @rule(lag=st.integers(0, 12))
    def lag(self, lag):
        if isinstance(self.there.layer, LaggingLayer):
            self.there.layer.lag = lag

    @rule(addresses=some_addresses)
    def publish(self, addresses):
        self.loop.run_until_complete(self.here.publish("noise", *addresses))

    def teardown(self) -> None:
        try:
            with replaced(subscriptions, "DISCARD_SECONDS", 0.01):
                self.loop.run_until_complete(self._settle())
        finally:
            self.loop.run_until_complete(self.cluster.stop())
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
                self.loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
            self.loop.close()

    async def _settle(self) -> None:
        """Whatever happened, what the hub says now is what the layer does."""
        if isinstance(self.there.layer, LaggingLayer):
            self.there.layer.down = False
        for error in await asyncio.gather(*self.tasks, return_exceptions=True):
            assert error is None or isinstance(error, LayerUnavailable | asyncio.CancelledError)
        for connection in self.there.hub.connections():
            assert connection in self.connections
        await _equal(self.cluster, self.there)
        await _everything_arrives(self.here, self.there, self.connections)
        for connection in self.connections:
            self.there.hub.drop(connection)
        assert self.there.hub.addresses() == []
        await _equal(self.cluster, self.there)


async def _equal(processes: Cluster, node: Node) -> None:
    wanted = {group_name(address) for address in node.hub.addresses()}
    await until(lambda: processes.subscriptions() == wanted)


async def _everything_arrives(here: Node, there: Node, connections: list[Connection]) -> None:
    for address in NAMES:
        await here.publish(address, address)
    for connection in connections:
        await _receives(connection, [address for address in NAMES if address in connection.addresses])


async def _receives(connection: Connection, addresses: list[str]) -> None:
    await until(lambda: [message for message in received(connection) if message != "noise"] == addresses)


@pytest.mark.parametrize(
    ("kind", "examples"),
    [("process", 50), ("lagging", 60), ("redis", 10)],
    ids=["process", "lagging", "redis"],
)
def test_subscriptions_are_equal_to_the_addresses_after_any_race(
    request: pytest.FixtureRequest, kind: str, examples: int
):
    url = request.getfixturevalue("redis_url") if kind == "redis" else ""
    machine = type("Machine", (Subscriptions,), {"kind": kind, "url": url})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=scaled(examples), stateful_step_count=25)
    )
