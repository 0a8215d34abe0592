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

LOOK_SECONDS: Final = 0.5


def guard(board: Coordinator) -> None:
    """Watch the lease of a process until the process ends."""
    board.worker.presence.on_lapse.append(lambda gap: _overslept(board, gap))
    board.worker.spawn(_watch(board))


async def _watch(board: Coordinator) -> None:
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        board.stop_unless_vouched()


def _overslept(board: Coordinator, gap: timedelta) -> None:
    """The lease was renewed when it and the grace were over: our clock had stood still."""
    if gap >= timedelta(seconds=LEASE_SECONDS + settings.SESSIONS_GRACE_SECONDS):
        board.stop_all()
