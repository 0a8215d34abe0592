"""What the layer on Redis does beyond the library's."""

from __future__ import annotations

import pytest

from routing_app.core.address import group_name
from routing_app.core.cluster import subscriptions
from tests.core.harness import replaced, until_received
from tests.core.layers import cluster
from tests.services.waiting import until

pytestmark = pytest.mark.once


async def test_a_subscription_that_could_not_be_ended_is_ended_later(redis_url: str):
    async with cluster("redis", redis_url) as processes:
        here, there = processes.node(), processes.node()
        stays, leaver = await here.subscriber("token:stays"), await here.subscriber("token:left")
        [shard] = here.layer._get_layer()._shards
        unsubscribe = shard.unsubscribe
        refused: list[str] = []

        async def fail_twice(name: str) -> None:
            if group_name("token:left") in name and len(refused) < 2:
                refused.append(name)
                raise ConnectionError("the connection is lost")
            await unsubscribe(name)

        with replaced(shard, "unsubscribe", fail_twice), replaced(subscriptions, "DISCARD_SECONDS", 0.05):
            here.hub.drop(leaver)
            await until(lambda: len(refused) == 2)
            await until(lambda: processes.subscriptions() == {group_name("token:stays")})
        again = await here.subscriber("token:left")
        await there.publish("message", "token:left", "token:stays")

        assert await until_received(again) == await until_received(stays) == ["message"]
