"""The Python client pauses reading while many handlers run, but never while one waits for an answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import pytest
from switchboard_client import Connection, ConnectionClosed, Delivery, connect

from tests.clients.puppets import SECONDS
from tests.clients.scripted import Peer, Scripted, scripted

pytestmark = pytest.mark.once

A: Final = "channel:a"
RUNNING: Final = 1000
"""Handlers that run before reading pauses."""
BURST: Final = 1500


@pytest.fixture
async def server() -> AsyncIterator[Scripted]:
    async with scripted() as server:
        yield server


class Handlers:
    """Each waits for `gate`, and then does what `then` says."""

    def __init__(self, then: Callable[[Delivery], Awaitable[Any]]) -> None:
        self._then = then
        self.gate = asyncio.Event()
        self.begun = self.done = 0
        self._more = asyncio.Condition()

    async def handle(self, delivery: Delivery) -> None:
        await self._count(begun=1)
        await self.gate.wait()
        await self._then(delivery)
        await self._count(done=1)

    async def until(self, *, begun: int = 0, done: int = 0) -> None:
        async with asyncio.timeout(SECONDS), self._more:
            await self._more.wait_for(lambda: self.begun >= begun and self.done >= done)

    async def _count(self, begun: int = 0, done: int = 0) -> None:
        self.begun += begun
        self.done += done
        async with self._more:
            self._more.notify_all()


async def paused(server: Scripted, handlers: Handlers, burst: int = BURST) -> tuple[Connection, Peer]:
    """A connection that does not read on, because so many of its handlers wait for their gate."""
    connection = await connect(server.url, reconnect=False)
    connection.on("delivery", handlers.handle)
    peer = await server.accept()
    for number in range(burst):
        await peer.deliver(A, number)
    await handlers.until(begun=RUNNING)
    return connection, peer


async def answer_all(peer: Peer) -> None:
    while True:
        await peer.answer("store")


async def test_reading_pauses_until_handlers_are_done(server: Scripted) -> None:
    async def nothing(delivery: Delivery) -> None:
        pass

    handlers = Handlers(nothing)
    connection, _ = await paused(server, handlers)
    for _ in range(100):
        await asyncio.sleep(0)
    assert handlers.begun == RUNNING
    handlers.gate.set()
    await handlers.until(done=BURST)
    await connection.close()


@pytest.mark.parametrize("one_at_a_time", [False, True])
async def test_handlers_that_ask_after_a_wait_are_answered(server: Scripted, one_at_a_time: bool) -> None:
    turns = asyncio.Semaphore(1 if one_at_a_time else BURST)

    async def store(delivery: Delivery) -> None:
        async with turns:
            await connection.request({"type": "store", "number": delivery.message})

    handlers = Handlers(store)
    connection, peer = await paused(server, handlers)
    answering = asyncio.ensure_future(answer_all(peer))
    handlers.gate.set()
    await handlers.until(done=BURST)
    answering.cancel()
    await connection.close()


async def test_a_request_from_elsewhere_is_answered_meanwhile(server: Scripted) -> None:
    handlers = Handlers(lambda _: asyncio.sleep(0))
    connection, peer = await paused(server, handlers)
    asking = connection.request({"type": "whoami"})
    await peer.answer("whoami", id="mine")
    assert (await asyncio.wait_for(asking, SECONDS))["id"] == "mine"
    handlers.gate.set()
    await connection.close()


async def test_close_returns_while_handlers_wait_for_the_end(server: Scripted) -> None:
    connection, _ = await paused(server, handlers := Handlers(lambda _: connection.closed()))
    handlers.gate.set()
    await asyncio.wait_for(connection.close(), SECONDS)
    assert (await connection.closed()).code == 1000
    await handlers.until(done=RUNNING)


async def test_handlers_that_wait_for_the_end_learn_of_it(server: Scripted) -> None:
    connection, peer = await paused(server, handlers := Handlers(lambda _: connection.closed()), RUNNING)
    handlers.gate.set()
    await peer.close(4003)
    await handlers.until(done=RUNNING)
    assert (await connection.closed()).code == 4003
    with pytest.raises(ConnectionClosed):
        await connection.opened()
