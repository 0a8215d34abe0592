"""Commands on an account's sessions; each decides inside the transaction of `store.apply_all`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from django.conf import settings

from sessions_app.limits import Decision, Policy, decide, takeover_allowed
from sessions_app.models import EventKind, Session
from sessions_app.store import SERVER, LockedAccount, SessionCommand, StoreCommand
from sessions_app.wire import FIELDS, Wanted


@dataclass(frozen=True, slots=True)
class Listing:
    """A session as its owner sees it."""

    id: UUID
    stream: Wanted
    started_at: datetime
    connection: str

    @classmethod
    def of(cls, session: Session) -> Listing:
        """The public fields of a row."""
        stream = Wanted(**{name: getattr(session, name) for name, _ in FIELDS.values()})
        return cls(session.id, stream, session.created_at, session.connection_id)


def slot_of_device(wanted: Wanted, sessions: Iterable[Session]) -> Session | None:
    """The slot that the device holds for the same offer or tag: it gets that one again."""
    if not wanted.device_id:
        return None
    place = (wanted.device_id, wanted.offer_id, wanted.tag)
    return next((one for one in sessions if (one.device_id, one.offer_id, one.tag) == place), None)


@dataclass(frozen=True, slots=True)
class Granted:
    """A slot was taken. `ended` had to make room; `others` says whether the customer has players to ask."""

    session: Listing
    ended: tuple[Listing, ...] = ()
    others: bool = False


@dataclass(frozen=True, slots=True)
class LimitReached:
    """A limit was reached: its size, who counts in it, and whether one may be taken over."""

    reason: str
    maximum: int
    take_over: bool
    counted: tuple[Listing, ...]


@dataclass(frozen=True, slots=True)
class NoSuchSession:
    """A session that was named does not live, or is another customer's."""


@dataclass(frozen=True, slots=True)
class TakeoverOff:
    """The operator's limits for this stream do not offer a takeover."""


@dataclass(frozen=True, slots=True)
class NoSuchPublisher:
    """The publisher was deleted after its token was checked."""


@dataclass(frozen=True, slots=True)
class Create(StoreCommand):
    """Take a slot, in place of `victims` if there are any (then it is a takeover).

    `silent` names sessions, each with its connection, that did not answer a probe: they end first, unless
    they are bound to another connection by now. With `probe_first` a refusal is not final, and not written
    down, as long as a session that counts could be probed.
    """

    wanted: Wanted
    victims: tuple[UUID, ...] | None = None
    silent: Mapping[UUID, str] = field(default_factory=dict)
    probe_first: bool = False

    def apply(self, account: LockedAccount) -> Granted | LimitReached | NoSuchSession | TakeoverOff:
        """Decide, and take the slot."""
        for id, connection in self.silent.items():
            session = account.sessions.get(id)
            if session is not None and session.connection_id == connection:
                account.end(session, EventKind.EXPIRED, SERVER, "no answer to a probe at the limit")
        if self.victims is not None and not takeover_allowed(account.rules, self.wanted, self.key.customer):
            return TakeoverOff()
        victims = [account.sessions.get(id) for id in dict.fromkeys(self.victims or ())]
        if None in victims:
            return NoSuchSession()
        staying = [session for session in account.sessions.values() if session not in victims]
        own = slot_of_device(self.wanted, staying)
        held = [session for session in staying if session is not own]
        decision = decide(account.rules, self.wanted, self.key.customer, held)
        if (full := decision.full) is not None:
            counted = tuple(Listing.of(session) for session in full.counted)
            if not (self.probe_first and any(listing.connection for listing in counted)):
                account.record(EventKind.DENIED, self.wanted, "customer", str(full))
            return LimitReached(str(full), full.rule.maximum, full.rule.policy is Policy.ASK, counted)
        return self._grant(account, decision, own, [victim for victim in victims if victim is not None])

    def without_account(self) -> NoSuchPublisher:
        """There is no account to grant it to."""
        return NoSuchPublisher()

    def _grant(
        self, account: LockedAccount, decision: Decision[Session], own: Session | None, victims: list[Session]
    ) -> Granted:
        ended = tuple(Listing.of(session) for session in (*victims, *decision.evicted))
        name = self.wanted.display_name
        for victim in victims:
            account.end(victim, EventKind.TAKEN_OVER, "customer", f"by {name}")
        for session in decision.evicted:
            account.end(session, EventKind.EVICTED, "customer", f"by {name}")
        for full in decision.observed:
            account.record(EventKind.DENIED, self.wanted, "customer", str(full), observed=True)
        session = self._take(account) if own is None else self._take_again(account, own)
        others = any(one.connection_id for one in account.sessions.values() if one is not session)
        return Granted(Listing.of(session), ended, others)

    def _take(self, account: LockedAccount) -> Session:
        session = Session(
            id=uuid4(),
            account=account.row,
            created_at=account.next_created_at(),
            expires_at=account.after(settings.SESSIONS_BIND_SECONDS),
            **{name: getattr(self.wanted, name) for name, _ in FIELDS.values()},
        )
        account.put(session)
        account.record(EventKind.CREATED, session, "customer")
        return session

    def _take_again(self, account: LockedAccount, own: Session) -> Session:
        for name in ("name", "content_id", "device_name", "device_type"):
            setattr(own, name, getattr(self.wanted, name))
        if not own.connection_id:
            own.expires_at = account.after(settings.SESSIONS_BIND_SECONDS)
        account.put(own)
        return own


@dataclass(frozen=True, slots=True)
class Bound:
    """The session is bound; `replaced` is the connection that it was bound to before, or ""."""

    replaced: str


@dataclass(frozen=True, slots=True)
class Lapsed:
    """The worker has to renew its lease first: until then its sessions may be given away."""


@dataclass(frozen=True, slots=True)
class Bind(SessionCommand):
    """REQUESTED: tie a session to a connection, whichever it had before."""

    connection: str
    worker: str

    def apply(self, account: LockedAccount) -> Bound | Lapsed | None:
        """Bind, and say so; None when the session does not live."""
        session = account.sessions.get(self.session)
        if session is None:
            return None
        if not account.lease_holds(self.worker):
            return Lapsed()
        replaced, before = session.connection_id, session.bound_at
        if replaced == self.connection:
            return Bound("")
        session.connection_id = self.connection
        session.worker_id = self.worker
        session.expires_at = None
        session.bound_at = session.seen_at = account.moment_of(session)
        account.put(session)
        account.record(EventKind.REBOUND if before else EventKind.BOUND, session, "player")
        return Bound(replaced)


@dataclass(frozen=True, slots=True)
class Unbind(SessionCommand):
    """A connection is gone; the session keeps its slot for the grace. Of another connection: nothing."""

    connection: str

    def apply(self, account: LockedAccount) -> None:
        """Start the grace."""
        session = account.sessions.get(self.session)
        if session is not None and session.connection_id == self.connection:
            account.unbind(session)


@dataclass(frozen=True, slots=True)
class End(SessionCommand):
    """Free a slot; with `connection` only if the session is still bound to it."""

    kind: EventKind
    by: str
    why: str = ""
    connection: str = ""

    def apply(self, account: LockedAccount) -> Listing | None:
        """The session that ended; None when it does not live, or is bound elsewhere."""
        session = account.sessions.get(self.session)
        if session is None or (self.connection and session.connection_id != self.connection):
            return None
        ended = Listing.of(session)
        account.end(session, self.kind, self.by, self.why)
        return ended


@dataclass(frozen=True, slots=True)
class HttpHeartbeat(SessionCommand):
    """A heartbeat over HTTP, of a device that has no socket."""

    def apply(self, account: LockedAccount) -> datetime | None:
        """When the next one is due at the latest; None when the session does not live."""
        session = account.sessions.get(self.session)
        if session is None:
            return None
        seconds = settings.SESSIONS_HEARTBEAT_SECONDS * 2 + settings.SESSIONS_PONG_SECONDS
        deadline = account.now + timedelta(seconds=seconds)
        if session.connection_id:
            return deadline
        if session.bound_at is None:
            session.bound_at = account.moment_of(session)
            account.record(EventKind.BOUND, session, "customer", "by heartbeat")
        session.seen_at = account.moment_of(session)
        session.expires_at = account.after(seconds)
        account.put(session)
        return deadline


@dataclass(frozen=True, slots=True)
class Sweep(StoreCommand):
    """End the sessions whose time is over, as loading the account has done."""

    def apply(self, account: LockedAccount) -> None:
        """Change nothing more."""
