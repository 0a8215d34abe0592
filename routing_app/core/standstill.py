"""Time in which this process stood still: what came in it waits to be read, so nobody was silent."""

from __future__ import annotations

import asyncio
import math
from types import TracebackType
from typing import Any, Final, Self

STALL_SECONDS: Final = 0.5
"""A pause of this process from which on others are not taken for silent in it."""
LEAST_SECONDS: Final = 0.1
"""The same for limits that are shorter than that, of which half is enough: a loop is always a little late."""
AGAIN: Final = 2
"""How often a limit begins anew: a loop that is always late must not wait for ever."""


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


class Within:
    """A limit of so many seconds for what is awaited in it, which begins anew after a standstill.

    As `asyncio.timeout`, it raises TimeoutError; but that ends a wait also where the answer is in the socket.
    None is no limit. An asynchronous context manager.
    """

    __slots__ = ("_due", "_handle", "_left", "_limit", "_seconds", "_stall")

    def __init__(self, seconds: float | None) -> None:
        self._seconds = math.inf if seconds is None else seconds
        self._stall = max(min(STALL_SECONDS, self._seconds / 2), LEAST_SECONDS)
        self._limit = asyncio.timeout(None)
        self._left = AGAIN
        self._handle: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        await self._limit.__aenter__()
        if self._seconds < math.inf:
            self._begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handle is not None:
            self._handle.cancel()
        await self._limit.__aexit__(kind, error, trace)

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        self._due = loop.time() + self._seconds
        self._handle = loop.call_at(self._due, self._look)

    def _look(self) -> None:
        if self._left and asyncio.get_running_loop().time() - self._due > self._stall:
            self._left -= 1
            self._begin()
        else:
            self._limit.reschedule(self._due)


async def comes_within(future: asyncio.Future[Any], seconds: float) -> bool:
    """Wait for a future so long; False where it has not come. It is not cancelled."""
    try:
        async with Within(seconds):
            await asyncio.wait([future])
    except TimeoutError:
        return False
    return True
