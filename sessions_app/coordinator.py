"""A worker's part of session control: its sockets, its commands, and the requests of other workers.

A worker reaches players of others by two events of the hub, which never reach a player by themselves, and by
a call that probes players at a limit.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from uuid import UUID

from django.conf import settings

from routing_app.core.address import worker_of
from routing_app.core.cluster.calls import CallError, Incoming
from routing_app.core.codes import BY_CODE, UNAVAILABLE, Close
from routing_app.core.database import GroupedWrites, Overloaded
from routing_app.core.delivery.publication import Publication
from routing_app.core.publishing import publish
from routing_app.core.revocations.names import Carried
from routing_app.core.standstill import Within
from routing_app.core.worker import Worker, current_worker
from sessions_app.store import StoreCommand, StoreEntry, apply_all
from sessions_app.timers import TICK_SECONDS, Timers
from sessions_app.wire import TERMINATE

logger = logging.getLogger(__name__)

PING: Final = "$sessions.ping"
"""To a customer's address: every bound socket asks its player for a PONG. The message is None."""
PROBE: Final = "sessions.probe"
"""The call that asks a worker for silent players: connection ids -> those of them that are silent."""
END: Final = "$sessions.end"
"""To `connection:<id>`: send a last frame and close. The message is `[text, close code]`."""

DATABASE_TIMEOUT_SECONDS: Final = 5.0
"""Longest wait for the database, until an answer is that it is out."""
TRANSIT_SECONDS: Final = 1.0
"""A probe and its answer may be under way between two workers for so long."""
TRANSACTION_INTERVAL_SECONDS: Final = 0.025
"""From the start of one transaction to the next, at least: a create is cheap where a few share one."""


class PlayerSocket(Protocol):
    """A player's socket, as the coordinator knows it."""

    @property
    def bound_to(self) -> UUID | None:
        """The session it is bound to."""

    def ping(self) -> asyncio.Future[None]:
        """Ask the player for a PONG; done when it has come, or the socket is bound no longer."""

    def end(self, text: str, close: Close) -> None:
        """Send a last frame and close."""

    @property
    def carried(self) -> Carried:
        """The customer, as a name that may be revoked."""

    def revoke(self) -> None:
        """The customer is revoked: the session ends."""


@dataclass(eq=False, slots=True, weakref_slot=True)
class Coordinator:
    """A worker's part of session control; `worker.protocols["sessions"].coordinator`."""

    worker: Worker
    sockets: dict[str, PlayerSocket] = field(default_factory=dict)
    """By connection id."""
    writes: GroupedWrites = field(default_factory=lambda: GroupedWrites(TRANSACTION_INTERVAL_SECONDS))
    """Its own, so that all commands of a batch are applied together and lock accounts in one order."""
    timers: Timers = field(default_factory=Timers)
    """Times the PINGs of all sockets."""
    stopped: set[str] = field(default_factory=set)
    """Connections that were stopped because the lease was about to lapse: their rows are still to end."""

    def __post_init__(self) -> None:
        self.worker.hub.on(PING, self._ping)
        self.worker.hub.on(END, self._end)
        self.worker.calls.serve(PROBE, self._serve_probe)

    async def submit(self, command: StoreCommand) -> Any:
        """Apply a command; its outcome, after the commit.

        Raises Overloaded, TimeoutError (then it is not applied any more, unless it was just then) and what
        the database raises.
        """
        entry = StoreEntry(command)
        try:
            async with Within(DATABASE_TIMEOUT_SECONDS):
                await self.writes.submit_item(apply_all, entry)
        except BaseException:
            entry.abandoned = True
            raise
        return entry.outcome

    def submit_nowait(self, command: StoreCommand) -> None:
        """Apply a command without waiting for its outcome. The sweep repairs what fails here."""
        try:
            self.writes.submit_item(apply_all, StoreEntry(command))
        except Overloaded:
            logger.warning("sessions: the database is behind; the sweep repairs it later")

    def lease_holds(self) -> bool:
        """Whether the slots of this worker's players cannot have been given away yet, by its own clock."""
        return self.worker.presence.lease.holds(settings.SESSIONS_GRACE_SECONDS)

    def stop_if_lease_lapsed(self) -> None:
        """To be called before a player is served: while this process was asleep its slots may have been given
        away."""
        if not self.lease_holds():
            self.stop_all()

    def stop_all(self) -> None:
        """Stop every player of this worker, because their slots may be given away any moment."""
        bound = {id: socket for id, socket in self.sockets.items() if socket.bound_to is not None}
        if bound:
            logger.warning("sessions: the lease cannot be renewed, %d players are stopped", len(bound))
        self.stopped.update(bound)
        for socket in bound.values():
            socket.end(TERMINATE, UNAVAILABLE)

    async def probe(self, connections: Iterable[str]) -> set[str]:
        """Ask the players of connections on any worker; those whose worker says that they are silent.

        A worker that does not answer in time, fails or is gone proves nothing: its players are not silent.
        Raises LayerUnavailable.
        """
        by_worker = defaultdict(list)
        for id in connections:
            by_worker[worker_of(id)].append(id)
        answers = await asyncio.gather(*[self._probe_on(worker, ids) for worker, ids in by_worker.items()])
        return {id for answer in answers for id in answer}

    async def _probe_on(self, worker_id: str, connections: list[str]) -> list[str]:
        if worker_id == self.worker.id:
            return await self._probe_here(connections)
        patience = settings.SESSIONS_PROBE_SECONDS + TRANSIT_SECONDS
        try:
            silent: list[str] = await self.worker.calls.call(worker_id, PROBE, connections, patience)
        except (CallError, TimeoutError):
            return []
        return silent

    async def _serve_probe(self, call: Incoming) -> list[str]:
        return await self._probe_here(call.payload)

    async def _probe_here(self, connections: Iterable[str]) -> list[str]:
        """Connections of this worker whose players had SESSIONS_PROBE_SECONDS, have not answered, and are
        still bound; a connection that has ended, written yet or not, leaves its session in the grace."""
        bound = {id: socket for id in connections if (socket := self.sockets.get(id)) and socket.bound_to}
        answers = {id: socket.ping() for id, socket in bound.items()}
        # The time is over after the first wait. If this process was busy then, PONGs that have arrived in
        # time are still unread; the event loop reads them during the second.
        for seconds in (settings.SESSIONS_PROBE_SECONDS, TICK_SECONDS):
            due = [answer for answer in answers.values() if not answer.done()]
            if not due:
                return []
            await asyncio.wait(due, timeout=seconds)
        here = [id for id, socket in bound.items() if self.sockets.get(id) is socket and socket.bound_to]
        return [id for id in here if not answers[id].done()]

    def _ping(self, publication: Publication) -> int:
        connections = [
            connection for address in publication.addresses for connection in self.worker.hub.members(address)
        ]
        sockets = [self.sockets.get(connection.id) for connection in connections]
        bound = [socket for socket in sockets if socket is not None and socket.bound_to]
        for socket in bound:
            socket.ping()
        return len(bound)

    def _end(self, publication: Publication) -> int:
        text, code = publication.message
        socket = self.sockets.get(publication.addresses[0].removeprefix("connection:"))
        if socket is None:
            return 0
        socket.end(text, BY_CODE[code])
        return 1


async def end_connection(id: str, text: str, close: Close) -> None:
    """Have a connection, on whatever worker it is, send a last frame and close."""
    await publish((f"connection:{id}",), [text, close.code], event=END)


def current_coordinator() -> Coordinator:
    """The coordinator of the running event loop's worker."""
    coordinator: Coordinator = current_worker().protocols["sessions"].coordinator
    return coordinator
