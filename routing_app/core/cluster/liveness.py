"""Liveness of other workers, by what this process receives from them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from time import monotonic
from typing import Final, TypeVar

T = TypeVar("T")

GONE_SECONDS: Final = 3.2
"""A worker that was silent for so long, while our own heartbeats came back, is gone. It sends one a second;
where workers are many, only those that greet it get one so often (`is_quiet`)."""
QUIET_SECONDS: Final = 1.2
"""A worker that is waited for, and was silent for so long, has to be greeted."""
KNOWN_SECONDS: Final = 60.0
"""A worker from which nothing came for so long is not counted among those that are known."""
LONGEST_STEP_SECONDS: Final = 1.5
"""Longest time between two of our own heartbeats that counts as receiving."""
REMEMBERED: Final = 4096
"""Workers that are remembered, of those that have said goodbye and of the others."""


class Peers:
    """Workers that have sent something, and workers that have left.

    Time counts only while our own heartbeats come back: while the layer is out nothing is received, and so no
    worker counts as gone either.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._received: OrderedDict[str, float] = OrderedDict()
        self._left: OrderedDict[str, None] = OrderedDict()
        self._receivers: set[str] = set()
        self.on_receiver: list[Callable[[str], None]] = []
        """Called with the id of a worker that is new here and receives; one that only publishes does not."""
        self.on_left: list[Callable[[str], None]] = []
        """Called with the id of a worker that has ended in order."""
        self._receiving_seconds = 0.0
        self._echo_at: float | None = None

    def echo(self) -> None:
        """Something of our own came back: what others send reaches us, too."""
        self._receiving_seconds = self.now()
        self._echo_at = self._clock()

    def received(self, worker_id: str) -> None:
        """Another worker has sent something."""
        _remember(self._received, worker_id, self.now())
        self._left.pop(worker_id, None)

    def receives(self, worker_id: str) -> None:
        """Another worker has shown that what is published to all reaches it, too."""
        if worker_id not in self._receivers:
            self._receivers.add(worker_id)
            for hook in self.on_receiver:
                hook(worker_id)

    def receivers(self) -> set[str]:
        """The workers that receive, and have sent something lately."""
        self._forget_the_silent()
        return set(self._receivers)

    def left(self, worker_id: str) -> None:
        """Another worker has ended in order."""
        self._received.pop(worker_id, None)
        self._receivers.discard(worker_id)
        _remember(self._left, worker_id, None)
        for hook in self.on_left:
            hook(worker_id)

    def has_left(self, worker_id: str) -> bool:
        """True for a worker that has ended in order."""
        return worker_id in self._left

    def forget(self, worker_id: str) -> None:
        """Another worker is known to have died."""
        self._received.pop(worker_id, None)
        self._receivers.discard(worker_id)

    def known(self) -> int:
        """How many others have sent something lately; those that have not are forgotten."""
        self._forget_the_silent()
        return len(self._received)

    def is_quiet(self, worker_id: str, since: float) -> bool:
        """True when nothing has come from a worker for a moment, since a time of `now`."""
        return self.now() - max(self._received.get(worker_id, 0.0), since) > QUIET_SECONDS

    def now(self) -> float:
        """Seconds for which this process could receive; a time for `is_gone`."""
        if self._echo_at is None:
            return self._receiving_seconds
        return self._receiving_seconds + min(self._clock() - self._echo_at, LONGEST_STEP_SECONDS)

    def is_gone(self, worker_id: str, since: float) -> bool:
        """True when a worker has ended, or was silent from `since` (see `now`) on."""
        if worker_id in self._left:
            return True
        return self.now() - max(self._received.get(worker_id, 0.0), since) > GONE_SECONDS

    def _forget_the_silent(self) -> None:
        since = self.now() - KNOWN_SECONDS
        while (
            self._received and next(iter(self._received.values())) < since
        ):  # in the order of the last receipt
            self._receivers.discard(self._received.popitem(last=False)[0])


def _remember(known: OrderedDict[str, T], worker_id: str, value: T) -> None:
    known[worker_id] = value
    known.move_to_end(worker_id)
    if len(known) > REMEMBERED:
        known.popitem(last=False)
