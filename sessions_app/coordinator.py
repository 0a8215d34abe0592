"""One process's part of session control: its sockets, its commands on their way, and news of others.

Processes talk through the hub with three events of this line that never reach a player by themselves.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from uuid import UUID

from django.conf import settings

from routing_app.core.codes import BY_CODE, UNAVAILABLE, Close
from routing_app.core.database import GroupedWrites, Overloaded
from routing_app.core.delivery.publication import Publication
from routing_app.core.publishing import publish
from routing_app.core.worker import Worker, current_worker
from sessions_app.store import AccountKey, StoreCommand, StoreEntry, post
from sessions_app.timers import TICK_SECONDS, Timers
from sessions_app.wire import TERMINATE

logger = logging.getLogger(__name__)

PING: Final = "sessions.ping"
"""To a customer's address: every bound socket asks its player. The message is the id of the worker that wants
to know, "" when nobody waits."""
ALIVE: Final = "sessions.alive"
"""To `worker:<id>`, which wants to know: the message is the id of a connection whose player has answered."""
SILENT: Final = "sessions.silent"
"""To the same: the message is a list of connections whose players had SESSIONS_PROBE_SECONDS, and have
neither answered nor left."""
END: Final = "sessions.end"
"""To `connection:<id>`: send a last frame and close. The message is `[text, close code]`."""

PATIENCE_SECONDS: Final = 5.0
"""Longest wait for the database, until an answer is that it is out."""
ON_ITS_WAY_SECONDS: Final = 1.0
"""How long the word of a worker may take to the one that wants to know."""
APART_SECONDS: Final = 0.025
"""From the start of one transaction to the next, at least: a create is cheap where a few share one."""


class PlayerSocket(Protocol):
    """A player's socket, as the board knows it."""

    @property
    def bound_to(self) -> UUID | None:
        """The session it is bound to."""

    def ping(self, asker: str = "") -> None:
        """Ask the player for a PONG, and tell the worker `asker` when it has come."""

    def owes(self, asker: str) -> bool:
        """Whether the player was asked for that worker, and has not answered."""

    def end(self, text: str, close: Close) -> None:
        """Say a last word and close."""


@dataclass(eq=False, slots=True, weakref_slot=True)
class Coordinator:
    """One process's part of session control."""

    worker: Worker
    sockets: dict[str, PlayerSocket] = field(default_factory=dict)
    """By connection id."""
    writes: GroupedWrites = field(default_factory=lambda: GroupedWrites(APART_SECONDS))
    """Its own, so that all commands of a batch are applied together and lock accounts in one order."""
    wheel: Timers = field(default_factory=Timers)
    """Times the PINGs of all sockets."""
    stopped: set[str] = field(default_factory=set)
    """Connections that were stopped because the lease was about to lapse: their rows are still to end."""
    _questions: dict[str, asyncio.Future[bool]] = field(default_factory=dict)
    """Does the player of a connection live? False only on the word of the worker that has it."""

    def __post_init__(self) -> None:
        hub = self.worker.hub
        hub.on(PING, self._ping)
        hub.on(ALIVE, self._alive)
        hub.on(SILENT, self._silent)
        hub.on(END, self._end)

    async def run(self, command: StoreCommand) -> Any:
        """Apply a command; its outcome, after the commit.

        Raises Overloaded, TimeoutError (then it is not applied any more, unless it was just then) and what
        the database raises.
        """
        entry = StoreEntry(command)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self.writes.submit_item(post, entry)
        except BaseException:
            entry.abandoned = True
            raise
        return entry.outcome

    def leave(self, command: StoreCommand) -> None:
        """Apply a command that nobody waits for. What fails here is mended by the sweep."""
        try:
            self.writes.submit_item(post, StoreEntry(command))
        except Overloaded:
            logger.warning("sessions: the database is behind, the sweep has to mend it")

    def vouched(self) -> bool:
        """Whether this worker may count on it that nobody has given away the slots of its players."""
        return self.worker.presence.lease.holds(settings.SESSIONS_GRACE_SECONDS)

    def stop_unless_vouched(self) -> None:
        """To be called before a player is served: who has slept may have lost everything meanwhile."""
        if not self.vouched():
            self.stop_all()

    def stop_all(self) -> None:
        """Stop every player, because its slot may be given away any moment."""
        bound = {id: socket for id, socket in self.sockets.items() if socket.bound_to is not None}
        if bound:
            logger.warning("sessions: the lease cannot be renewed, %d players are stopped", len(bound))
        self.stopped.update(bound)
        for socket in bound.values():
            socket.end(TERMINATE, UNAVAILABLE)

    async def silent(self, key: AccountKey, connections: Collection[str]) -> set[str]:
        """Ask a customer's players; those of `connections` whose worker says that they are silent.

        Whose worker says nothing is not: the worker, or the channel layer, may be out, or the connection has
        ended and the session is in its grace, whether that is written yet or not.
        """
        loop = asyncio.get_running_loop()
        new = {id: loop.create_future() for id in connections if id not in self._questions}
        self._questions.update(new)
        questions = {id: self._questions[id] for id in connections}
        if new:
            await publish((key.address,), self.worker.id, event=PING)
        patience = settings.SESSIONS_PROBE_SECONDS + ON_ITS_WAY_SECONDS
        await asyncio.wait(questions.values(), timeout=patience)
        for id in new:
            self._questions.pop(id, None)
        return {id for id, alive in questions.items() if alive.done() and not alive.result()}

    def _ping(self, publication: Publication) -> int:
        asker = publication.message
        bound = [
            (connection.id, socket)
            for address in publication.addresses
            for connection in self.worker.hub.members(address)
            if (socket := self.sockets.get(connection.id)) and socket.bound_to
        ]
        for _, socket in bound:
            socket.ping(asker)
        asked = [id for id, socket in bound if asker and socket.owes(asker)]
        if asked:
            self.wheel.call_later(settings.SESSIONS_PROBE_SECONDS, lambda: self._judge(asked, asker))
        return len(bound)

    def _judge(self, asked: Sequence[str], asker: str) -> None:
        """Their time is over. What has come in meanwhile is read first, should this process have been
        busy."""

        def tell() -> None:
            here = [(id, self.sockets.get(id)) for id in asked]
            silent = [id for id, socket in here if socket and socket.bound_to and socket.owes(asker)]
            if silent:
                self.tell(asker, SILENT, silent)

        self.wheel.call_later(TICK_SECONDS, tell)

    def tell(self, worker_id: str, event: str, message: Any) -> None:
        """Send an event to one worker."""
        publication = Publication((f"worker:{worker_id}",), message, event=event)
        self.worker.spawn(self.worker.hub.publish(publication))

    def _alive(self, publication: Publication) -> int:
        return self._answer([publication.message], True)

    def _silent(self, publication: Publication) -> int:
        return self._answer(publication.message, False)

    def _answer(self, connections: Iterable[str], alive: bool) -> int:
        answered = [self._questions.pop(id) for id in connections if id in self._questions]
        for question in answered:
            if not question.done():
                question.set_result(alive)
        return len(answered)

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


def current_board() -> Coordinator:
    """The board of the running event loop's worker."""
    board: Coordinator = current_worker().protocols["sessions"].board
    return board
