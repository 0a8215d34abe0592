"""Rows that a process knows, so that nothing waits for the database: read at the start, every few seconds,
and at once when one is changed anywhere.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from math import inf
from time import monotonic
from typing import ClassVar, Final, Generic, TypeVar

from routing_app.core.database import query
from routing_app.core.delivery.publication import Publication
from routing_app.core.eager import Spawn

logger = logging.getLogger(__name__)

READ_SECONDS: Final = 3.0
"""Between two looks at the rows."""

Rows = TypeVar("Rows")


class FreshRows(ABC, Generic[Rows]):
    """The base of what knows the rows of one table."""

    rows_name: ClassVar[str]
    """Of the rows, in the log."""

    def __init__(self, spawn: Spawn) -> None:
        self._spawn = spawn
        self._read_at = -inf
        self._reading: asyncio.Task[None] | None = None
        self.keeps_fresh = False
        """True in a process that reads again and again, which is one that has served a socket."""

    @abstractmethod
    def load(self) -> Rows:
        """The rows of the database. Uses the ORM."""

    @abstractmethod
    def use(self, rows: Rows) -> None:
        """Know these from now on."""

    async def ready(self) -> None:
        """Wait until other rows may be used."""

    @property
    def are_known(self) -> bool:
        """False before the rows were read."""
        return self._read_at > -inf

    @property
    def is_fresh(self) -> bool:
        """True while `freshen` has nothing to do."""
        if self.keeps_fresh:
            return self.are_known
        return monotonic() - self._read_at < READ_SECONDS

    async def read(self) -> None:
        """Read the rows; where that fails those that are known stay."""
        try:
            await self._read()
        except Exception as error:
            logger.warning("%s cannot be read: %s", self.rows_name, type(error).__name__)

    async def freshen(self) -> None:
        """Read the rows where they are not kept fresh, or were not read so far.

        Where that fails those that are known stay. Raises what the database raises where none are: nothing
        may go on as if there were no rows.
        """
        if self.is_fresh:
            return
        # One reading for all that wait, which go on in the order in which they came.
        if self._reading is None or self._reading.done():
            self._reading = self._spawn(self.read() if self.are_known else self._read())
        await asyncio.shield(self._reading)

    async def start(self) -> None:
        """Read the rows, and keep them fresh until the worker stops."""
        await self.read()
        if not self.keeps_fresh:  # the start of the worker may be tried again
            self.keeps_fresh = True
            self._spawn(self._keep_fresh())

    def changed(self, publication: Publication) -> int:
        """Handle the event that says so: read the rows."""
        self._spawn(self.read())
        return 0

    async def _read(self) -> None:
        began = monotonic()
        rows = await query(self.load)
        await self.ready()
        # Of two readings at once the one that began later knows more, whichever ends first.
        if began >= self._read_at:
            self.use(rows)
            self._read_at = began  # last: rows that cannot be used are not known

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(READ_SECONDS)
            await self.read()
