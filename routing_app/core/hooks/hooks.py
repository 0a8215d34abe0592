"""The hooks of one worker: the rows as it knows them, and the questions to their backends.

Without a row nothing is asked, and nothing is imported for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from routing_app.core.delivery.hub import Hub
from routing_app.core.eager import Spawn
from routing_app.core.fresh_rows import FreshRows
from routing_app.core.hooks.backend import Backend
from routing_app.core.hooks.question import UNCHANGED, Question, Verdict
from routing_app.core.hooks.table import HookRow, HookSet, HookTable, ProtocolHooks, read_rows

HOOKS_CHANGED: Final = "$hooks_changed"
"""Event that has every process read the hooks."""


class Hooks(FreshRows[list[HookRow]]):
    """All hooks of one process. Until they are known no client may be served (`freshen`)."""

    rows_name = "hooks"

    def __init__(self, hub: Hub, spawn: Spawn) -> None:
        super().__init__(spawn)
        self._table = HookTable()
        self.of: Callable[[str], ProtocolHooks] = self._table.of
        """The hooks of a protocol, now and later."""
        hub.on(HOOKS_CHANGED, self.changed)

    # --- rows -----------------------------------------------------------------------------------------------

    def load(self) -> list[HookRow]:
        """All that are enabled. Uses the ORM."""
        return read_rows()

    def use(self, rows: list[HookRow]) -> None:
        """Ask these from now on."""
        self._table.use(rows)
        for backend in self._table.backends:
            backend.sweep()

    def stop(self) -> None:
        """Close the connections to backends. The rows stay: what still comes is asked about."""
        for backend in self._table.backends:
            backend.close()

    @property
    def backends(self) -> Iterable[Backend]:
        """All that are asked."""
        return self._table.backends

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
