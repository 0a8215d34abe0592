"""Clients behind bad networks: served as fast as they read or closed as slow, and never at others' cost."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.faults.cluster import Pair, Subscriber, publish, seconds_until, subscribed
from tests.faults.proxy import Proxy
from tests.services.process import Process

pytestmark = pytest.mark.once

logger = logging.getLogger("measured")

SLOW = 4100
CLOSED_AS_SLOW = 'switchboard_closed_total{close="slow",protocol="tokens"}'
MANY = 250
"""Messages of 40 kB, 10 MB: the kernel takes up to four for a slow client, and the outbox one."""
STEP = 25
FILLING = "x" * 40_000


@pytest.fixture
def bad_network(pair: Pair) -> Iterator[Proxy]:
    """A way to the first server beside the one of everybody else."""
    with Proxy(pair.one.server.port, receive_buffer=16_384) as proxy:
        yield proxy


@pytest.fixture
def token() -> str:
    return secrets.token_hex(4)


def memory_of(process: Process) -> int:
    """Resident bytes of a process."""
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * 4096


def subscriber_count(pair: Pair, token: str) -> int:
    """The number of clients of a token that are listed."""
    return int(pair.two.call("GET", f"/api/clients/?address=token:{token}").json()["count"])


def have_received(clients: list[Subscriber], count: int) -> bool:
    """True when each client has so many messages."""
    return all(len(client.received) == count for client in clients)


async def test_a_trickling_client_is_closed_as_slow_and_slows_nobody(
    pair: Pair, bad_network: Proxy, token: str
) -> None:
    async with (
        subscribed(bad_network.port, f"{token}-not-yet") as [trickling],
        subscribed(pair.one.server.port, token, 2) as near,
        subscribed(pair.two.server.port, token, 2) as far,
        subscribed(pair.one.server.port, f"{token}-one") as [sender],
    ):
        others = near + far
        await publish(sender, "one", token, range(MANY), 125, FILLING)
        await seconds_until(partial(have_received, others, MANY))
        memory = memory_of(pair.one.server.process)
        slow = pair.one.metric(CLOSED_AS_SLOW)
        bad_network.slow(bytes_per_second=20_000)
        await trickling.socket.send(f"RegisterToken:{token}")
        await seconds_until(lambda: subscriber_count(pair, token) == 5)

        for first in range(MANY, 2 * MANY, STEP):
            await publish(sender, "one", token, range(first, first + STEP), 125, FILLING)
            # Where Redis stands still, nothing more is published: a server would keep all of that.
            await seconds_until(partial(have_received, others, first + STEP))

        await seconds_until(lambda: pair.one.metric(CLOSED_AS_SLOW) == slow + 1)
        grown = memory_of(pair.one.server.process) - memory
        logger.info("memory of the process grew by %.1f MiB", grown / 2**20)
        assert grown < 20 * 2**20
        for client in near + far:
            assert client.numbers("one") == list(range(2 * MANY))
            assert client.closed is None
        bad_network.heal()
        await seconds_until(lambda: trickling.closed is not None)
        received = trickling.numbers("one")
        assert trickling.closed == SLOW
        assert received == list(range(MANY, MANY + len(received)))
        assert len(received) < MANY


async def test_a_slow_client_that_keeps_up_is_served_in_full(
    pair: Pair, bad_network: Proxy, token: str
) -> None:
    async with (
        subscribed(bad_network.port, token) as [slow],
        subscribed(pair.two.clients.port, f"{token}-one") as [sender],
    ):
        bad_network.slow(latency=0.3, bytes_per_second=5_000)
        await publish(sender, "one", token, range(100), 200)
        await seconds_until(lambda: len(slow.received) == 100)
        assert slow.numbers("one") == list(range(100))
        assert slow.closed is None
        bad_network.heal()


async def test_a_client_that_is_cut_off_is_gone_at_once(pair: Pair, bad_network: Proxy, token: str) -> None:
    async with subscribed(bad_network.port, token, 20) as clients:
        await seconds_until(lambda: subscriber_count(pair, token) == 20)
        bad_network.cut()
        await seconds_until(lambda: subscriber_count(pair, token) == 0)
        await seconds_until(lambda: all(client.closed == 1006 for client in clients))
