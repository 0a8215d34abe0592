"""One worker's part of `address.occupied` and `address.vacated`: which addresses have subscribers here.

The hub tells of an address's first subscriber in this process, and of the end of its last one. An address
stays held for VACANT_SECONDS after that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from itertools import islice
from time import monotonic
from typing import Any, Final

from routing_app.core.database import query
from routing_app.core.delivery.hub import Hub
from routing_app.core.leases.rows import storable
from routing_app.core.models.occupied import ADDRESS_LENGTH
from routing_app.core.webhooks import occupied
from routing_app.core.webhooks.known import KnownWebhook, webhooks
from routing_app.core.webhooks.occupied import CHUNK, VACANT_SECONDS

logger = logging.getLogger(__name__)

APART_SECONDS: Final = 0.05
"""Between two transactions."""
LOOK_SECONDS: Final = 2.0
"""Between two looks after workers that have died, and after our own rows."""
THOROUGH_LOOKS: Final = 15
"""One of so many looks goes through all addresses."""
RETRY_SECONDS: Final = 1.0
"""After a failure of the database."""

Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class Occupancy:
    """That of one worker."""

    def __init__(
        self, worker_id: str, hub: Hub, spawn: Spawn, clock: Callable[[], float] = monotonic
    ) -> None:
        self._worker_id = worker_id
        self._hub = hub
        self._spawn = spawn
        self._clock = clock
        self._wanting: Sequence[KnownWebhook] = ()
        self._leaving: dict[str, float] = {}
        """Addresses without a subscriber here, and when each is let go; the next one at first."""
        self._dirty: dict[str, None] = {}
        """Addresses to write, in the order in which they changed."""
        self._held: set[str] = set()
        """Addresses that this worker holds by what it has written."""
        self._has_changed = False
        self._looks = 0
        self._look_at = 0.0
        self._wake = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    def use(self) -> None:
        """The webhooks were read: begin, end, or go by other webhooks than before."""
        wanting = tuple(filter(occupied.tracks, webhooks.all))
        if wanting == self._wanting:
            return
        self._wanting = wanting
        self._hub.occupancy = self if wanting else None
        self._has_changed = True
        if not wanting:
            self._leaving.clear()
        self._write_all_again()
        if self._running is None or self._running.done():
            self._running = self._spawn(self._run())

    def came(self, address: str) -> None:
        """The first subscriber of an address in this process has come."""
        if self._leaving.pop(address, None) is None and self._tracks(address):
            self._dirty[address] = None
            self._wake.set()

    def left(self, address: str) -> None:
        """The last one has left."""
        if self._tracks(address):
            if not self._leaving:
                self._wake.set()
            self._leaving[address] = self._clock() + VACANT_SECONDS

    def _tracks(self, address: str) -> bool:
        # One that the database does not hold as it is cannot be told of.
        return storable(address, ADDRESS_LENGTH) == address and any(
            not one.addresses or one.addresses.cover(address) for one in self._wanting
        )

    def _write_all_again(self) -> None:
        here = filter(self._tracks, self._hub.addresses())
        self._dirty |= dict.fromkeys([*here, *self._held])
        self._wake.set()

    async def _run(self) -> None:
        """Write what changes, until nobody wants to know."""
        while self._wanting or self._has_changed:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause()):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self.settle()
            except Exception as error:
                logger.warning("occupied addresses wait for the database: %s", type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)
                self._wake.set()

    def _pause(self) -> float:
        """Seconds until there is something to do, unless it comes earlier."""
        until = min(self._look_at, next(iter(self._leaving.values()), self._look_at))
        return max(0.0, until - self._clock())

    async def settle(self) -> None:
        """Write what is to write now, and look after the others if that is due."""
        if self._has_changed:
            self._has_changed = False
            try:
                await query(occupied.forget_unwanted, self._worker_id)
            except BaseException:
                self._has_changed = True
                raise
        self._let_go_of_those_that_left()
        while self._dirty:
            await self._write()
            await asyncio.sleep(APART_SECONDS)
            self._let_go_of_those_that_left()
        if self._wanting and self._clock() >= self._look_at:
            await self._look()

    def _let_go_of_those_that_left(self) -> None:
        now = self._clock()
        # In the order of their times, since each waits for as long.
        for address, at in list(self._leaving.items()):
            if at > now:
                return
            del self._leaving[address]
            self._dirty[address] = None

    async def _write(self) -> None:
        some = list(islice(self._dirty, CHUNK))
        for address in some:
            del self._dirty[address]
        held = {one for one in some if (self._hub.has(one) or one in self._leaving) and self._tracks(one)}
        released = set(some) - held
        try:
            await query(occupied.change, self._worker_id, sorted(held), sorted(released))
        except BaseException:
            self._dirty = dict.fromkeys(some) | self._dirty
            raise
        self._held |= held
        self._held -= released

    async def _look(self) -> None:
        self._look_at = self._clock() + LOOK_SECONDS
        self._looks += 1
        found = await query(occupied.look, self._worker_id, self._looks % THOROUGH_LOOKS == 0)
        # Others may have taken this worker for dead, or its row may have been lost with all that hangs on it.
        if found != len(self._held) and not self._dirty:
            self._write_all_again()
