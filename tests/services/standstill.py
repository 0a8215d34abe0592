"""A process that stands still, without a wait."""

from __future__ import annotations

import asyncio

import pytest

SECONDS = 600.0
"""More than whatever a test waits for."""
TURNS = 5


async def stand_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the loop find that ten minutes have passed, and give it turns in which it sees what is due.

    What was begun before has turns until it waits.
    """
    loop = asyncio.get_running_loop()
    clock = loop.time
    for _ in range(TURNS):
        await asyncio.sleep(0)
    monkeypatch.setattr(loop, "time", lambda: clock() + SECONDS)
    for _ in range(TURNS):
        await asyncio.sleep(0)
