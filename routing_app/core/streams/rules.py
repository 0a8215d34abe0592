"""The rules of addresses as one worker knows them: which have history, and how much of it.

The rows are read at the start, every few seconds, and at once when one is changed anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from routing_app.core.address import has_history
from routing_app.core.models import AddressRule
from routing_app.core.streams.patterns import ANY
from routing_app.core.streams.store import Bounds

MAX_KNOWN: Final = 65_536
"""Addresses whose rule is remembered."""
RuleRow = tuple[str, int, int, bool]
"""Pattern, size and seconds of the history, and whether there are notices."""


class Rule(NamedTuple):
    """The rule of an address; `bounds` is None where no history is kept."""

    bounds: Bounds | None
    notices: bool


NONE: Final = Rule(None, False)


class RuleTable:
    """All rules; true when any address may have history."""

    def __init__(self, rules: Iterable[RuleRow] = (), size: int = 0, seconds: int = 300) -> None:
        """`rules`: pattern, history size, history seconds, notices; `size` and `seconds` hold without one."""
        self._rules: dict[str, Rule] = {}
        self._exact: dict[str, Rule] = {}
        self._prefixes: dict[int, dict[str, Rule]] = {}
        self._else = _rule(size, seconds, notices=False)
        for pattern, *values in rules:
            rule = _rule(*values)  # type: ignore[arg-type]  # a slice of a tuple has the union of its types
            self._rules[pattern] = rule
            if pattern.endswith(ANY):
                prefix = pattern.removesuffix(ANY)
                self._prefixes.setdefault(len(prefix), {})[prefix] = rule
            else:
                self._exact[pattern] = rule
        self._lengths = sorted(self._prefixes, reverse=True)
        self._has_history = any(rule.bounds for rule in (self._else, *self._rules.values()))
        self._known: dict[str, Rule] = {}

    def __bool__(self) -> bool:
        return self._has_history

    def of(self, address: str) -> Rule:
        """The rule of an address: the longest literal part counts, and a whole address before a prefix."""
        found = self._known.get(address)
        if found is None:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            found = self._known[address] = self._find(address)
        return found

    def takes_history(self, before: RuleTable) -> bool:
        """True when an address may have none by these rules that had some by those before."""
        taken = any(one.bounds and not self._rules.get(pattern, NONE).bounds for pattern, one in before)
        return taken or any(not one.bounds and pattern not in before._rules for pattern, one in self)

    def __iter__(self) -> Iterator[tuple[str, Rule]]:
        return iter(self._rules.items())

    def _find(self, address: str) -> Rule:
        if not has_history(address.partition(":")[0]):
            return NONE
        if (rule := self._exact.get(address)) is not None:
            return rule
        for length in self._lengths:
            if (rule := self._prefixes[length].get(address[:length])) is not None:
                return rule
        return self._else


def _rule(size: int, seconds: int, notices: bool) -> Rule:
    return Rule(Bounds(size, seconds) if size else None, notices)


def rows() -> list[RuleRow]:
    """All rules, for a table. Uses the ORM."""
    return list(AddressRule.objects.values_list("pattern", "history_size", "history_seconds", "notices"))
