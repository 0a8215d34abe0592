"""The clock of a host that steps, as an operator or NTP sets it."""

from __future__ import annotations

import random
import time
from typing import Final

from faults.nemeses.nemesis import Nemesis
from faults.world import World
from tests.services.faketime import SEEN_SECONDS

STEPS: Final = ("+3600", "-3600", "+40", "-40")
"""Seconds: an hour, and more than a lease."""


class StepClock(Nemesis):
    """The wall clock of one server: that of a run which has libfaketime."""

    name = "step a clock"
    seconds = (3.0, 15.0)

    def __init__(self, world: World, dice: random.Random) -> None:
        super().__init__(world, dice)
        self.node = world.nodes[dice.choice(sorted(world.clocks))]

    @classmethod
    def is_possible(cls, world: World) -> bool:
        """Only with libfaketime."""
        return len(world.clocks) > 0

    @property
    def target(self) -> str:
        """One step a clock."""
        return f"clock of {self.number()}"

    def begin(self) -> str:
        """For all of its processes at once."""
        step = self.dice.choice(STEPS)
        self._set(step)
        return f"{step} s, server {self.number()}"

    def heal(self) -> None:
        """It steps back, everywhere."""
        self._set("+0")
        time.sleep(SEEN_SECONDS)

    def _set(self, step: str) -> None:
        self.world.clocks[self.number()].write_text(step)
