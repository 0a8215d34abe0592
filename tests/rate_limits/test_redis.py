"""Counts on a real Redis that is killed, hangs, forgets scripts, and comes back."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as client

from routing_app.core.rate_limits import redis as module
from routing_app.core.rate_limits.limit import Excess, Limit
from routing_app.core.rate_limits.redis import RedisCounts, Unreachable
from tests.rate_limits.test_counts import limit
from tests.services.redis import Redis
from tests.services.standstill import stand_still
from tests.services.waiting import until

pytestmark = [pytest.mark.once, pytest.mark.usefixtures("patient")]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Redis]:
    """A Redis of this test alone."""
    with Redis(tmp_path) as one:
        yield one


@pytest.fixture
async def workers(server: Redis) -> AsyncIterator[list[RedisCounts]]:
    both = [RedisCounts(server.url), RedisCounts(server.url)]
    yield both
    for one in both:
        await one.stop()


async def take(counts: RedisCounts, one: Limit) -> Excess | None:
    return await counts.take([(one, "alice")], 1, True)


async def test_two_workers_count_once_together(workers: list[RedisCounts]):
    one = limit(burst=50)

    found = await asyncio.gather(*(take(workers[number % 2], one) for number in range(200)))

    assert sum(excess is None for excess in found) == 50


async def test_after_a_standstill_of_this_process_redis_still_counts(
    server: Redis, workers: list[RedisCounts], monkeypatch: pytest.MonkeyPatch
):
    one, counts = limit(burst=2), workers[0]
    await take(counts, one)
    with client.Redis.from_url(server.url) as other:
        other.execute_command("CLIENT", "PAUSE", "60000", "WRITE")
        asking = asyncio.ensure_future(take(counts, one))
        await until(lambda: other.info("clients")["blocked_clients"])
        await stand_still(monkeypatch)
        other.execute_command("CLIENT", "UNPAUSE")

    assert await asking is None
    assert await take(counts, one) is not None


async def test_the_checks_of_one_turn_go_out_together(
    workers: list[RedisCounts], monkeypatch: pytest.MonkeyPatch
):
    one, counts = limit(burst=1000), workers[0]
    await take(counts, one)
    connection: Any = counts._redis._connection
    sent = []
    real = connection.send_packed_command

    async def send(command: bytes, **options: Any) -> None:
        sent.append(command.count(b"EVALSHA"))
        await real(command, **options)

    monkeypatch.setattr(connection, "send_packed_command", send)
    await asyncio.gather(*(take(counts, one) for _ in range(100)))

    assert sent == [100]


async def test_a_server_that_is_killed_is_not_waited_for_and_counts_again_when_it_is_back(
    server: Redis, workers: list[RedisCounts]
):
    one, counts = limit(burst=2), workers[0]
    assert await take(counts, one) is None
    server.kill()

    with pytest.raises(Unreachable):
        await take(counts, one)
    await until(lambda: counts.is_out)
    with pytest.raises(Unreachable):  # at once: nothing is sent
        await asyncio.wait_for(take(counts, one), 0.05)
    server.start()
    await until(lambda: not counts.is_out)
    assert await take(counts, one) is None


async def test_a_server_that_hangs_is_waited_for_once(
    server: Redis, workers: list[RedisCounts], monkeypatch: pytest.MonkeyPatch
):
    one, counts = limit(burst=100), workers[0]
    await take(counts, one)
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.5)
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        found = await asyncio.gather(*(take(counts, one) for _ in range(20)), return_exceptions=True)
        assert {type(each) for each in found} == {Unreachable}
        assert counts.is_out
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    await until(lambda: not counts.is_out)


async def test_scripts_and_connections_that_are_lost_are_made_again(
    server: Redis, workers: list[RedisCounts]
):
    one, counts = limit(burst=100), workers[0]
    await take(counts, one)
    for command in (("SCRIPT", "FLUSH"), ("CLIENT", "KILL", "TYPE", "normal")):
        with client.Redis.from_url(server.url) as admin:
            admin.execute_command(*command)
        with pytest.raises(Unreachable):
            await take(counts, one)
        await until(lambda: not counts.is_out)
        assert await take(counts, one) is None


async def test_keys_end_with_their_counts_and_hold_no_name(server: Redis, workers: list[RedisCounts]):
    one = limit(rate=0.001)
    await take(workers[0], one)

    with client.Redis.from_url(server.url) as admin:
        (key,) = admin.keys("*")
        assert b"alice" not in key
        assert 0 < admin.pttl(key) <= 1_000_100
