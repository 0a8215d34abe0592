"""When the cluster was disturbed.

Words: `fault` (`name`, `number`), and `healed` (`number`) once the cause is gone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from faults.history import Event, of


@dataclass(frozen=True, slots=True)
class Disturbances:
    """The spans of time in which a fault was there; the end of one that was not healed is infinite."""

    spans: tuple[tuple[float, float], ...]

    def is_quiet(self, at: float, for_seconds: float) -> bool:
        """True when no fault was there at a time, nor within so many seconds before it."""
        return not any(begin <= at and end > at - for_seconds for begin, end in self.spans)

    @property
    def last(self) -> float:
        """When the last fault was healed; 0 where there was none."""
        return max((end for _, end in self.spans), default=0.0)


def disturbances(events: Iterable[Event]) -> Disturbances:
    """The spans of a history."""
    events = list(events)
    healed = {one["number"]: one.at for one in of(events, "healed")}
    spans = [(one.at, healed.get(one["number"], float("inf"))) for one in of(events, "fault")]
    return Disturbances(tuple(spans))
