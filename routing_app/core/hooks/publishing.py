"""Publishing as the backend decides: one question for each address of a message, and one answer for each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from routing_app.core import json
from routing_app.core.address import Address
from routing_app.core.hooks.hooks import Hooks
from routing_app.core.hooks.question import UNCHANGED, Question, Verdict
from routing_app.core.hooks.table import HookSet

AT_ONCE: Final = 16
"""Questions about one message that are under way together."""


class Part(NamedTuple):
    """The addresses that get the same message."""

    addresses: tuple[Address, ...]
    message: Any


@dataclass(slots=True)
class Decision:
    """A message as it may be published."""

    parts: list[Part] = field(default_factory=list)
    refused: dict[Address, Verdict] = field(default_factory=dict)
    """The verdict on each address that gets nothing."""


async def decide(
    hooks: Hooks,
    several: HookSet,
    addresses: Iterable[Address],
    message: Any,
    ask_about: Callable[[Address], Question],
) -> Decision:
    """Ask about each of the addresses that concerns a hook; `ask_about` makes the question of an address."""
    distinct = tuple(dict.fromkeys(addresses))
    concerned = [address for address in distinct if several.concerns(address)]
    if not concerned:
        return Decision([Part(distinct, message)] if distinct else [])
    verdicts = await _ask(hooks, several, [ask_about(address) for address in concerned])
    found = dict(zip(concerned, verdicts, strict=True))
    decision = Decision()
    parts: dict[str, tuple[list[Address], Any]] = {}
    for address in distinct:
        verdict = found.get(address)
        if verdict is not None and not verdict.allow:
            decision.refused[address] = verdict
        elif verdict is None or verdict.message is UNCHANGED:
            parts.setdefault("", ([], message))[0].append(address)
        else:  # by their text, since 1 and true are equal in Python
            parts.setdefault(json.dumps(verdict.message), ([], verdict.message))[0].append(address)
    decision.parts = [Part(tuple(some), one) for some, one in parts.values()]
    return decision


async def _ask(hooks: Hooks, several: HookSet, questions: list[Question]) -> list[Verdict]:
    if len(questions) == 1:  # without the cost of a task
        return [await hooks.ask(several, questions[0])]
    verdicts: list[Verdict] = []
    for start in range(0, len(questions), AT_ONCE):
        some = questions[start : start + AT_ONCE]
        verdicts += await asyncio.gather(*(hooks.ask(several, one) for one in some))
    return verdicts
