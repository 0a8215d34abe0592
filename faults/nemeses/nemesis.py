"""A fault that is begun, lasts, and is healed."""

from __future__ import annotations

import random
from collections.abc import Callable

from faults.world import World


class Nemesis:
    """One kind of fault. `dice` decide the details; both steps block, and run in a thread."""

    name = ""
    seconds: tuple[float, float] = (1.0, 8.0)
    """How long it lasts, from and to."""

    def __init__(self, world: World, dice: random.Random) -> None:
        self.world, self.dice = world, dice
        self.node = dice.choice(world.nodes)

    @classmethod
    def is_possible(cls, world: World) -> bool:
        """False where this cluster has nothing that could fail so."""
        return True

    @property
    def target(self) -> str:
        """What two faults of one run must not disturb at once, since healing one would heal the other."""
        return self.name

    def begin(self) -> str:
        """Do it; what was done, for the history."""
        raise NotImplementedError

    def heal(self) -> None:
        """Undo it; what is gone comes back by itself."""

    def number(self) -> int:
        """0, 1, …: which of the servers."""
        return self.world.nodes.index(self.node)


Make = Callable[[World, random.Random], Nemesis]
