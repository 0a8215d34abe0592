"""Renewals of a lease go on whatever fails beside them, and end with the worker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from routing_app.core.database import GroupedWrites
from routing_app.core.leases import presence as module
from routing_app.core.leases.presence import Presence
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
    await until(lambda: presence.lease.holds(0))
    for _ in range(2):
        presence.lease._leased_at = datetime.min.replace(tzinfo=UTC)
        presence._stale = True
        called.clear()
        await until(lambda: len(called) >= 3)
        assert called[:3] == ["failed", "lapsed", "failed"]
