"""Subscribers of an address whose rule goes or comes back miss nothing, and hear of no gap that is none."""

from __future__ import annotations

import pytest

from routing_app.core.streams.rules import RuleTable
from tests.core.harness import received, until_received
from tests.services.waiting import until
from tests.streams.harness import A, drop_first
from tests.streams.processes import Processes

pytestmark = pytest.mark.once


async def test_a_rule_that_ends_and_comes_again_disturbs_nobody_who_is_subscribed(two: Processes):
    near, far = await two.here.subscriber(A), await two.there.subscriber(A)
    told: list[str] = []
    near.on_gap = far.on_gap = lambda: told.append("gap")
    await two.here.publish(1, A)
    await until_received(far)
    for streams in two.streams:
        streams.use(RuleTable())
    await two.store.end(lambda address: False)
    await two.here.publish("without", A)
    await until_received(far, 2)
    for streams in two.streams:
        await streams.order.check_ends()
        streams.use(RuleTable([("token:*", 10, 300, False)]))

    await two.here.publish(2, A)
    await until_received(far, 3)
    await two.there.publish(3, A)

    assert await until_received(near, 4) == await until_received(far, 4) == [1, "without", 2, 3]
    assert told == []


async def test_what_waits_for_a_missing_message_comes_when_history_ends(two: Processes):
    far = await two.there.subscriber(A)
    told: list[str] = []
    far.on_gap = lambda: told.append("gap")
    two.layer.held = []
    for number in (1, 2):
        await two.here.publish(number, A)
    await until(lambda: len(two.layer.held or []) == 2)
    two.store.down = True
    two.layer.release(drop_first)
    assert received(far) == []

    two.there_streams.use(RuleTable())

    assert await until_received(far) == [2]
    assert told == ["gap"]
