"""A process that has stood still: an answer of the store that waits to be read has not come late."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import redis as client

from routing_app.core.delivery.publication import Publication
from routing_app.core.streams import lane
from routing_app.core.streams import streams as module
from routing_app.core.streams.redis import RedisStore
from tests.services.redis import Redis
from tests.services.standstill import stand_still
from tests.services.waiting import until
from tests.streams.harness import A, Clock, RedisKind
from tests.streams.processes import Processes

pytestmark = pytest.mark.once


@pytest.mark.parametrize("address", [A, "user:1"], ids=["with history", "without"])
async def test_a_publisher_waits_for_the_answer(
    two: Processes, monkeypatch: pytest.MonkeyPatch, address: str
):
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 30.0)
    two.store.late = []
    message = Publication((address,), "x")
    publishing = asyncio.ensure_future(two.here_streams.publish(message, "n", surely=True))
    await until(lambda: two.store.late)
    await stand_still(monkeypatch)
    two.store.answer()

    assert not (await publishing).repeated


async def test_calls_of_redis_wait_for_their_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lane, "ANSWER_SECONDS", 30.0)
    clock = Clock()
    with Redis(tmp_path) as server, client.Redis.from_url(server.url) as other:
        kind = RedisKind(clock, RedisStore(server.url, "test", clock.ahead))
        before = (await kind.append(1, A)).positions[A]
        other.execute_command("CLIENT", "PAUSE", "60000", "WRITE")
        appending = asyncio.ensure_future(kind.append(2, A))
        await until(lambda: other.info("clients")["blocked_clients"])
        await stand_still(monkeypatch)
        other.execute_command("CLIENT", "UNPAUSE")

        assert (await appending).positions[A].offset == before.offset + 1
        await kind.store.stop()
