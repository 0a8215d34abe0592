"""The clock of a host that steps, as an operator or NTP sets it."""

from __future__ import annotations

from typing import Final

from faults.nemeses.nemesis import Nemesis
from faults.world import World

STEPS: Final = ("+3600", "-3600", "+40", "-40")
"""Seconds: an hour, and more than a lease."""


class StepClock(Nemesis):
    """The wall clock of the second server, which runs with libfaketime."""

    name = "step a clock"
    seconds = (3.0, 15.0)

    @classmethod
    def is_possible(cls, world: World) -> bool:
        """Only with libfaketime."""
        return world.clock is not None

    def begin(self) -> str:
        """For all of its processes at once."""
        step = self.dice.choice(STEPS)
        self._set(step)
        return f"{step} s, server 1"

    def heal(self) -> None:
        """It steps back."""
        self._set("+0")

    def _set(self, step: str) -> None:
        assert self.world.clock is not None
        self.world.clock.write_text(step)
