"""What limits would say now: to one more session of a customer, and to the customers that play.

Nothing is changed, locked or written down. A create that comes later may be answered otherwise: players that
do not answer are ended at a limit (`service.create`), and hooks, revocations and rate limits decide before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import SimpleNamespace
from typing import Final

from django.db.models import Count
from django.utils import timezone

from sessions_app.commands import slot_of_device
from sessions_app.limits import FIELD, LimitRule, LimitScope, Policy, applicable, decide, subject_of
from sessions_app.models import EventKind, Limit, Publisher, Session, SessionEvent
from sessions_app.wire import Wanted

LOOK_BACK: Final = timedelta(hours=24)
"""The time whose refusals are counted."""


@dataclass(frozen=True, slots=True)
class Pool:
    """One limit that concerns a stream: `held` sessions count in it, of `subject` ("" for the account)."""

    limit: int
    rule: LimitRule
    subject: str
    held: int

    @property
    def is_full(self) -> bool:
        """True when one more is refused, or ends another."""
        return self.held >= self.rule.maximum


@dataclass(frozen=True, slots=True)
class Trial:
    """The answer to one more session.

    `refused` names the limit that would refuse it, and `counted` the sessions that count there; `evicted`
    would end for it; `again` is the session that the same device has for it, and gets. `observed` are limits
    that would have refused, had they not been there only to observe.
    """

    pools: tuple[Pool, ...]
    observed: tuple[int, ...] = ()
    refused: int | None = None
    why: str = ""
    take_over: bool = False
    counted: tuple[Session, ...] = ()
    evicted: tuple[Session, ...] = ()
    again: Session | None = None


def try_create(publisher: Publisher, customer: str, wanted: Wanted) -> Trial:
    """The answer to a create of `wanted` by a customer, as it would be decided now. Uses the ORM."""
    ids = _rules(publisher, ("", customer))
    rules = list(ids)
    sessions = list(Session.objects.live().filter(account__publisher=publisher, account__customer=customer))
    own = slot_of_device(wanted, sessions)
    held = [session for session in sessions if session is not own]
    decision = decide(rules, wanted, customer, held)
    pools = tuple(_pools(ids, wanted, customer, held))
    observed = tuple(ids[full.rule] for full in decision.observed)
    full = decision.full
    if full is None:
        return Trial(pools, observed, evicted=decision.evicted, again=own)
    take_over = full.rule.policy is Policy.ASK
    return Trial(pools, observed, ids[full.rule], str(full), take_over, full.counted)


def _rules(publisher: Publisher, customers: Sequence[str] | None = None) -> dict[LimitRule, int]:
    """The limits of a publisher, each with its id; of some customers alone where they are named."""
    rows = Limit.objects.filter(publisher=publisher).order_by("pk")
    if customers is not None:
        rows = rows.filter(customer__in=customers)
    return {Limit.rule(*fields): id for id, *fields in rows.values_list("pk", *Limit.RULE)}


def _pools(
    ids: dict[LimitRule, int], wanted: Wanted, customer: str, held: Sequence[Session]
) -> Iterator[Pool]:
    for observe_only in (False, True):
        for rule in applicable(ids, wanted, customer, observe_only):
            subject = subject_of(rule.scope, wanted) or ""
            counted = sum((subject_of(rule.scope, one) or "") == subject for one in held)
            yield Pool(ids[rule], rule, subject, counted)


@dataclass(frozen=True, slots=True)
class Full:
    """A pool of a customer in which one more is refused or ends another, and how often the customer was
    refused within LOOK_BACK, whatever the limit."""

    customer: str
    pool: Pool
    denied: int


def full_pools(publisher: Publisher, most: int) -> tuple[dict[int, int], list[Full]]:
    """How many pools each limit (by its id) leaves no room in now, and `most` of them: those of customers
    that were refused most, and of these the largest. Uses the ORM."""
    ids = _rules(publisher)
    full = [
        (customer, pool)
        for observe_only in (False, True)
        for scope in LimitScope
        for customer, pool in _full_of(publisher, scope, _some(ids, scope, observe_only))
    ]
    numbers = Counter(pool.limit for _, pool in full)
    denied = _denied(publisher) if full else {}
    full.sort(key=lambda one: (-denied.get(one[0], 0), -one[1].held, one[0], one[1].limit))
    listed = [Full(customer, pool, denied.get(customer, 0)) for customer, pool in full[:most]]
    return {id: numbers[id] for id in ids.values()}, listed


def _some(ids: dict[LimitRule, int], scope: LimitScope, observe_only: bool) -> dict[LimitRule, int]:
    return {rule: id for rule, id in ids.items() if rule.scope is scope and rule.observe_only is observe_only}


def _full_of(
    publisher: Publisher, scope: LimitScope, ids: dict[LimitRule, int]
) -> Iterator[tuple[str, Pool]]:
    """The full pools of a scope. Customers that play nothing are in none."""
    if not ids:
        return
    column = FIELD.get(scope)
    groups = Session.objects.live().filter(account__publisher=publisher).order_by()
    names = ("account__customer", column) if column is not None else ("account__customer",)
    least = min(rule.maximum for rule in ids)
    observe_only = next(iter(ids)).observe_only
    for customer, *rest, held in (
        groups.values(*names).annotate(held=Count("*")).filter(held__gte=least).values_list(*names, "held")
    ):
        stream = SimpleNamespace(**({} if column is None else {column: rest[0]}))
        for rule in applicable(ids, stream, customer, observe_only):
            pool = Pool(ids[rule], rule, subject_of(scope, stream) or "", held)
            if pool.is_full:
                yield customer, pool


def _denied(publisher: Publisher) -> dict[str, int]:
    """Refusals of each customer within LOOK_BACK."""
    events = SessionEvent.objects.filter(
        account__publisher=publisher,
        kind=EventKind.DENIED,
        observed=False,
        at__gte=timezone.now() - LOOK_BACK,
    )
    counted = events.order_by().values("account__customer").annotate(times=Count("*"))
    return dict(counted.values_list("account__customer", "times"))


@dataclass(frozen=True, slots=True)
class Total:
    """The sessions of a publisher now: how many, of how many customers, and with how many players."""

    publisher: str
    sessions: int
    customers: int
    connected: int


def totals() -> list[Total]:
    """All publishers, also those that nobody plays of. Uses the ORM."""
    live = Session.objects.live().order_by().values("account__publisher")
    counted = live.annotate(
        sessions=Count("*"),
        customers=Count("account", distinct=True),
        connected=Count("worker"),
    )
    columns = ("account__publisher", "sessions", "customers", "connected")
    known = {publisher: numbers for publisher, *numbers in counted.values_list(*columns)}
    names = Publisher.objects.values_list("pk", "name")
    return [Total(name, *known.get(pk, (0, 0, 0))) for pk, name in names]
