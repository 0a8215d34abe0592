"""Traces while a worker comes and is killed.

The servers are for these tests alone: those that stay take the killed one for dead, some seconds later, and
tell their clients of a gap.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest

from tests.frame_trace.clients import Client, Console
from tests.frame_trace.conftest import Open, Pair, log_in, two_servers
from tests.frame_trace.test_following import until_followed
from tests.services.databases import Databases
from tests.services.server import Server

pytestmark = pytest.mark.once  # its processes share a Redis on both stacks


@pytest.fixture(scope="module")
def pair(databases: Databases, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with two_servers(databases, redis_url, tmp_path_factory) as both:
        yield both


@pytest.fixture(scope="module")
def sessions(pair: Pair) -> dict[str, str]:
    return log_in(pair[0])


@pytest.fixture
def third(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that joins the two others; it is not started."""
    options = {name: pair[0].env[name] for name in ("DATABASE_URL", "REDIS_URL")}
    server = Server(tmp_path_factory.mktemp("third"), options)
    yield server
    server.close()


async def test_a_worker_that_comes_is_followed_and_one_that_is_killed_ends_nothing(
    pair: Pair, page: Open, third: Server, stack: AsyncExitStack, name: str
) -> None:
    trace = await (await page()).trace(identity=name, bodies=True)
    await asyncio.to_thread(third.start)
    late = await Client.open(stack, third, f"/ws?RegisterToken={name}")
    client = await Client.open(stack, pair[1], f"/ws?RegisterToken={name}")
    await trace.until_followed(2)
    await late.send("Echo:late")
    await late.receive()
    assert len(await trace.until(2)) == 2

    third.close()
    await client.send("Echo:still")
    await client.receive()
    assert [row["body"] for row in await trace.until(4)][2:] == ["Echo:still", "still"]


async def test_a_console_whose_worker_is_killed_ends_its_trace_at_the_others(
    pair: Pair, sessions: dict[str, str], third: Server, stack: AsyncExitStack, name: str
) -> None:
    client = await Client.open(stack, pair[1], f"/ws?RegisterToken={name}")
    await asyncio.to_thread(third.start)
    console = await Console.open(stack, third, sessions["bodies"])
    await console.trace(identity=name)
    await until_followed(pair[1], 1)
    third.close()
    await until_followed(pair[1], 0)
    await client.send("Echo:1")
    assert await client.receive() == "1"
