"""Verdicts of hooks in the words of this protocol, and walkers that a backend answers."""

from __future__ import annotations

from typing import Any

from routing_app.core.hooks.hooks import Hooks
from routing_app.core.hooks.question import Question, Verdict
from routing_app.core.hooks.refusing import refusal_of
from routing_app.core.hooks.table import HookSet
from routing_app.events.walker_runner import WalkerFailed
from routing_app.events.wire import NO_DECISION, UNKNOWN_WALKER, dumps


class WalkerRefused(Exception):
    """A walker that the backend does not run for its caller; the message is for that."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(sentence(verdict) or UNKNOWN_WALKER)
        self.refusal = refusal_of(verdict)
        self.unavailable = verdict.unavailable


class NotAnswered(Exception):
    """No backend has this walker."""


def sentence(verdict: Verdict) -> str:
    """The words for a verdict that refuses; "" where the backend has none."""
    return NO_DECISION if verdict.unavailable else verdict.reason


async def run(hooks: Hooks, several: HookSet, question: Question) -> list[Any]:
    """The reports of a walker of the backend's: the partial ones, then the reply.

    Raises WalkerRefused, NotAnswered, WalkerFailed.
    """
    verdict = await hooks.ask(several, question)
    if not verdict.allow:
        raise WalkerRefused(verdict)
    if not verdict.answered:
        raise NotAnswered
    if verdict.is_error:
        errors = verdict.error if isinstance(verdict.error, list) and verdict.error else [verdict.error]
        raise WalkerFailed([one if isinstance(one, str) else dumps(one) for one in errors])
    return [*verdict.partials, verdict.reply]
