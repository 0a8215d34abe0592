"""Hooks of handshakes: asked before there is a connection, after all checks of the server's own."""

from __future__ import annotations

from dataclasses import replace

from routing_app.core.access.admission import Refused
from routing_app.core.codes import FORBIDDEN, UNAVAILABLE, Close, Refusal
from routing_app.core.delivery.connection import Given
from routing_app.core.hooks.hooks import Hooks
from routing_app.core.hooks.question import Question, Verdict
from routing_app.core.hooks.table import HookSet

MAX_REASON_BYTES = 123
"""Of a close frame (RFC 6455, section 5.5)."""


class HookRefused(Refused):
    """A hook has refused a client, in words of its backend's if it gave any; or it had no answer."""

    words: str
    """Those of the backend, whole: a close has room for 123 bytes alone."""

    def __init__(self, verdict: Verdict) -> None:
        self.words = "" if verdict.unavailable else verdict.reason
        if verdict.unavailable:
            super().__init__(UNAVAILABLE, Refusal.UNAVAILABLE)
        else:
            super().__init__(_close(verdict.reason), Refusal.HOOK)


async def ask(hooks: Hooks, several: HookSet, question: Question) -> Given:
    """What hooks give a client that connects. Raises HookRefused."""
    verdict = await hooks.ask(several, question)
    if not verdict.allow:
        raise HookRefused(verdict)
    return Given(verdict.identity, verdict.name, verdict.subscribe)


def _close(reason: str) -> Close:
    cut = reason.encode("utf-8", "replace")[:MAX_REASON_BYTES].decode("utf-8", "ignore")
    return replace(FORBIDDEN, reason=cut) if cut else FORBIDDEN
