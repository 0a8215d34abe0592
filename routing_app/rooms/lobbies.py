"""The lobbies that have a member on this worker: writes changes, publishes them, and keeps the replicas true.

A change is published when it is committed, even if nobody waits for it any more. A worker reads changes that
it has missed (a publisher died in between, a change was late) from the rows: after HOLD_SECONDS, and at each
look.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from django.db import Error as DatabaseError

from routing_app.core.database import GroupedWrites, Overloaded
from routing_app.core.delivery.hub import Frames
from routing_app.core.delivery.publication import Publication
from routing_app.core.worker import Worker
from routing_app.rooms import lobby_changes
from routing_app.rooms.lobby_changes import ChangeKind, ChangeOutcome, State
from routing_app.rooms.lobby_replica import HERE, Change, LobbyReplica, LocalMember, Stamp, pack, unpack
from routing_app.rooms.members import MembershipEntry
from routing_app.rooms.models import address

logger = logging.getLogger(__name__)

CHANGED: Final = "$rooms.changed"
"""Event of a publication to a lobby that carries one change of it; workers take it, no client."""
HOLD_SECONDS: Final = 1.0
"""A change waits so long for those before it until the rows are read."""
ADMISSION_SECONDS: Final = 10.0
"""Longest wait of a member whose row is committed until it is taken in."""


class Lobbies:
    """Replicas by lobby, and the changes that could not be written."""

    def __init__(self, worker: Worker, protocol: str) -> None:
        self._worker = worker
        self._protocol = protocol
        self._replicas: dict[str, LobbyReplica] = {}
        self._loading: set[str] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._owed: list[MembershipEntry] = []
        self._odd: dict[str, State] = {}
        self.writes = GroupedWrites()
        worker.hub.on(CHANGED, self._take)

    # --- changes of members here -------------------------------------------------------------------------

    def expect(self, lobby: str, local: LocalMember) -> None:
        """Note that a member here is about to join."""
        self._replicas.setdefault(lobby, LobbyReplica()).expect(local)

    async def admitted(self, local: LocalMember) -> bool:
        """Wait until a member whose row is committed is taken in; False when it has gone, or cannot be."""
        await asyncio.wait([local.admitted], timeout=ADMISSION_SECONDS)
        return local.admitted.done() and local.admitted.result()

    def leave(self, lobby: str, id: str) -> None:
        """Tell nothing more to a member here that has gone, or did not come."""
        if (replica := self._replicas.get(lobby)) is None:
            return
        replica.leave(id)
        if replica.empty:
            del self._replicas[lobby]
            if (timer := self._timers.pop(lobby, None)) is not None:
                timer.cancel()

    def submit(self, kind: ChangeKind, entry: MembershipEntry) -> asyncio.Future[ChangeOutcome]:
        """Have a change made, and published after its commit; the next look repeats a LEAVE that fails."""
        try:
            future = self.writes.submit_item(lobby_changes.make, (kind, entry))
        except Overloaded as error:
            future = asyncio.get_running_loop().create_future()
            future.set_exception(error)
        future.add_done_callback(lambda done: self._made(kind, entry, done))
        # Who waits may be cancelled, which would cancel the future: the change is made all the same.
        waited = asyncio.shield(future)
        waited.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody has to wait
        return waited

    def restore(self, entries: Iterable[MembershipEntry]) -> None:
        """Write rows again that may be lost."""
        for entry in entries:
            self.submit(ChangeKind.RESTORE, entry)

    def _made(self, kind: ChangeKind, entry: MembershipEntry, done: asyncio.Future[ChangeOutcome]) -> None:
        # A LEAVE that is not made leaves a member that nobody can remove: it is tried again. The other kinds
        # are answered by their callers, which wait for them.
        if done.exception() is not None:
            if kind is ChangeKind.LEAVE:
                self._owed.append(entry)
            return
        if (change := done.result().changes.get((kind, entry))) is not None:
            to = (address(*entry.room),)
            self._worker.hub.publish_soon(Publication(to, pack(change), CHANGED))

    # --- events for members here -------------------------------------------------------------------------

    def _take(self, publication: Publication) -> int:
        """A change, of this worker or of another one."""
        lobby = publication.addresses[0].partition("/")[2]
        change = unpack(publication.message)
        self._tell_other_protocols(publication, change)
        replica = self._replicas.get(lobby)
        if replica is None:
            return 0
        if replica.stamp is None:
            # Until a member's row is committed nothing counts: it will be in the rows that are read then. Its
            # own JOINED says that it is committed. Changes that come while the rows are read are kept, since
            # the read may have been before them.
            if lobby in self._loading or replica.waits_for(change.id):
                replica.take(change)
                self._load(lobby)
            return 0
        replica.take(change)
        self._regain(replica)
        if replica.behind:
            self._hold(lobby)
        return 1

    def _tell_other_protocols(self, publication: Publication, change: Change) -> None:
        """Subscribers that are not members keep no replica: they get each JOINED and LEFT as it comes."""
        if change.event == HERE:
            return
        news = replace(publication, message=[change.id], event=change.event)
        hub = self._worker.hub
        frames: Frames = {}
        for connection in hub.members(publication.addresses[0], publication.published_at):
            if connection.protocol != self._protocol:
                hub.send_to(connection, news, frames)

    def _regain(self, replica: LobbyReplica) -> None:
        for local in replica.missing():
            local.lost()

    def _hold(self, lobby: str) -> None:
        """Give the changes that are missing some time to come."""
        if lobby not in self._timers:
            loop = asyncio.get_running_loop()
            self._timers[lobby] = loop.call_later(HOLD_SECONDS, self._held, lobby, None)

    def _held(self, lobby: str, wanted: Stamp | None) -> None:
        self._timers.pop(lobby, None)
        replica = self._replicas.get(lobby)
        if replica is not None and (replica.behind or _older(replica.stamp, wanted)):
            self._load(lobby)

    def _load(self, lobby: str) -> None:
        if lobby not in self._loading:
            self._loading.add(lobby)
            self._worker.spawn(self._read(lobby))

    async def _read(self, lobby: str) -> None:
        """Bring a replica up to date from the rows. Members that wait for it are sent away if that fails."""
        try:
            found = await lobby_changes.replica(lobby)
        except DatabaseError as error:
            logger.warning("rooms: cannot read a lobby: %s", type(error).__name__)
            found = None
        finally:
            self._loading.discard(lobby)
        replica = self._replicas.get(lobby)
        if replica is None:  # the last member has left while the rows were read
            return
        if found is not None:
            replica.look(*found)
            self._regain(replica)
        elif replica.stamp is None:
            replica.give_up()
        if replica.behind:
            self._hold(lobby)

    # --- looks -------------------------------------------------------------------------------------------

    async def look(self) -> dict[str, State]:
        """Compare replicas with the rows, and make the changes that are owed; returns the state of the
        lobbies.

        A replica that is behind may be so because a change is on its way: it gets the time of any other.
        One that is at the rows' number and differs was robbed of rows; seen twice, it is read again.
        """
        owed, self._owed = self._owed, []
        for entry in owed:
            self.submit(ChangeKind.LEAVE, entry)
        lobbies = [lobby for lobby, replica in self._replicas.items() if replica.stamp is not None]
        if not lobbies:
            return {}
        states = await lobby_changes.states(lobbies, self._worker.id)
        odd: dict[str, State] = {}
        for lobby, state in states.items():
            if (replica := self._replicas.get(lobby)) is None:
                continue
            self._regain(replica)
            if _older(replica.stamp, state.stamp) and lobby not in self._timers:
                loop = asyncio.get_running_loop()
                self._timers[lobby] = loop.call_later(HOLD_SECONDS, self._held, lobby, state.stamp)
            elif replica.stamp == state.stamp and len(replica.ids) != state.count:
                odd[lobby] = state
                if (before := self._odd.get(lobby)) and before.stamp == state.stamp:
                    self._load(lobby)
        self._odd = odd
        return states


def _older(stamp: Stamp | None, other: Stamp | None) -> bool:
    return stamp is not None and other is not None and stamp < other


def lobbies_of(worker: Worker) -> Lobbies:
    """The lobbies of a worker."""
    mine: Lobbies = worker.protocols["rooms"].lobbies
    return mine
