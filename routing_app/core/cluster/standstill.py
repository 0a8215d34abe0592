"""Time in which this process stood still: what came in it waits to be read, so nobody was silent."""

from __future__ import annotations

import asyncio
import math
from typing import Any, Final

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


async def comes_within(future: asyncio.Future[Any], seconds: float) -> bool:
    """Wait for a future so long, and as long again after a standstill; False where it has not come.

    It is not cancelled.
    """
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + seconds
        await asyncio.wait([future], timeout=seconds)
        if future.done() or loop.time() - due <= STALL_SECONDS:
            return future.done()
