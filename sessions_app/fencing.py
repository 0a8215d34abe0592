"""Stops the players of a worker that cannot renew its lease, before others may give their slots away.

Not in a longer outage of the database for all: the lease knows the difference (`core/leases/lease.py`).
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

from django.conf import settings

from routing_app.core.models import LEASE_SECONDS
from sessions_app.coordinator import Coordinator

CHECK_SECONDS: Final = 0.5


def start(coordinator: Coordinator) -> None:
    """Check the lease of a worker until the worker stops."""
    coordinator.worker.presence.on_lapse.append(lambda gap: _renewed_late(coordinator, gap))
    coordinator.worker.spawn(_check(coordinator))


async def _check(coordinator: Coordinator) -> None:
    while True:
        await asyncio.sleep(CHECK_SECONDS)
        coordinator.stop_if_lease_lapsed()


def _renewed_late(coordinator: Coordinator, gap: timedelta) -> None:
    """Stop the players if lease and grace were over before the lease was renewed, after `gap`: the clock of
    this machine had stood still, and their slots may be given away."""
    if gap >= timedelta(seconds=LEASE_SECONDS + settings.SESSIONS_GRACE_SECONDS):
        coordinator.stop_all()
