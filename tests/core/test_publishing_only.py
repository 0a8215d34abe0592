"""A process that only publishes cannot be asked for what never left: it tells others that it is lost."""

from __future__ import annotations

from typing import Any

import pytest

from routing_app.core.cluster import relay
from routing_app.core.cluster.batching import WIDE
from tests.core.harness import Node, lost, received, replaced, until_received
from tests.core.layers import Cluster, layer_of
from tests.services.waiting import until

pytestmark = pytest.mark.once


class Outage:
    """A layer's `group_send` that takes nothing while it is out."""

    def __init__(self, node: Node) -> None:
        self._send = layer_of(node).group_send
        self.is_out = True
        self.refused = 0

    async def __call__(self, group: str, message: dict[str, Any]) -> None:
        if self.is_out:
            self.refused += 1
            raise ConnectionError("out")
        await self._send(group, message)


@pytest.mark.parametrize("addresses", [1, WIDE + 1], ids=["one address", "as one envelope to all"])
async def test_what_never_left_is_told_once_and_counted(lagging: Cluster, addresses: int):
    here, there = lagging.node(), lagging.node()
    far, other = await there.subscriber("token:0"), await there.subscriber("token:other")
    told: list[str] = []
    far.on_gap, other.on_gap = lambda: told.append("far"), lambda: told.append("other")
    down, outage = lost("layer_down"), Outage(here)
    names = [f"token:{number}" for number in range(addresses)]
    with replaced(layer_of(here), "group_send", outage):
        with replaced(relay, "RETRY_SECONDS", 0.0), replaced(relay, "NOTICE_SECONDS", 0.02):
            for number in range(3):
                await here.publish(number, *names)
                await until(lambda: here.relay.gave_up)
            await until(lambda: down.grown == 3)
            seen = outage.refused
            await until(lambda: outage.refused > seen + 3)  # it goes on trying
        assert (told, here.relay.gave_up) == ([], True)
        outage.is_out = False
        await until(lambda: not here.relay.gave_up)
        await here.publish("after", "token:0")

        assert await until_received(far) == ["after"]
        await here.relay.settled()
    assert sorted(told) == (["far"] if addresses == 1 else ["far", "other"])
    assert (down.grown, received(other)) == (3, [])
