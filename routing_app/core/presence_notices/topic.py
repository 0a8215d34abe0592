"""One address that is watched here: its subscribers on other workers, and what those who watch are told."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from routing_app.core.access.masking import SecretAccess
from routing_app.core.delivery.connection import Connection
from routing_app.core.delivery.frame import Frame
from routing_app.core.delivery.outbox import Outbox, deliver
from routing_app.core.presence_notices.changes import (
    MOST,
    TOO_MANY,
    UNKNOWN,
    Change,
    Member,
    Net,
    net,
    unpacked,
)
from routing_app.core.presence_notices.frames import Notice

MOST_KEPT: Final = 4 * MOST
"""Changes that are kept for a single subscriber; beyond, it is told the count alone."""


@dataclass(eq=False, slots=True)
class Watcher:
    """A subscriber that is told. It is `fresh` until everybody can be told the same."""

    connection: Connection
    access: Callable[[], SecretAccess]
    """The secrets that it sees whole at the moment."""
    held: bool = True
    """True until its request is answered."""
    pending: set[str] = field(default_factory=set)
    """Workers that have not said yet who was there when it began to watch: what they report was before."""
    number: int = 0
    """The question that they have to answer, or a later one."""
    changes: list[Change] = field(default_factory=list)
    """What it is to be told, while it is fresh."""
    told: int | None = None
    """The last count that it was told while it was fresh."""


@dataclass(slots=True)
class Replica:
    """The subscribers on another worker; the members are known where they are few."""

    version: int
    count: int
    members: dict[str, Member] | None


class Topic:
    """A watched address."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.watchers: dict[Connection, Watcher] = {}
        self._fresh: set[Watcher] = set()
        self._changes: list[Change] = []
        self._replicas: dict[str, Replica] = {}

    # --- those who watch ----------------------------------------------------------------------------------

    def add(self, connection: Connection, access: Callable[[], SecretAccess]) -> Watcher:
        """Have a subscriber told of everything from now on, once it is released."""
        watcher = self.watchers[connection] = Watcher(connection, access)
        self._fresh.add(watcher)
        return watcher

    def remove(self, connection: Connection) -> None:
        """Tell a subscriber nothing more."""
        if (watcher := self.watchers.pop(connection, None)) is not None:
            self._fresh.discard(watcher)

    # --- subscribers on other workers ---------------------------------------------------------------------

    def workers(self) -> Iterable[str]:
        """The workers that have said who is subscribed there."""
        return self._replicas.keys()

    def version(self, worker: str) -> int | None:
        """The version of a worker's state that is known; None for none."""
        replica = self._replicas.get(worker)
        return None if replica is None else replica.version

    def answered(
        self, worker: str, number: int, version: int, count: int | None = None, members: Any = None
    ) -> bool:
        """Take a worker's state; False when all of it is needed.

        It is not needed again where it was known already; a state that is older than the known one was
        overtaken by it.
        """
        for watcher in self._fresh:
            if watcher.number == number:  # the answer of a worker that nobody expected
                watcher.pending.add(worker)
        known = self._replicas.get(worker)
        if count is None:
            if known is None or known.version < version:
                return False
        else:
            listed = None if members is None else {one.id: one for one in unpacked(members)}
            if known is None or known.version < version:
                self._replace(worker, Replica(version, count, listed))
            elif known.version == version:
                known.members = listed
        for watcher in self._fresh:
            if watcher.number <= number:
                watcher.pending.discard(worker)
        return True

    def reported(self, worker: str, before: int, version: int, count: int, joined: Any, left: Any) -> bool:
        """Take a worker's report; False when its whole state is needed."""
        known = self._replicas.get(worker)
        if known is not None and known.version >= version:
            return True
        if known is None or known.version != before:
            return False
        known.version, known.count = version, count
        if joined is None:
            known.members = None
            self._note(worker, [UNKNOWN])
        else:
            came, gone = unpacked(joined), unpacked(left)
            self._note(worker, [*(Change(one, has_come=True) for one in came), *map(Change, gone)])
            if known.members is not None:
                known.members.update((one.id, one) for one in came)
                for one in gone:
                    known.members.pop(one.id, None)
                if count > MOST or len(known.members) != count:
                    known.members = None
        return known.members is not None or count > MOST

    def gone(self, worker: str) -> bool:
        """A worker has ended, and its subscribers with it; False when nothing was known of it."""
        for watcher in self._fresh:
            watcher.pending.discard(worker)  # first: they were there
        if (known := self._replicas.get(worker)) is None:
            return False
        self._replace(worker, Replica(known.version, 0, {}))
        del self._replicas[worker]
        return True

    def _replace(self, worker: str, now: Replica) -> None:
        before = self._replicas.get(worker) or Replica(0, 0, {})
        self._replicas[worker] = now
        if before.members is None or now.members is None:
            if before.count or now.count:
                self._note(worker, [UNKNOWN])
            return
        came = [Change(one, has_come=True) for id, one in now.members.items() if id not in before.members]
        gone = [Change(one) for id, one in before.members.items() if id not in now.members]
        self._note(worker, [*came, *gone])

    # --- notices ------------------------------------------------------------------------------------------

    def note(self, change: Change) -> None:
        """A connection of this worker has come or left."""
        self._note("", [change])

    def _note(self, worker: str, changes: list[Change]) -> None:
        self._changes += changes
        for watcher in self._fresh:
            if worker not in watcher.pending and len(watcher.changes) <= MOST_KEPT:
                watcher.changes += changes

    @property
    def has_news(self) -> bool:
        """True when somebody may have to be told something."""
        return bool(self._changes or self._fresh)

    def tell(self, here: int) -> None:
        """Tell those who watch what was gathered; `here` is the number of subscribers of this worker."""
        count = here + sum(replica.count for replica in self._replicas.values())
        changes, self._changes = self._changes, []
        regular = [one for one in self.watchers.values() if one not in self._fresh]
        if regular and (found := net(changes)):
            self._send(count, found, regular)
        for watcher in list(self._fresh):
            if not watcher.held:
                self._tell_fresh(watcher, count)

    def _tell_fresh(self, watcher: Watcher, count: int) -> None:
        """Tell one that has begun to watch since the last notices, or of whose beginning some workers have
        not heard: it is not told what was before.
        """
        found = TOO_MANY if len(watcher.changes) > MOST_KEPT else net(watcher.changes)
        watcher.changes = []
        # An answer that came late has changed the count that it was told.
        if found or watcher.told not in (None, count):
            watcher.told = count
            self._send(count, found, [watcher])
        if not watcher.pending:
            self._fresh.discard(watcher)

    def _send(self, count: int, found: Net, watchers: Iterable[Watcher]) -> None:
        notice = Notice(self.address, count, found)
        by_frame: dict[Frame, list[Outbox]] = {}
        for watcher in watchers:
            by_frame.setdefault(notice.frame(watcher.access()), []).append(watcher.connection.outbox)
        for frame, outboxes in by_frame.items():
            deliver(outboxes, frame)
