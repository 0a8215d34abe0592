"""The last word of a process that ends in order: nothing comes behind it, and it hides nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from routing_app.core.cluster import relay
from routing_app.core.delivery.connection import Connection
from routing_app.core.delivery.publication import Publication
from tests.core.harness import Node, lost, received, replaced, until_received
from tests.core.layers import Cluster, layer_of
from tests.services.waiting import until

pytestmark = pytest.mark.once


@pytest.mark.parametrize("heartbeat", [0.05, 60])
async def test_a_goodbye_that_takes_its_time_is_sent_and_nothing_after_it(lagging: Cluster, heartbeat: float):
    here, there = lagging.node(), lagging.node()
    for node in (here, there):
        await node.relay.want([f"worker:{node.id}"])
    sends, kinds = layer_of(there).group_send, []

    async def send_slowly(group: str, message: dict[str, Any]) -> None:
        await asyncio.sleep(0.1)  # another heartbeat may be due before one has left
        await sends(group, message)
        kinds.append(message["kind"])

    slow = replaced(layer_of(there), "group_send", send_slowly)
    with replaced(relay, "HEARTBEAT_SECONDS", heartbeat), replaced(relay, "NOTICE_SECONDS", 60), slow:
        await there.relay.stop()

    assert kinds[-1] == "goodbye"
    await until(lambda: here.relay.peers.has_left(there.id))


class StuckSends:
    """A layer's `group_send` that never returns for messages, before or after it has passed one on."""

    def __init__(self, node: Node, passes_on: bool = False) -> None:
        self._send = layer_of(node).group_send
        self._passes_on = passes_on
        self.begun = 0

    async def __call__(self, group: str, message: dict[str, Any]) -> None:
        if message["kind"] != "items" or self._passes_on:
            await self._send(group, message)
        if message["kind"] == "items":
            self.begun += 1
            await asyncio.Event().wait()


def telling(connection: Connection) -> list[int]:
    """The gaps that a connection is told of, from now on."""
    gaps: list[int] = []
    connection.on_gap = lambda: gaps.append(1)
    return gaps


async def stop_while_sending(node: Node, stuck: StuckSends, *addresses: str) -> None:
    """Publish to addresses, and stop while the envelope to the first is being sent."""
    with replaced(relay, "RETRY_SECONDS", 60), replaced(layer_of(node), "group_send", stuck):
        for address in addresses:
            node.hub.publish_soon(Publication((address,), "last"))
        await until(lambda: stuck.begun)
        with replaced(relay, "RETRY_SECONDS", 0.0):  # the attempt that runs has its time from before
            await node.relay.stop()


@pytest.mark.parametrize("known", ["by its heartbeats", "by a message", "not at all"])
@pytest.mark.parametrize("waiting", [(), ("token:b", "token:c")], ids=["alone", "before others"])
async def test_what_was_not_sent_at_the_end_is_told(lagging: Cluster, known: str, waiting: tuple[str, ...]):
    here, there = lagging.node(), lagging.node()
    far = await there.subscriber("token:a")
    gaps, down, gap = telling(far), lost("layer_down"), lost("layer_gap")
    if known == "by its heartbeats":
        await here.relay.want([f"worker:{here.id}"])
        await until(lambda: here.id in there.relay._receiver._peers)
    elif known == "by a message":
        await here.publish("before", "token:a")
        await until_received(far)

    await stop_while_sending(here, StuckSends(here), "token:a", *waiting)

    await until(lambda: gaps)
    assert (gaps, gap.grown, down.grown) == ([1], 1, 1 + len(waiting))
    assert "last" not in received(far)


@pytest.mark.parametrize("receives", [True, False])
async def test_what_came_though_the_layer_did_not_say_so_is_no_gap(lagging: Cluster, receives: bool):
    here, there = lagging.node(), lagging.node()
    far = await there.subscriber("token:a")
    gaps = telling(far)
    if receives:
        await here.relay.want([f"worker:{here.id}"])

    await stop_while_sending(here, StuckSends(here, passes_on=True), "token:a")

    await until(lambda: there.relay.peers.has_left(here.id))
    assert (received(far), gaps) == (["last"], [])


@pytest.mark.parametrize("receives", [True, False])
async def test_an_end_with_nothing_unsent_is_no_gap(lagging: Cluster, receives: bool):
    here, there, new = lagging.node(), lagging.node(), lagging.node()
    far = await there.subscriber("token:a")
    newcomer = await new.subscriber("token:b")
    gaps = telling(far), telling(newcomer)
    if receives:
        await here.relay.want([f"worker:{here.id}"])
    await here.publish("last", "token:a")
    await here.relay.stop()

    await until(lambda: all(node.relay.peers.has_left(here.id) for node in (there, new)))
    assert (received(far), gaps) == (["last"], ([], []))
