"""The heartbeat of one bound player: a PING now and then, and its PONG for the probes that wait for it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final

from django.conf import settings

from sessions_app.timers import Timer, Timers

MISSES: Final = 2
"""PINGs in a row without a PONG, until a player counts as dead."""
YOUNG_SECONDS: Final = 1.0
"""A PING that is younger serves all probes: a player at a limit is not flooded."""


class PlayerHeartbeat:
    """Times PINGs: one every SESSIONS_PING_SECONDS, each to be answered within SESSIONS_PONG_SECONDS."""

    __slots__ = ("_answer", "_dead", "_misses", "_open", "_send", "_sent_at", "_timer", "_timers")

    def __init__(self, timers: Timers, send: Callable[[], None], dead: Callable[[], None]) -> None:
        self._timers = timers
        self._send = send
        self._dead = dead
        self._answer: asyncio.Future[None] | None = None
        self._misses = 0
        self._open = False
        self._sent_at = float("-inf")
        self._timer: Timer | None = None

    def start(self) -> None:
        """Begin; the first PING comes at a random time, so that those of many players spread."""
        self._wait(settings.SESSIONS_PING_SECONDS * random.uniform(0.5, 1), self._beat)  # noqa: S311

    def stop(self) -> None:
        """End; all that wait for a PONG wait no longer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._answered()

    def close(self) -> None:
        """Stop for good: the player's connection has ended, and is let go."""
        self.stop()
        self._send = self._dead = lambda: None

    def ask(self) -> asyncio.Future[None]:
        """PING outside the turn, unless the last one is young: then its PONG counts for this one, too.

        Done when that PONG has come, or the heartbeat has stopped.
        """
        loop = asyncio.get_running_loop()
        answer = self._answer or loop.create_future()
        young = loop.time() - self._sent_at < YOUNG_SECONDS
        if young and not self._open:
            answer.set_result(None)
            return answer
        self._answer = answer
        if not young:
            self._ping()
        return answer

    def pong(self) -> None:
        """The player lives."""
        self._misses = 0
        self._open = False
        self._answered()

    def _answered(self) -> None:
        if self._answer is not None:
            self._answer.set_result(None)
            self._answer = None

    def _beat(self) -> None:
        self._ping()
        self._wait(settings.SESSIONS_PONG_SECONDS, self._check)

    def _check(self) -> None:
        if self._open:
            self._misses += 1
            if self._misses >= MISSES:
                self._dead()
                return
        self._wait(max(0.0, settings.SESSIONS_PING_SECONDS - settings.SESSIONS_PONG_SECONDS), self._beat)

    def _ping(self) -> None:
        self._open = True
        self._sent_at = asyncio.get_running_loop().time()
        self._send()

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        self._timer = self._timers.call_later(seconds, then)
