"""Several servers: each address has one, and one that is down hurts its own share only."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from routing_app.core.address import group_name
from routing_app.core.cluster import batching, relay, spread
from routing_app.core.cluster.calls import WorkerGone
from routing_app.core.cluster.spread import Spread, server_of
from routing_app.core.cluster.subscriptions import LayerUnavailable
from routing_app.core.delivery.connection import Connection
from tests.core.harness import Node, lost, received, replaced, until_received
from tests.core.layers import Bus, LaggingLayer
from tests.services.waiting import until

pytestmark = pytest.mark.once

SERVERS = 3


class SpreadNode(Node):
    """A process with a layer on each of several buses."""

    spread: Spread

    def _relay(self, clock: Callable[[], float]) -> Any:
        self.spread = Spread(self.layer, self.id, clock)
        return self.spread


class Servers:
    """Buses that stand for Redis servers, and the processes on them."""

    def __init__(self) -> None:
        self.buses = [Bus() for _ in range(SERVERS)]
        self.nodes: list[SpreadNode] = []

    def node(self) -> SpreadNode:
        self.nodes.append(SpreadNode([LaggingLayer(bus) for bus in self.buses]))
        return self.nodes[-1]

    def take_down(self, server: int, down: bool = True) -> None:
        """A server is out, for all processes, or back."""
        for node in self.nodes:
            node.layer[server].down = down
            if down:
                node.layer[server].cut()
            else:
                node.layer[server].mend()


@asynccontextmanager
async def all_servers() -> AsyncIterator[Servers]:
    servers = Servers()
    try:
        yield servers
    finally:
        for server in range(SERVERS):
            servers.take_down(server, False)
        for node in servers.nodes:
            await node.spread.stop()
            for layer in node.layer:
                await layer.flush()


@pytest.fixture
async def servers() -> AsyncIterator[Servers]:
    async with all_servers() as servers:
        yield servers


@pytest.fixture
def impatient() -> Iterator[None]:
    with (
        replaced(relay, "RETRY_SECONDS", 0.1),
        replaced(relay, "NOTICE_SECONDS", 0.05),
        replaced(relay, "HEARTBEAT_SECONDS", 0.05),
        replaced(spread, "REOPEN_SECONDS", 0.05),
    ):
        yield


def on_server(server: int, count: int = 1, name: str = "token:t") -> list[str]:
    """Addresses of one server."""
    found = (f"{name}{number}" for number in range(10_000))
    return [address for address in found if server_of(group_name(address), SERVERS) == server][:count]


def told(connection: Connection) -> list[int]:
    """The gaps that a connection is told of, from now on."""
    gaps: list[int] = []
    connection.on_gap = lambda: gaps.append(1)
    return gaps


def test_addresses_are_shared_evenly_and_one_more_server_moves_only_its_share() -> None:
    groups = [group_name(f"token:{number}") for number in range(3000)]
    of_three = [server_of(group, 3) for group in groups]
    of_four = [server_of(group, 4) for group in groups]

    assert all(900 < of_three.count(server) < 1100 for server in range(3))
    assert all(after in (before, 3) for before, after in zip(of_three, of_four, strict=True))
    assert 600 < of_four.count(3) < 900


async def test_a_message_goes_by_the_server_of_its_address_alone(servers: Servers) -> None:
    here, there = servers.node(), servers.node()
    subscribers = [await there.subscriber(*on_server(server)) for server in range(SERVERS)]
    await here.spread.want([f"worker:{here.id}"])

    for server in range(SERVERS):
        envelopes = [one.relays[server]._number for one in [here.spread]]
        await here.publish(f"by {server}", *on_server(server))
        await until_received(subscribers[server])
        assert [one.relays[server]._number for one in [here.spread]] == [envelopes[0] + 1]

    assert [received(one) for one in subscribers] == [["by 0"], ["by 1"], ["by 2"]]


async def test_a_publication_to_addresses_of_all_servers_comes_once_to_each(servers: Servers) -> None:
    here, there = servers.node(), servers.node()
    addresses = [address for server in range(SERVERS) for address in on_server(server, 5)]
    everywhere = await there.subscriber(*addresses)
    single = [await there.subscriber(address) for address in addresses]

    for number in range(20):
        await here.publish(number, *addresses)

    for one in [everywhere, *single]:
        await until_received(one, 20)
    await here.spread.settled()
    for address in addresses:  # an echo behind everything on each server
        await here.publish("last", address)
    for one in single:
        await until_received(one, 21)
    await until(lambda: received(everywhere).count("last") == len(addresses))
    assert [one for one in received(everywhere) if one != "last"] == list(range(20))
    assert all(received(one) == [*range(20), "last"] for one in single)


async def test_each_sender_and_address_keeps_its_order_in_any_load(servers: Servers) -> None:
    here, there = servers.node(), servers.node()
    addresses = [address for server in range(SERVERS) for address in on_server(server, 2)]
    subscribers = {address: await there.subscriber(address) for address in addresses}
    expected: dict[str, list[int]] = {address: [] for address in addresses}
    chance = random.Random(1)

    for number in range(200):
        chosen = chance.sample(addresses, chance.randint(1, len(addresses)))
        for address in chosen:
            expected[address].append(number)
        await here.publish(number, *chosen)

    for address, subscriber in subscribers.items():
        await until_received(subscriber, len(expected[address]))
        assert received(subscriber) == expected[address]


async def test_one_server_that_is_down_leaves_the_others_alone_and_gives_back_missed_messages(
    servers: Servers, impatient: None
) -> None:
    here, there = servers.node(), servers.node()
    subscribers = [await there.subscriber(*on_server(server)) for server in range(SERVERS)]
    gaps = [told(subscriber) for subscriber in subscribers]
    await here.spread.want([f"worker:{here.id}"])

    servers.take_down(1)
    for number in range(10):
        for server in range(SERVERS):
            await here.publish(number, *on_server(server))
    for server in (0, 2):
        assert await until_received(subscribers[server], 10) == list(range(10))
    await until(lambda: [one.healthy for one in here.spread.relays] == [True, False, True])
    assert received(subscribers[1]) == []

    servers.take_down(1, False)
    assert await until_received(subscribers[1], 10) == list(range(10))
    await until(lambda: here.spread.healthy and there.spread.healthy)
    assert gaps == [[], [], []]


@pytest.mark.parametrize("turns", [1, 2, 5])
async def test_a_publisher_that_is_cancelled_while_it_waits_is_a_loss_at_each_server(
    servers: Servers, turns: int
) -> None:
    """However soon it is cancelled: the waits for the servers may not have begun."""
    here, there = servers.node(), servers.node()
    subscribers = [await there.subscriber(*on_server(server)) for server in range(SERVERS)]
    gaps, refused = [told(one) for one in subscribers], lost("layer_backlog")
    with (
        replaced(batching, "BACKLOG", 1),
        replaced(relay, "PATIENCE_SECONDS", 60),
        replaced(relay, "RETRY_SECONDS", 60),
    ):
        for layer in here.layer:
            layer.hanging = True
        for server in range(SERVERS):
            await here.publish("before", *on_server(server))
        waiting = asyncio.ensure_future(here.publish("cancelled", *on_server(0), *on_server(1)))
        for _ in range(turns):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        for layer in here.layer:
            layer.hanging = False
        for server in range(SERVERS):
            await here.publish("after", *on_server(server))

    for one in subscribers:
        assert await until_received(one, 2) == ["before", "after"]
    assert waiting.cancelled()
    assert (gaps, refused.grown) == ([[1], [1], []], 2)


async def test_a_gap_is_told_to_those_of_its_server_alone(servers: Servers) -> None:
    node = servers.node()
    mine = server_of(group_name(f"worker:{node.id}"), SERVERS)
    other, third = [server for server in range(SERVERS) if server != mine]
    subscribers = {server: await node.subscriber(*on_server(server)) for server in range(SERVERS)}
    gaps = {server: told(subscriber) for server, subscriber in subscribers.items()}

    node.spread.relays[other]._on_gap(asyncio.get_running_loop().time() + 1e9)
    assert gaps == {mine: [], other: [1], third: []}

    # The server of this process itself carries the messages to single connections: they may all miss some.
    node.spread.relays[mine]._on_gap(asyncio.get_running_loop().time() + 1e9)
    assert gaps == {mine: [1], other: [1, 1], third: [1]}


@pytest.mark.parametrize("server", range(SERVERS))
async def test_a_call_goes_by_a_server_that_works(servers: Servers, impatient: None, server: int) -> None:
    here, there = servers.node(), servers.node()
    there.calls.serve("double", double)
    await here.spread.want([f"worker:{here.id}"])
    await there.spread.want([f"worker:{there.id}"])
    servers.take_down(server)
    one_is_out = [other != server for other in range(SERVERS)]
    for node in (there, here):
        await node.publish("x", *on_server(server))
        # After a standstill of this process all servers seem to be silent for a moment.
        await until(lambda node=node: [relay.healthy for relay in node.spread.relays] == one_is_out)  # type: ignore[misc]

    parts: list[int] = []
    assert await here.calls.call(there.id, "double", 21, timeout=60, on_partial=parts.append) == 42
    assert parts == [0, 1, 2]


async def double(incoming: Any) -> int:
    for number in range(3):
        await incoming.partial(number)
    return int(incoming.payload) * 2


async def test_a_worker_that_has_left_is_gone_for_calls(servers: Servers) -> None:
    here, there = servers.node(), servers.node()
    for node in (here, there):
        await node.spread.want([f"worker:{node.id}"])
    await there.spread.stop()
    await until(lambda: here.spread.peers.is_gone(there.id, here.spread.peers.now()))
    with pytest.raises(WorkerGone):
        await here.calls.call(there.id, "double", 1)


@pytest.mark.parametrize("server", range(SERVERS))
async def test_a_process_that_starts_while_a_server_is_out_serves_the_others_and_misses_nothing(
    servers: Servers, impatient: None, server: int
) -> None:
    here, there = servers.node(), servers.node()
    await here.spread.want([f"worker:{here.id}"])
    there.layer[server].down = True

    await there.spread.want([f"worker:{there.id}"])
    own = there.connect()
    others = [await there.subscriber(*on_server(one)) for one in range(SERVERS) if one != server]
    with pytest.raises(LayerUnavailable):
        await there.subscriber(*on_server(server))
    for one in range(SERVERS):
        await here.publish("first", *on_server(one))
    await here.publish("to one", f"connection:{own.id}")
    for subscriber in others:
        assert await until_received(subscriber) == ["first"]

    there.layer[server].down = False
    late = await there.subscriber(*on_server(server))
    await here.publish("second", *on_server(server))
    assert await until_received(late) == ["second"]
    # Published to the process itself while it could not subscribe: it is asked for.
    assert await until_received(own) == ["to one"]


async def test_a_process_cannot_start_without_any_server(servers: Servers, impatient: None) -> None:
    node = servers.node()
    for layer in node.layer:
        layer.down = True
    with pytest.raises(LayerUnavailable):
        await node.spread.want([f"worker:{node.id}"])
    for layer in node.layer:
        layer.down = False
    await node.spread.want([f"worker:{node.id}"])
    await until(lambda: node.spread.healthy)
