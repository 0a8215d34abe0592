"""Timers that share a turn of the loop."""

from __future__ import annotations

import asyncio

import pytest

from sessions_app.timers import TICK_SECONDS, Timers

pytestmark = pytest.mark.once


async def test_timers_of_one_tick_share_one_timer_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, timers = asyncio.get_running_loop(), Timers()
    now = loop.time()
    armed: list[float] = []
    with monkeypatch.context() as patched:
        patched.setattr(loop, "time", lambda: now)
        patched.setattr(loop, "call_at", lambda when, *call: armed.append(when))
        for number in range(1000):
            timers.call_later(30 + number / 100_000, lambda: None)

    assert len(armed) <= 2
    assert all(0 <= when - now - 30 <= 2 * TICK_SECONDS for when in armed)


async def test_cancelled_timer_is_not_called_and_one_that_fails_stops_no_other() -> None:
    timers, called = Timers(), asyncio.Event()
    wrong: list[str] = []

    def fail() -> None:
        raise RuntimeError("broken")

    timers.call_later(0, lambda: wrong.append("was cancelled")).cancel()
    timers.call_later(0, fail)
    timers.call_later(0, called.set)

    async with asyncio.timeout(60):
        await called.wait()
    assert wrong == []
