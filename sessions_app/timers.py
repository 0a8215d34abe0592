"""Timers for thousands of players: those due at about the same time run in one turn of the event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Final

logger = logging.getLogger(__name__)

TICK_SECONDS: Final = 0.1
"""A timer may run later than asked for by so much."""


@dataclass(eq=False, slots=True)
class Timer:
    """A call that is due; `None` once it was cancelled."""

    call: Callable[[], None] | None

    def cancel(self) -> None:
        """Do not call."""
        self.call = None


class Timers:
    """Runs timers at whole ticks. A timer of its own for each player would wake the loop for each of them."""

    def __init__(self) -> None:
        self._due: dict[int, list[Timer]] = {}

    def call_later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Call after so many seconds, up to a tick later."""
        loop = asyncio.get_running_loop()
        tick = ceil((loop.time() + seconds) / TICK_SECONDS)
        timers = self._due.get(tick)
        if timers is None:
            timers = self._due[tick] = []
            loop.call_at(tick * TICK_SECONDS, self._run, tick)
        timer = Timer(call)
        timers.append(timer)
        return timer

    def _run(self, tick: int) -> None:
        for timer in self._due.pop(tick):
            if timer.call is None:
                continue
            try:
                timer.call()
            except Exception:
                logger.exception("sessions: a timer failed")
