"""The hooks of one worker: the rows as it knows them, and the questions to their backends.

The rows are read at the start, every few seconds, and at once when one is changed anywhere. Without a row
nothing is asked, and nothing is imported for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from math import inf
from time import monotonic
from typing import Any, Final

from routing_app.core.database import query
from routing_app.core.delivery.hub import Hub
from routing_app.core.delivery.publication import Publication
from routing_app.core.hooks.backend import Backend
from routing_app.core.hooks.question import UNCHANGED, Question, Verdict
from routing_app.core.hooks.table import HookSet, HookTable, ProtocolHooks, read_rows

logger = logging.getLogger(__name__)

HOOKS_CHANGED: Final = "$hooks_changed"
"""Event that has every process read the hooks."""
READ_SECONDS: Final = 3.0
"""Between two looks at the rows."""

Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


class Hooks:
    """All hooks of one process."""

    def __init__(self, hub: Hub, spawn: Spawn) -> None:
        self._spawn = spawn
        self._table = HookTable()
        self._read_at = -inf
        self._kept_fresh = False
        self._reading: asyncio.Task[None] | None = None
        self.of: Callable[[str], ProtocolHooks] = self._table.of
        """The hooks of a protocol, now and later."""
        hub.on(HOOKS_CHANGED, self._changed)

    # --- rows -----------------------------------------------------------------------------------------------

    async def read(self) -> None:
        """Read the rows. Raises what the database raises."""
        began = monotonic()
        rows = await query(read_rows)
        # Of two readings at once the one that began later knows more, whichever ends first.
        if began >= self._read_at:
            self._read_at = began
            self._table.use(rows)

    async def freshen(self) -> None:
        """Read the rows where they are not kept fresh, in a process that has served no socket yet, or where
        they could not be read so far.

        Raises what the database raises: nothing is let through for want of rows.
        """
        if self.are_known and (self._kept_fresh or monotonic() - self._read_at < READ_SECONDS):
            return
        # One reading for all that wait.
        if self._reading is None or self._reading.done():
            self._reading = self._spawn(self.read())
        await asyncio.shield(self._reading)

    @property
    def are_known(self) -> bool:
        """False before the rows were read: until then no client may be served (`freshen`)."""
        return self._read_at > -inf

    async def start(self) -> None:
        """Read the rows, and keep them fresh until the worker stops."""
        await self._read_again()
        if not self._kept_fresh:  # the start of the worker may be tried again
            self._kept_fresh = True
            self._spawn(self._keep_fresh())

    def stop(self) -> None:
        """Close the connections to backends. The rows stay: what still comes is asked about."""
        for backend in self._table.backends:
            backend.close()

    @property
    def backends(self) -> Iterable[Backend]:
        """All that are asked."""
        return self._table.backends

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(READ_SECONDS)
            await self._read_again()
            for backend in self._table.backends:
                backend.sweep()

    async def _read_again(self) -> None:
        try:
            await self.read()
        except Exception as error:  # those that are known stay
            logger.warning("hooks cannot be read: %s", type(error).__name__)

    def _changed(self, publication: Publication) -> int:
        self._spawn(self._read_again())
        return 0

    # --- asking ---------------------------------------------------------------------------------------------

    async def ask(self, hooks: HookSet, question: Question) -> Verdict:
        """Ask all hooks that the question's address concerns, in order of their ids.

        The first refusal ends it, and so does the first answer to a request. A message, or an identity, that
        one has given is what the next is told.
        """
        verdict = Verdict()
        for backend in hooks.matching(question.address):
            await backend.ask(question, verdict)
            if not verdict.allow or verdict.answered:
                break
            if verdict.message is not UNCHANGED:
                question.message = verdict.message
            question.identity = verdict.identity or question.identity
        return verdict

    async def ask_each(
        self, hooks: HookSet, addresses: Iterable[str], question: Callable[[str], Question]
    ) -> Verdict:
        """The same for each address that concerns a hook; one message goes to all, however often it was
        replaced. `question` makes the one of an address.
        """
        whole = Verdict()
        for address in addresses:
            if not hooks.concerns(address):
                continue
            asked = question(address)
            asked.message = whole.or_else(asked.message)
            verdict = await self.ask(hooks, asked)
            whole.unavailable = whole.unavailable or verdict.unavailable
            whole.message = whole.message if verdict.message is UNCHANGED else verdict.message
            if not verdict.allow:
                whole.allow, whole.reason = False, verdict.reason
                break
        return whole
