"""A promise that was broken, with the shortest part of the history that shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from faults.history import Event


@dataclass(frozen=True, slots=True)
class Violation:
    """`promise` is a sentence of what should have held, `why` what was seen instead."""

    promise: str
    why: str
    events: tuple[Event, ...] = ()

    def __str__(self) -> str:
        lines = "".join(f"\n    {event}" for event in self.events)
        return f"{self.promise}: {self.why}{lines}"


def shortest(events: Sequence[Event | None]) -> tuple[Event, ...]:
    """The events that there are, each once, in the order of their times."""
    unique = {id(one): one for one in events if one is not None}
    return tuple(sorted(unique.values(), key=lambda one: one.at))
