"""One other process as this one knows it: the envelopes that came and are waited for, and its clock."""

from __future__ import annotations

import math
from collections import deque
from typing import Any, Final

from routing_app.core.cluster.heartbeats import SHORTEST_SECONDS

SAMPLES: Final = 8
"""Readings of another process's clock that are kept, about one for each heartbeat."""
PAUSE_SECONDS: Final = 2.0
"""A process whose heartbeat is so much later than it had announced may have slept, and its clock with it."""
SAME_CLOCK_SECONDS: Final = 1.0


class Offset:
    """The seconds by which our clock is ahead of another process's.

    Clocks of two hosts have nothing in common but their rate. A reading that comes with an envelope is too
    old by the time the envelope took, so an offset by it is never too small, and the smallest of some is the
    best.
    """

    __slots__ = ("_before", "_read_at", "_samples", "seconds")

    def __init__(self) -> None:
        self.seconds: float | None = None
        """None before the first reading."""
        self._samples: deque[float] = deque(maxlen=SAMPLES)
        self._before: float | None = None
        self._read_at = 0.0

    def read(self, theirs: float, now: float, patience: float = SHORTEST_SECONDS) -> None:
        """Take a reading of the other clock; it was to come within `patience` seconds after the last one.

        The offset from before a silence holds if a reading after it agrees: else that clock stood still.
        """
        if self._samples and now - self._read_at > patience + PAUSE_SECONDS:
            self._before = self.seconds
            self._samples.clear()
        self._read_at = now
        self._samples.append(now - theirs)
        best = min(self._samples)
        # After a silence there is one sample, and its envelope may have been slow. The offset from before is
        # better, unless the other host was suspended: then it differs by the time it slept, not by a delay.
        if self._before is not None and best <= self._before + SAME_CLOCK_SECONDS:
            best = min(best, self._before)
        self.seconds = best


class PeerRecord:
    """One other process."""

    __slots__ = (
        "came",
        "cursor",
        "deadline",
        "hole",
        "next",
        "offset",
        "part_at",
        "received_at",
        "round",
        "since",
    )

    def __init__(self, cursor: int) -> None:
        self.cursor = cursor
        """Everything numbered up to this has been delivered, was not for us, or is told to be missing."""
        self.hole: int | None = 0
        """The last envelope that never left it live; None for one that cannot be asked for anything."""
        self.received_at = 0.0
        self.next = SHORTEST_SECONDS
        """Its next heartbeat follows the last one within so many seconds."""
        self.offset = Offset()
        self.round = 0
        """Number of the question whose answer is waited for, 0 for none: an older answer does not cover
        losses since."""
        self.since = 0.0
        """When the wait began. Missing envelopes were published before."""
        self.deadline = math.inf
        """When envelopes that have not come count as missing; never, for a silent process."""
        self.part_at = -math.inf
        """When a part of the answer came."""
        self.came: dict[int, list[Any]] = {}
        """Items of envelopes that are held back, by number: they came live, or again."""

    def wait(self, round: int, now: float, deadline: float) -> None:
        """Hold back envelopes that come until this question is answered."""
        self.round, self.since, self.deadline = round, now, deadline
        self.part_at = -math.inf

    @property
    def is_waited_for(self) -> bool:
        """True when it is asked, and is expected to answer."""
        return self.round > 0 and self.deadline < math.inf
