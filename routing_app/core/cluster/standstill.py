"""Time in which this process stood still, so that nobody else is taken for silent in it."""

from __future__ import annotations

import asyncio
import math
from typing import Final

STALL_SECONDS: Final = 0.5
"""A pause of this process from which on others are not taken for silent in it."""


class Standstill:
    """The waits of one task, by which a process knows how long it stood still.

    What else goes on after that may come before the task does, and asks as well: each second is told once.
    """

    def __init__(self) -> None:
        self._due = math.inf
        """When the task wants to go on; never, while it does not wait."""
        self._untold = 0.0

    async def sleep(self, seconds: float) -> None:
        """Wait, as the task."""
        self._due = asyncio.get_running_loop().time() + seconds
        try:
            await asyncio.sleep(seconds)
        finally:
            self._untold += self._late()
            self._due = math.inf

    def seconds(self) -> float:
        """Seconds for which the process stood still, and which were not told before."""
        late, self._untold = self._untold + self._late(), 0.0
        return late

    def _late(self) -> float:
        late = asyncio.get_running_loop().time() - self._due
        if late <= STALL_SECONDS:
            return 0.0
        self._due += late
        return late
