"""A receiver, and senders that need no server: what takes minutes or days in life takes moments here."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from datetime import timedelta
from typing import Any

import pytest

from routing_app.core.database import query
from routing_app.core.models.webhooks import Delivery, DeliveryStatus, Webhook
from routing_app.core.outgoing import http
from routing_app.core.outgoing.signature import new_secret
from routing_app.core.webhooks import retries, sender, taking, upkeep
from routing_app.core.webhooks.known import webhooks
from routing_app.core.webhooks.sender import WebhookSender
from tests.services.waiting import until
from tests.webhooks.receiver import Receiver


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """A process that knows none of the webhooks of the test before."""
    webhooks.all = ()
    webhooks.forget()
    yield
    webhooks.all = ()
    webhooks.forget()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No connection is given up, or not used again, because this process stood still for some seconds."""
    monkeypatch.setattr(http, "CONNECT_SECONDS", 60.0)
    monkeypatch.setattr(http, "KEPT_SECONDS", 60.0)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as one:
        yield one


def make(url: str, **fields: Any) -> Webhook:
    """A webhook that this process knows at once."""
    row = Webhook.objects.create(
        **{"name": "test", "url": url, "events": ["*"], "secret": new_secret(), **fields}
    )
    webhooks.read()
    return row


def write(webhook: Webhook, count: int = 1, **fields: Any) -> list[str]:
    """The ids of new rows of the outbox."""
    body = json.dumps({"type": "token.registered", "timestamp": "2026-11-29T00:00:00.000Z", "data": {}})
    fields = {"type": "token.registered", "body": body, **fields}
    rows = [Delivery(webhook=webhook, **fields) for _ in range(count)]
    return [row.pk for row in Delivery.objects.bulk_create(rows)]


def rows(**fields: Any) -> list[Delivery]:
    return list(Delivery.objects.filter(**fields))


async def ended(status: DeliveryStatus, count: int = 1) -> list[Delivery]:
    """Deliveries that have ended so, when there are that many."""
    await until(lambda: _has(status, count))
    return await query(rows, status=status)


async def _has(status: DeliveryStatus, count: int) -> bool:
    return len(await query(rows, status=status)) >= count


class NoHub:
    """Counts what is told to other processes."""

    def __init__(self) -> None:
        self.events: list[str] = []

    async def publish(self, publication: Any) -> int:
        self.events.append(publication.event)
        await asyncio.to_thread(webhooks.read)
        return 0


class Sending:
    """A sender and its tasks, as a worker has them."""

    def __init__(self) -> None:
        self.hub = NoHub()
        self.tasks: set[asyncio.Task[Any]] = set()
        self.sender = WebhookSender(self._spawn, self.hub)  # type: ignore[arg-type]
        self.sender.start()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def stop(self) -> None:
        """As `Worker.stop`."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.sender.settled()


@pytest.fixture
async def start(monkeypatch: pytest.MonkeyPatch, settings: Any) -> AsyncIterator[Callable[[], Sending]]:
    """Starts a sender that calls private addresses, and looks often."""
    settings.WEBHOOKS_PRIVATE = True
    monkeypatch.setattr(sender, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(sender, "FRESH_SECONDS", 0.02)
    monkeypatch.setattr(sender, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(retries, "DELAYS", (0.01,) * 7)
    # What is held is on its way until the test lets it go, on the busiest machine.
    monkeypatch.setattr(sender, "TIMEOUT_SECONDS", 200.0)
    monkeypatch.setattr(sender, "LATEST_SECONDS", 200.0)
    for module in (taking, upkeep):
        monkeypatch.setattr(module, "TAKEN", timedelta(seconds=300))
    started: list[Sending] = []

    def begin() -> Sending:
        started.append(Sending())
        return started[-1]

    yield begin
    for one in started:
        await one.stop()
