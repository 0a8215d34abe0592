"""Renewals of a lease go on whatever fails beside them, and end with the worker."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from routing_app.core import database
from routing_app.core.database import GroupedWrites, query_apart
from routing_app.core.leases import presence as module
from routing_app.core.leases.presence import Presence
from routing_app.core.models import WorkerRecord
from tests.services.waiting import until

pytestmark = [pytest.mark.once, pytest.mark.django_db(transaction=True)]

ID = "a" * 16


@pytest.fixture
async def presence() -> AsyncIterator[Presence]:
    one = Presence(ID, GroupedWrites())
    yield one
    await one.stop()


async def test_a_hook_that_fails_does_not_end_them(presence: Presence, monkeypatch: pytest.MonkeyPatch):
    """Without them the worker would be given up for dead, and all its clients with it."""
    called: list[str] = []

    def fail(*gap: timedelta) -> Any:
        called.append("failed")
        raise RuntimeError

    monkeypatch.setattr(module, "RENEW_SECONDS", 0.02)
    presence.on_lapse += [fail, lambda gap: called.append("lapsed")]
    presence.on_copy.append(fail)
    presence.start()
    await until(presence.lease.holds)
    for _ in range(2):
        presence.lease._leased_at = datetime.min.replace(tzinfo=UTC)
        presence._stale = True
        called.clear()
        await until(lambda: len(called) >= 3)
        assert called[:3] == ["failed", "lapsed", "failed"]


async def test_one_that_is_under_way_at_the_stop_leaves_no_row(
    presence: Presence, monkeypatch: pytest.MonkeyPatch
):
    """The worker would count as alive for the length of a lease, for everybody but itself."""
    begun, goes_on = threading.Event(), threading.Event()
    renew = module._renew

    def held(*arguments: Any) -> bool:
        begun.set()
        goes_on.wait()
        return renew(*arguments)

    monkeypatch.setattr(module, "_renew", held)
    presence.start()
    await until(presence.lease.holds)
    renewing = asyncio.ensure_future(presence.renew())
    await until(begun.is_set)
    stopping = asyncio.ensure_future(presence.stop())
    await until(lambda: stopping.done() or database._apart._work_queue.qsize())
    goes_on.set()
    await asyncio.wait([renewing, stopping])

    assert await query_apart(WorkerRecord.objects.count) == 0
