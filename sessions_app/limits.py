"""The limits that apply to a session, the sessions that count in them, and the decision on one more. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Generic, TypeVar

from sessions_app.evictions import fewest


class LimitScope(StrEnum):
    """The pool of a limit, always within one customer; the order is the order of checking."""

    ACCOUNT = "account"
    OFFER = "offer"
    TAG = "tag"
    CONTENT = "content"
    DEVICE_TYPE = "device_type"


class Policy(StrEnum):
    """The behaviour at the limit."""

    BLOCK = "block"
    EVICT_OLDEST = "evict_oldest"
    ASK = "ask"


FIELD: Final = {
    LimitScope.OFFER: "offer_id",
    LimitScope.TAG: "tag",
    LimitScope.CONTENT: "content_id",
    LimitScope.DEVICE_TYPE: "device_type",
}


S = TypeVar("S")
"""A stream: a session, or the wish for one. Limits look at its `offer_id`, `tag`, `content_id` and
`device_type`, strings that may be empty."""


@dataclass(frozen=True, slots=True)
class LimitRule:
    """One limit. `value` and `customer` narrow it; empty, it is the default of its scope."""

    scope: LimitScope
    value: str
    maximum: int
    policy: Policy
    customer: str = ""
    observe_only: bool = False


@dataclass(frozen=True, slots=True)
class FullLimit(Generic[S]):
    """A rule that leaves no room: its subject (the offer, say; "" for the account) and who counts in it."""

    rule: LimitRule
    subject: str
    counted: tuple[S, ...]

    def __str__(self) -> str:
        scope = self.rule.scope.replace("_", " ")
        where = f"{scope} {self.subject}" if self.subject else scope
        return f"limit of {self.rule.maximum} for {where}"


@dataclass(frozen=True, slots=True)
class Decision(Generic[S]):
    """The decision on one more: `full` is None and `evicted` end, or `full` says why not."""

    full: FullLimit[S] | None
    evicted: tuple[S, ...] = ()
    observed: tuple[FullLimit[S], ...] = ()
    """Rules that would have refused, had they not been there only to observe."""


def subject_of(scope: LimitScope, stream: object) -> str | None:
    """The name that a stream counts under in a scope; None where the scope does not concern it."""
    return "" if scope is LimitScope.ACCOUNT else getattr(stream, FIELD[scope]) or None


def applicable(
    rules: Iterable[LimitRule], wanted: object, customer: str, observe_only: bool = False
) -> list[LimitRule]:
    """The rule of each scope that concerns `wanted`: the customer's own before all others, and within these
    the one for this very value before the default."""
    best: dict[LimitScope, LimitRule] = {}
    for rule in rules:
        if rule.observe_only is observe_only and _concerns(rule, wanted, customer):
            rival = best.get(rule.scope)
            if rival is None or _specificity(rule) > _specificity(rival):
                best[rule.scope] = rule
    return [best[scope] for scope in LimitScope if scope in best]


def decide(rules: Collection[LimitRule], wanted: object, customer: str, held: Sequence[S]) -> Decision[S]:
    """Decide whether `wanted` may start beside `held`, the customer's sessions, oldest first."""
    enforced = applicable(rules, wanted, customer)
    observed = [_full(rule, wanted, held) for rule in applicable(rules, wanted, customer, observe_only=True)]
    would_refuse = tuple(full for full in observed if full is not None)
    evicted = _evictions(enforced, wanted, held)
    kept = [stream for position, stream in enumerate(held) if position not in evicted]
    for rule in enforced:
        if _full(rule, wanted, kept) is not None:
            # Refused, so no session ends, and all that are held count.
            return Decision(_full(rule, wanted, held), observed=would_refuse)
    return Decision(None, tuple(held[position] for position in sorted(evicted)), would_refuse)


def takeover_allowed(rules: Collection[LimitRule], wanted: object, customer: str) -> bool:
    """False when limits apply and all of them only block: then the operator offers no takeover."""
    enforced = applicable(rules, wanted, customer)
    return not enforced or any(rule.policy is not Policy.BLOCK for rule in enforced)


def _concerns(rule: LimitRule, wanted: object, customer: str) -> bool:
    subject = subject_of(rule.scope, wanted)
    return subject is not None and rule.value in ("", subject) and rule.customer in ("", customer)


def _specificity(rule: LimitRule) -> tuple[bool, bool]:
    return bool(rule.customer), bool(rule.value)


def _full(rule: LimitRule, wanted: object, held: Iterable[S]) -> FullLimit[S] | None:
    subject = subject_of(rule.scope, wanted)
    counted = tuple(stream for stream in held if subject_of(rule.scope, stream) == subject)
    return FullLimit(rule, subject or "", counted) if len(counted) >= rule.maximum else None


def _evictions(rules: Iterable[LimitRule], wanted: object, held: Sequence[S]) -> set[int]:
    """Positions of the fewest that make room for one in every limit that evicts, the oldest where there is a
    choice. Other limits do not influence which."""
    full = [
        one
        for rule in rules
        if rule.policy is Policy.EVICT_OLDEST and (one := _full(rule, wanted, held)) is not None
    ]
    if not full:
        return set()
    places = [(one.rule.scope, subject_of(one.rule.scope, wanted)) for one in full]
    counts_in = [tuple(subject_of(scope, stream) == it for scope, it in places) for stream in held]
    # One more than there is room for has to end; of a maximum of none, not more than there are.
    needs = [min(len(one.counted), len(one.counted) - one.rule.maximum + 1) for one in full]
    return set(fewest(needs, counts_in))
