"""Which other workers live, by what this process hears of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from time import monotonic
from typing import Final, TypeVar

T = TypeVar("T")

GONE_SECONDS: Final = 3.2
"""A worker that was silent for so long, while we heard ourselves, is gone. It beats once a second."""
LONGEST_STEP_SECONDS: Final = 1.5
"""Longest time between two of our own heartbeats that counts as hearing: after it we were deaf."""
REMEMBERED: Final = 1024
"""Workers that are remembered, of those that have said goodbye and of the others."""


class Peers:
    """Workers heard and workers gone. Time is measured only while our own heartbeats come back.

    While the layer is out nobody is heard, and so nobody is gone either.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._heard: OrderedDict[str, float] = OrderedDict()
        self._left: OrderedDict[str, None] = OrderedDict()
        self._listened = 0.0
        self._echo_at: float | None = None

    def echo(self) -> None:
        """Something of our own came back: what others send reaches us, too."""
        self._listened = self.now()
        self._echo_at = self._clock()

    def heard(self, worker_id: str) -> None:
        """Another worker has sent something."""
        _remember(self._heard, worker_id, self.now())
        self._left.pop(worker_id, None)

    def left(self, worker_id: str) -> None:
        """Another worker has ended in order."""
        self._heard.pop(worker_id, None)
        _remember(self._left, worker_id, None)

    def now(self) -> float:
        """Seconds for which we have been listening; a time for `is_gone`."""
        if self._echo_at is None:
            return self._listened
        return self._listened + min(self._clock() - self._echo_at, LONGEST_STEP_SECONDS)

    def is_gone(self, worker_id: str, since: float) -> bool:
        """Whether a worker has ended, or was silent from `since` (see `now`) on."""
        if worker_id in self._left:
            return True
        return self.now() - max(self._heard.get(worker_id, 0.0), since) > GONE_SECONDS


def _remember(known: OrderedDict[str, T], worker_id: str, value: T) -> None:
    known[worker_id] = value
    known.move_to_end(worker_id)
    if len(known) > REMEMBERED:
        known.popitem(last=False)
