"""A process that has stood still: an answer of the store that waits to be read has not come late."""

from __future__ import annotations

import asyncio

import pytest

from routing_app.core.delivery.publication import Publication
from routing_app.core.streams import streams as module
from tests.services.waiting import until
from tests.streams.harness import A
from tests.streams.processes import Processes

pytestmark = pytest.mark.once


@pytest.mark.parametrize("address", [A, "user:1"], ids=["with history", "without"])
async def test_a_publisher_waits_for_the_answer(
    two: Processes, monkeypatch: pytest.MonkeyPatch, address: str
):
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 30.0)
    loop = asyncio.get_running_loop()
    two.store.late = []
    message = Publication((address,), "x")
    publishing = asyncio.ensure_future(two.here_streams.publish(message, "n", surely=True))
    await until(lambda: two.store.late)
    clock = loop.time
    monkeypatch.setattr(loop, "time", lambda: clock() + 60)
    for _ in range(5):
        await asyncio.sleep(0)
    two.store.answer()

    assert not (await publishing).repeated
