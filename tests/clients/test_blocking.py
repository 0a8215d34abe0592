"""Threads that wait in a connection for synchronous code learn that another one has closed it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from switchboard_client import ConnectionClosed, SyncConnection, connect_sync

from tests.clients.puppets import SECONDS
from tests.clients.scripted import Scripted, scripted
from tests.services.waiting import wait_until

pytestmark = pytest.mark.once


@pytest.fixture
async def server() -> AsyncIterator[Scripted]:
    async with scripted() as server:
        yield server


@pytest.fixture
async def away(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> SyncConnection:
    """A connection that has lost its socket, and waits long before it comes back."""
    monkeypatch.setattr("random.uniform", lambda low, high: 3600)
    connection = await asyncio.to_thread(connect_sync, server.url)
    await (await server.accept()).close(4100)
    await asyncio.to_thread(wait_until, lambda: not connection.is_open)
    return connection


def begin(connection: SyncConnection, *calls: Any) -> list[Future[Any]]:
    """Begin calls in threads of their own; returns when all of them wait."""
    before = asyncio.all_tasks(connection._loop)  # some of these may be about to end
    begun = in_threads(*calls)
    wait_until(lambda: len(asyncio.all_tasks(connection._loop) - before) == len(calls))
    return begun


def in_threads(*calls: Any) -> list[Future[Any]]:
    threads = ThreadPoolExecutor(len(calls))
    begun = [threads.submit(*call) for call in calls]
    threads.shutdown(wait=False)
    return begun


def test_they_learn_of_it(away: SyncConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = away.inner.closed

    async def closed_later() -> ConnectionClosed:
        closed = await ended()
        for _ in range(1000):  # the loop has a lot to do
            await asyncio.sleep(0)
        return closed

    monkeypatch.setattr(away.inner, "closed", closed_later)
    publishing, opening, closing = begin(
        away, (away.publish, ["channel:a"], "x"), (away.opened,), (away.closed,)
    )
    away.close()
    assert closing.result(SECONDS).code == 1000
    for call in (publishing, opening):
        with pytest.raises(ConnectionClosed):
            call.result(SECONDS)


def test_a_wait_that_does_not_end_by_itself_is_ended(
    away: SyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(away.inner, "opened", lambda: asyncio.Event().wait())
    (waiting,) = begin(away, (away.opened,))
    away.close()
    with pytest.raises(ConnectionClosed):
        waiting.result(SECONDS)


def test_all_that_is_called_afterwards_is_told(away: SyncConnection) -> None:
    away.close()
    away.close()
    for call in (away.opened, away.closed, lambda: away.publish(["channel:a"], "x")):
        with pytest.raises(ConnectionClosed):
            call()


def test_several_threads_may_close_it(away: SyncConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    close, both = away.inner.close, asyncio.Barrier(2)

    async def close_together(code: int, reason: str) -> None:
        await both.wait()
        await close(code, reason)

    monkeypatch.setattr(away.inner, "close", close_together)
    for call in in_threads((away.close,), (away.close,)):
        call.result(SECONDS)


def test_a_handler_that_would_close_its_own_connection_is_told(away: SyncConnection) -> None:
    told = Future[str]()

    def close() -> None:
        with pytest.raises(RuntimeError) as error:
            away.close()
        told.set_result(str(error.value))

    away._loop.call_soon_threadsafe(close)
    assert "may not block" in told.result(SECONDS)
    away.close()
