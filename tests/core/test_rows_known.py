"""Rows that decide on clients and messages: until they are known nobody is served, nothing is published."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from django.db import OperationalError

from routing_app.core.access import admission
from routing_app.core.delivery.connection import Peer
from routing_app.core.fresh_rows import FreshRows
from routing_app.core.publishing import publish
from routing_app.core.streams.store import StoreUnavailable
from routing_app.core.webhooks.known import webhooks
from routing_app.core.worker import Worker, current_worker, drop_worker

pytestmark = [pytest.mark.once, pytest.mark.django_db(transaction=True)]

READERS = {
    "hooks": "routing_app.core.hooks.hooks.read_rows",
    "streams": "routing_app.core.streams.streams.rows",
    "rate_limits": "routing_app.core.rate_limits.limits.read_rows",
    "webhook_watch": "routing_app.core.webhooks.known.enabled_webhooks",
}


def out(*arguments: Any) -> None:
    raise OperationalError("out")


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    webhooks.forget()
    one = current_worker()
    yield one
    await one.stop()
    drop_worker()


async def enters(worker: Worker) -> None:
    await admission.enter(worker, Peer("10.0.0.1"))


async def publishes(worker: Worker) -> None:
    """Without the rows the message would be in no stream, and no webhook would be called."""
    assert (await publish(["token:a"], "hello")).delivered_to in (0, None)


@pytest.mark.parametrize(
    ("part", "act"),
    [*((part, enters) for part in READERS), ("streams", publishes), ("webhook_watch", publishes)],
)
async def test_a_worker_that_has_not_read_them_serves_nobody_and_publishes_nothing(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, part: str, act: Callable[[Worker], Awaitable[None]]
):
    with monkeypatch.context() as patched:
        patched.setattr(READERS[part], out)
        await worker.start()
        with pytest.raises((OperationalError, StoreUnavailable)):
            await act(worker)

    await act(worker)
    monkeypatch.setattr(READERS[part], out)  # what is known stays
    await act(worker)


class Numbers(FreshRows[list[int]]):
    """Rows of which some cannot be used."""

    rows_name = "numbers"

    def __init__(self) -> None:
        super().__init__(asyncio.ensure_future)
        self.there = [1]
        self.used: list[int] = []

    def load(self) -> list[int]:
        return self.there

    def use(self, rows: list[int]) -> None:
        if 0 in rows:
            raise ValueError("0 is none of them")
        self.used = rows


async def test_rows_that_cannot_be_used_are_not_known():
    numbers = Numbers()
    numbers.there = [0]
    with pytest.raises(ValueError, match="none of them"):
        await numbers.freshen()
    assert (numbers.are_known, numbers.used) == (False, [])

    numbers.there = [1]
    await numbers.freshen()
    assert (numbers.are_known, numbers.used) == (True, [1])
    numbers.there = [0]
    await numbers.read()
    assert numbers.used == [1]
