"""One limit, ready to be counted: the generic cell rate algorithm.

A count is one time, at which all that was taken has come back: each piece moves it by an interval, from now
on if it has passed. More than the burst may not be out at once, so a piece is too early by as much as the
count would be further ahead than a burst of intervals. Times are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from routing_app.core.access.seats import counted_as
from routing_app.core.models.rate_limits import Per, Then

if TYPE_CHECKING:
    from routing_app.core.access.grants import Grant
    from routing_app.core.delivery.connection import Peer

LONGEST_WAIT: Final = 60.0
"""A client waits so long at most; what would have to wait longer is refused."""
SLACK: Final = 1e-9
"""Sums of intervals are not exact."""
SWEEP: Final = 1024
"""Counts that are kept without a look at those that have run out."""
MAX_COUNTS: Final = 200_000
"""Counts of one limit in one process; beyond it the oldest begin again."""


class Counted(Protocol):
    """A client as limits see it; a `Connection` is one."""

    @property
    def peer(self) -> Peer:
        """Its network address."""

    @property
    def grant(self) -> Grant:
        """The credential that it has presented."""

    @property
    def own_identity(self) -> str:
        """Its identity in its own protocol, with the protocol's name before it; empty where it has none."""

    counts: dict[Limit, float] | None
    """Its counts of limits per connection."""


@dataclass(slots=True)
class Passing:
    """A client that has no connection yet, or none at all: a handshake, a call of REST."""

    peer: Peer
    grant: Grant
    own_identity: str = ""
    counts: dict[Limit, float] | None = None


@dataclass(slots=True)  # never changed; `frozen` would take a microsecond for each
class Excess:
    """What is beyond a limit: the treatment, and the seconds after which it would not be."""

    then: Then
    seconds: float


@dataclass(slots=True, eq=False)
class Limit:
    """A row as it is counted. `counts` are those of this process, by what is counted."""

    id: int
    per: Per
    rate: float
    burst: int
    then: Then
    counts: dict[str, float] = field(default_factory=dict)
    interval: float = field(init=False)
    ahead: float = field(init=False)
    """How far ahead a count may be before one more piece is too early."""
    is_shared: bool = field(init=False)
    """False for a limit per connection."""
    waits: bool = field(init=False)
    _sweep_at: int = field(init=False, default=SWEEP)

    def __post_init__(self) -> None:
        self.interval = 1.0 / self.rate
        self.ahead = (self.burst - 1) / self.rate
        self.is_shared = self.per is not Per.CONNECTION
        self.waits = self.then is Then.WAIT

    @property
    def settings(self) -> tuple[int, Per, float, int, Then]:
        """What a row says; a limit whose row still says it keeps its counts."""
        return self.id, self.per, self.rate, self.burst, self.then

    def room(self, cost: int) -> float:
        """How far ahead a count may be before `cost` pieces are too early.

        More of them than the burst may go at once where nothing is out.
        """
        return self.ahead if cost == 1 else max(0.0, (self.burst - cost) * self.interval)

    def name(self, who: Counted) -> str:
        """The name of a client's count; empty for a client that has no such thing."""
        if self.per is Per.IDENTITY:
            return who.grant.caller or who.own_identity
        if self.per is Per.NETWORK:
            return counted_as(who.peer.host)
        key = who.grant.key_id
        return "" if key is None else str(key)

    def place(self, who: Counted) -> tuple[dict[Any, float], Any]:
        """The counts of this process in which a client's is, and its name there."""
        if self.is_shared:
            return self.counts, self.name(who)
        if who.counts is None:
            who.counts = {}
        return who.counts, self

    def take_one(self, who: Counted, now: float) -> bool:
        """Count one piece if it may go on at once: what most messages are asked, in half the time."""
        counts, name = self.place(who)
        if not name:
            return True
        until = counts.get(name, 0.0)
        if until < now:
            if not until:
                self.sweep(now)
            until = now
        if until - now - self.ahead > SLACK:
            return False
        counts[name] = until + self.interval
        return True

    def sweep(self, now: float) -> None:
        """Forget counts that have run out, if there are many, and the oldest if there are too many."""
        if len(self.counts) < self._sweep_at:
            return
        for name in [name for name, until in self.counts.items() if until <= now]:
            del self.counts[name]
        for name in list(self.counts)[: max(0, len(self.counts) - MAX_COUNTS)]:
            del self.counts[name]
        self._sweep_at = SWEEP + 2 * len(self.counts)


def take(limits: tuple[Limit, ...], who: Counted, cost: int, may_wait: bool, now: float) -> Excess | None:
    """Count `cost` pieces in this process; the excess, or None where they may go on at once.

    They are counted by all limits or, where one refuses them, by none. Pieces that have to wait are taken on
    credit, and later ones wait behind them: so a client that always sends is held to the rate, without a
    queue.
    """
    if len(limits) == 1 and cost == 1 and limits[0].take_one(who, now):
        return None
    delay = 0.0
    refused: Excess | None = None
    taken = []
    for limit in limits:
        counts, name = limit.place(who)
        if not name:
            continue
        start = max(counts.get(name, 0.0), now)
        early = start - now - (limit.ahead if cost == 1 else limit.room(cost))
        if early <= SLACK:
            pass
        elif limit.waits and may_wait and early <= LONGEST_WAIT:
            delay = max(delay, early)
        else:
            refused = worse(refused, limit, early)
            continue
        taken.append((limit, counts, name, start + limit.interval * cost))
    if refused is not None:
        return refused
    for limit, counts, name, until in taken:
        counts[name] = until
        if len(limit.counts) >= SWEEP:
            limit.sweep(now)
    return Excess(Then.WAIT, delay) if delay else None


def worse(found: Excess | None, limit: Limit, early: float) -> Excess:
    """The excess over this limit and those before: it is over when all are, and a close is the worst."""
    then = Then.CLOSE if limit.then is Then.CLOSE else Then.REFUSE
    if found is None:
        return Excess(then, early)
    return Excess(Then.CLOSE if Then.CLOSE in (then, found.then) else then, max(found.seconds, early))
