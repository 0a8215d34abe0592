"""A breaker: leaves a backend alone that has failed many times in a row."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final

FAILURES: Final = 10
"""In a row, after which a hook is left alone."""
ALONE_SECONDS: Final = 5.0


class Attempt(Enum):
    """Leave to ask: as usual, or one question that tries whether the backend answers again."""

    USUAL = "usual"
    TRIAL = "trial"


class Breaker:
    """Counts the failures of one hook in this process. `clock` tells seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures = 0
        self._until: float | None = None
        self._is_trying = False

    @property
    def is_open(self) -> bool:
        """True while the backend is left alone, or tried."""
        return self._until is not None

    def attempt(self) -> Attempt | None:
        """Leave to ask once; None while the backend is left alone. The end of the question is told."""
        if self._until is None:
            return Attempt.USUAL
        if self._is_trying or self._clock() < self._until:
            return None
        self._is_trying = True
        return Attempt.TRIAL

    def succeeded(self) -> bool:
        """The backend has answered; True when it was left alone until now."""
        was_open = self._until is not None
        self._failures, self._until, self._is_trying = 0, None, False
        return was_open

    def failed(self, attempt: Attempt) -> bool:
        """The backend has not; True when it is left alone from now on."""
        self._failures += 1
        if attempt is Attempt.TRIAL and self._is_trying:
            self._is_trying = False
            self._until = self._clock() + ALONE_SECONDS
        elif self._until is None and self._failures >= FAILURES:
            self._until = self._clock() + ALONE_SECONDS
            return True
        return False

    def gave_up(self, attempt: Attempt) -> None:
        """Nobody waits for the answer any more: it says nothing of the backend."""
        if attempt is Attempt.TRIAL:
            self._is_trying = False
