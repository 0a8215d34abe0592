"""Sessions come and go here, in transactions that hold the rows of their accounts.

Over-granting is impossible by construction: every change of an account's sessions is a command; commands are
applied in one transaction that first locks the accounts (in one order, so that nothing deadlocks), then reads
their sessions, ends those whose time is over, and decides on what is left. On SQLite the transaction holds
the whole database.

Time is the database's own. Deadlines and leases are judged by clocks that stand still while it cannot be
reached, and a worker whose lease has lapsed binds nothing until it has renewed (`reach.py` and
`lease.py` in `core/leases/`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F, FilteredRelation, Q

from routing_app.core.changes import changes
from routing_app.core.leases import reach
from routing_app.core.leases.reach import Times
from routing_app.core.models import LEASE_SECONDS, WorkerRecord
from routing_app.core.webhooks.known import webhooks
from routing_app.core.webhooks.report import Event, write
from sessions_app import reports
from sessions_app.limits import LimitRule
from sessions_app.models import Account, EventKind, Limit, Publisher, Session, SessionEvent, last_lapsed_lease
from sessions_app.rows import STREAM, seen_of

CHUNK: Final = 500
"""Rows in one statement."""
KNOWN: Final = 200_000
"""Accounts remembered by a process."""
CHANGEABLE: Final = (
    "name",
    "content_id",
    "device_name",
    "device_type",
    "connection_id",
    "worker",
    "bound_at",
    "seen_at",
    "expires_at",
)
SERVER: Final = "server"
SESSIONS: Final = "sessions"
"""The kind of rows whose changes are noted here."""


class AccountKey(NamedTuple):
    """Names an account, and sorts it: the `publisherId` and `customerId` of tokens."""

    publisher: str
    customer: str

    @property
    def address(self) -> str:
        """The address of all sockets of the customer."""
        return f"customer:{self.publisher}/{self.customer}"


@dataclass(frozen=True, slots=True)
class StoreCommand(ABC):
    """A change of one account; it decides when it is applied, inside the transaction."""

    key: AccountKey

    @abstractmethod
    def apply(self, account: LockedAccount) -> Any:
        """Change the account, return the outcome."""

    def without_account(self) -> Any:
        """The outcome where there is no such publisher, and so no account."""
        return None


@dataclass(frozen=True, slots=True)
class SessionCommand(StoreCommand):
    """A change that looks at one session alone: no other of the account is read for it, nor ends by its time,
    so that a thousand of one customer cost a thousand readings and not a million."""

    session: UUID


@runtime_checkable
class Binding(Protocol):
    """A command for a worker that binds a session, which takes a lease."""

    @property
    def worker(self) -> str:
        """Its id."""


@dataclass(slots=True)
class StoreEntry:
    """A command that waits for a transaction, and its outcome once that has committed."""

    command: StoreCommand
    outcome: Any = None
    abandoned: bool = False
    """Its caller does not wait any longer, so it is left out if it was not applied before."""


class LockedAccount:
    """An account while its row is locked: its live sessions that commands look at, oldest first, and their
    changes."""

    def __init__(
        self,
        row: Account,
        key: AccountKey,
        times: Times,
        rules: Sequence[LimitRule],
        leases: Mapping[str, datetime],
    ) -> None:
        self.row = row
        self.key = key
        self.now = times.now
        self.rules = rules
        self._times = times
        self._leases = leases
        self.sessions: dict[UUID, Session] = {}
        self.stored: set[UUID] = set()
        self.changed: dict[UUID, Session] = {}
        self.events: list[SessionEvent] = []
        self.reports: list[Event] = []
        """The events that webhooks are told of."""

    @property
    def removed(self) -> set[UUID]:
        """Stored sessions that have ended."""
        return self.stored - self.sessions.keys()

    def load(self, session: Session, leased_at: datetime | None) -> None:
        """Take in a stored session; `leased_at` is its worker's. One whose time is over ends here."""
        self.stored.add(session.id)
        self.sessions[session.id] = session
        if session.expires_at is not None:
            if session.expires_at <= self._times.reached:
                why = "no sign of life in time" if session.bound_at else "never bound"
                self.end(session, EventKind.EXPIRED, SERVER, why)
        elif leased_at is None:
            self.unbind(session)
        elif leased_at <= last_lapsed_lease(self._times):
            self.end(session, EventKind.EXPIRED, SERVER, "its worker is gone")

    def put(self, session: Session) -> None:
        """Add a session, or keep what was changed of it."""
        self.sessions[session.id] = session
        self.changed[session.id] = session

    def unbind(self, session: Session) -> None:
        """The connection is gone; the slot is kept for the grace."""
        session.connection_id = ""
        session.worker = None
        session.seen_at = self.moment_of(session)
        session.expires_at = self.after(settings.SESSIONS_GRACE_SECONDS)
        self.put(session)

    def end(self, session: Session, kind: EventKind, by: str, why: str = "") -> None:
        """Free a slot: the row goes, one event stays."""
        del self.sessions[session.id]
        self.changed.pop(session.id, None)
        self.record(kind, session, by, why)

    def record(self, kind: EventKind, stream: Any, by: str, why: str = "", observed: bool = False) -> None:
        """Write an event of the history; `stream` is a session, or the one that was wanted."""
        session = stream if isinstance(stream, Session) else None
        event = SessionEvent(
            at=self.now if session is None else self.moment_of(session),
            kind=kind,
            account=self.row,
            by=by[:255],
            why=why[:600],
            observed=observed,
            **{name: getattr(stream, name) for name in STREAM},
            **({} if session is None else seen_of(session, self._times.now - self._times.reached)),
        )
        self.events.append(event)
        if reports.is_reported(kind, observed):
            self.reports.append(reports.event_of(event, self.key))

    def next_created_at(self) -> datetime:
        """The time of a new session. Those that begin while the database's clock, of which SQLite has
        milliseconds, stands still are a microsecond apart, so that one of any two is the older."""
        newest = max((one.created_at for one in self.sessions.values()), default=None)
        # One that is further ahead of the clock is of a time before somebody put that back.
        if newest is None or not self.now <= newest < self.now + timedelta(seconds=1):
            return self.now
        return newest + timedelta(microseconds=1)

    def moment_of(self, session: Session) -> datetime:
        """The time of what happens to a session now: nothing does before it has begun."""
        return max(self.now, session.created_at)

    def after(self, seconds: float) -> datetime:
        """The deadline so many seconds from now, as it is stored."""
        return self._times.reached + timedelta(seconds=seconds)

    def lease_holds(self, worker: str) -> bool:
        """Whether a worker may bind: its lease holds."""
        leased_at = self._leases.get(worker)
        return leased_at is not None and self._times.witnessed - leased_at < timedelta(seconds=LEASE_SECONDS)


def apply_all(entries: Sequence[StoreEntry]) -> None:
    """Apply commands in order, in the transaction that is open; `GroupedWrites` runs it in one."""
    wanted = [entry for entry in entries if not entry.abandoned]
    webhooks.freshen()
    workers = {entry.command.worker for entry in wanted if isinstance(entry.command, Binding)}
    accounts = _load([entry.command for entry in wanted], workers)
    for entry in wanted:
        command = entry.command
        account = accounts.get(command.key)
        entry.outcome = command.without_account() if account is None else command.apply(account)
    _write(accounts.values())


def _load(commands: Sequence[StoreCommand], workers: Collection[str]) -> dict[AccountKey, LockedAccount]:
    """Lock the accounts of commands, read the sessions that these look at and the leases of workers that
    bind; an account of an unknown publisher is left out."""
    keys = {command.key for command in commands}
    rows = _lock(keys) if keys else []
    if not rows:
        return {}
    rules = _rules(rows)
    times = reach.read()
    leases = _leases(workers) if workers else {}
    accounts = {}
    for row in rows:
        mine = [rule for rule in rules[row.publisher_id] if rule.customer in ("", row.customer)]
        accounts[row.pk] = LockedAccount(row, _key_of(row), times, mine, leases)
    # Read after the lock was granted, by a statement of its own: it sees what the last holder committed.
    stored: Any = Session.objects.filter(_looked_at(commands, accounts)).annotate(
        leased_at=F("worker__leased_at"), renewed_at=F("worker__renewed_at")
    )
    for session in stored.order_by("created_at", "id"):
        if (account := accounts.get(session.account_id)) is not None:
            account.load(session, session.leased_at)
    return {account.key: account for account in accounts.values()}


def _looked_at(commands: Iterable[StoreCommand], accounts: Mapping[int, LockedAccount]) -> Q:
    """The sessions that commands look at: all of an account, or those that are named, whose ever they are."""
    pks = {account.key: pk for pk, account in accounts.items()}
    whole: set[int] = set()
    named: set[UUID] = set()
    for command in commands:
        if isinstance(command, SessionCommand):
            named.add(command.session)
        elif command.key in pks:
            whole.add(pks[command.key])
    return Q(account__in=whole) | Q(pk__in=named)


def _lock(keys: Collection[AccountKey]) -> list[Account]:
    """The accounts of keys; those of unknown publishers are left out.

    Two transactions cannot wait for each other. New rows are made before any row is locked, and in the order
    of their keys: an insert waits for another transaction's insert of the same key, which then waits, if at
    all, for a later key. All rows are then locked in the order of their ids, and nothing is inserted after.
    """
    _make([key for key in keys if key not in _known])
    accounts = _locked(keys)
    if len(accounts) < len(keys):
        accounts += _made_again(set(keys) - {_key_of(account) for account in accounts})
    return accounts


_known: set[AccountKey] = set()
"""Accounts that have been seen in the database, and are locked without looking whether they exist."""


def _locked(keys: Collection[AccountKey]) -> list[Account]:
    by_publisher = defaultdict(list)
    for key in keys:
        by_publisher[key.publisher].append(key.customer)
    named = Q()
    for publisher, customers in by_publisher.items():
        named |= Q(publisher__name=publisher, customer__in=customers)
    rows = Account.objects.filter(named).select_for_update(of=("self",), no_key=True)
    return list(rows.select_related("publisher").order_by("pk"))


def _made_again(missing: Collection[AccountKey]) -> list[Account]:
    """Accounts that were deleted with their publisher, where one of the same name was made since.

    This insert alone happens under locks. PostgreSQL may end it as a deadlock with a process that makes the
    same accounts just then; the callers of that transaction are told of an outage.
    """
    forgotten = [key for key in missing if key in _known]
    _known.difference_update(forgotten)
    _make(forgotten)
    return _locked(forgotten) if forgotten else []


def _key_of(account: Account) -> AccountKey:
    return AccountKey(account.publisher.name, account.customer)


def _make(keys: Collection[AccountKey]) -> None:
    if not keys:
        return
    wanted = Q(accounts__customer__in={key.customer for key in keys})
    named = Publisher.objects.filter(name__in={key.publisher for key in keys}).order_by()
    named = named.annotate(account=FilteredRelation("accounts", condition=wanted))
    stored = list(named.values_list("name", "account__customer", "pk"))
    publishers = {name: pk for name, _, pk in stored}
    known = {AccountKey(name, customer) for name, customer, _ in stored}
    new = [
        Account(publisher_id=publishers[key.publisher], customer=key.customer)
        for key in sorted(keys)
        if key.publisher in publishers and key not in known
    ]
    Account.objects.bulk_create(new, CHUNK, ignore_conflicts=True)
    transaction.on_commit(lambda: _remember(key for key in keys if key.publisher in publishers))


def _remember(keys: Iterable[AccountKey]) -> None:
    if len(_known) > KNOWN:
        _known.clear()
    _known.update(keys)


def _rules(accounts: Iterable[Account]) -> dict[int, list[LimitRule]]:
    """The limits that may concern accounts, by publisher; read after the locks were granted."""
    publishers = {account.publisher_id for account in accounts}
    customers = ["", *{account.customer for account in accounts}]
    rules = defaultdict(list)
    limits = Limit.objects.filter(publisher__in=publishers, customer__in=customers).order_by()
    for publisher, *fields in limits.values_list("publisher_id", *Limit.RULE):
        rules[publisher].append(Limit.rule(*fields))
    return rules


def _leases(workers: Collection[str]) -> dict[str, datetime]:
    rows = WorkerRecord.objects.filter(pk__in=workers).exclude(leased_at=None)
    return {id: leased_at for id, leased_at in rows.values_list("pk", "leased_at") if leased_at is not None}


def _write(accounts: Collection[LockedAccount]) -> None:
    if removed := [id for account in accounts for id in account.removed]:
        for start in range(0, len(removed), CHUNK):
            Session.objects.filter(pk__in=removed[start : start + CHUNK]).delete()
    if changed := [session for account in accounts for session in account.changed.values()]:
        Session.objects.bulk_create(
            changed, CHUNK, update_conflicts=True, unique_fields=["id"], update_fields=CHANGEABLE
        )
    if events := [event for account in accounts for event in account.events]:
        SessionEvent.objects.bulk_create(events, CHUNK)
    write(report for account in accounts for report in account.reports)
    if removed or changed or events:
        transaction.on_commit(lambda: changes.note(SESSIONS))
