"""What one process keeps about sessions: its sockets, its commands on their way, and what others tell it.

Processes talk through the hub with three events of this line that never reach a player by themselves.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from uuid import UUID
from weakref import WeakKeyDictionary

from django.conf import settings

from routing_app.core.codes import BY_CODE, Close
from routing_app.core.database import GroupedWrites, Overloaded
from routing_app.core.publication import Publication
from routing_app.core.publishing import publish
from routing_app.core.worker import Worker, current_worker
from sessions_app.ledger import Command, Entry, Key, post
from sessions_app.wheel import Wheel

logger = logging.getLogger(__name__)

PING: Final = "sessions.ping"
"""To a customer's address: every bound socket asks its player. The message is the id of the worker that wants
to know, "" when nobody waits."""
ASKED: Final = "sessions.asked"
"""To `worker:<id>`, which wants to know: the message is a list of connections whose players were asked."""
ALIVE: Final = "sessions.alive"
"""To the same: the message is the id of a connection whose player has answered."""
END: Final = "sessions.end"
"""To `connection:<id>`: send a last frame and close. The message is `[text, close code]`."""

PATIENCE_SECONDS: Final = 5.0
"""Longest wait for the database, until an answer is that it is out."""
APART_SECONDS: Final = 0.025
"""From the start of one transaction to the next, at least: a create is cheap where a few share one."""


class Socket(Protocol):
    """A player's socket, as the board knows it."""

    @property
    def bound_to(self) -> UUID | None:
        """The session it is bound to."""

    def ping(self, asker: str = "") -> None:
        """Ask the player for a PONG, and tell the worker `asker` when it has come."""

    def end(self, text: str, close: Close) -> None:
        """Say a last word and close."""


@dataclass(eq=False, slots=True)
class Question:
    """Does the player of a connection live?"""

    answered: asyncio.Future[None]
    asked: bool = False
    """The worker that has the connection has passed the question on."""


@dataclass(eq=False, slots=True, weakref_slot=True)
class Board:
    """One process's part of session control."""

    worker: Worker
    sockets: dict[str, Socket] = field(default_factory=dict)
    """By connection id."""
    writes: GroupedWrites = field(default_factory=lambda: GroupedWrites(APART_SECONDS))
    """Its own, so that all commands of a batch are applied together and lock accounts in one order."""
    wheel: Wheel = field(default_factory=Wheel)
    """Times the PINGs of all sockets."""
    _questions: dict[str, Question] = field(default_factory=dict)

    def __post_init__(self) -> None:
        hub = self.worker.hub
        hub.on(PING, self._ping)
        hub.on(ASKED, self._asked)
        hub.on(ALIVE, self._alive)
        hub.on(END, self._end)

    async def run(self, command: Command) -> Any:
        """Apply a command; its outcome, after the commit.

        Raises Overloaded, TimeoutError (then it is not applied any more, unless it was just then) and what
        the database raises.
        """
        entry = Entry(command)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self.writes.submit_item(post, entry)
        except BaseException:
            entry.abandoned = True
            raise
        return entry.outcome

    def leave(self, command: Command) -> None:
        """Apply a command that nobody waits for. What fails here is mended by the sweep."""
        try:
            self.writes.submit_item(post, Entry(command))
        except Overloaded:
            logger.warning("sessions: the database is behind, the sweep has to mend it")

    async def silent(self, key: Key, connections: Collection[str]) -> set[str]:
        """Ask a customer's players; those of `connections` that were asked and did not answer in time.

        Who could not be asked, because its worker or the channel layer does not answer, is not silent: its
        slot is kept until the lease of the worker is over.
        """
        loop = asyncio.get_running_loop()
        new = {id: Question(loop.create_future()) for id in connections if id not in self._questions}
        self._questions.update(new)
        questions = {id: self._questions[id] for id in connections}
        if new:
            await publish((key.address,), self.worker.id, event=PING)
        answers = [question.answered for question in questions.values()]
        await asyncio.wait(answers, timeout=settings.SESSIONS_PROBE_SECONDS)
        for id in new:
            self._questions.pop(id, None)
        return {id for id, question in questions.items() if question.asked and not question.answered.done()}

    def _ping(self, publication: Publication) -> int:
        asker = publication.message
        bound = [
            (connection.id, socket)
            for address in publication.addresses
            for connection in self.worker.hub.members(address)
            if (socket := self.sockets.get(connection.id)) and socket.bound_to
        ]
        if asker and bound:
            self.tell(asker, ASKED, [id for id, _ in bound])
        for _, socket in bound:
            socket.ping(asker)
        return len(bound)

    def tell(self, worker_id: str, event: str, message: Any) -> None:
        """Send an event to one worker."""
        publication = Publication((f"worker:{worker_id}",), message, event=event)
        self.worker.spawn(self.worker.hub.publish(publication))

    def _asked(self, publication: Publication) -> int:
        known = [self._questions[id] for id in publication.message if id in self._questions]
        for question in known:
            question.asked = True
        return len(known)

    def _alive(self, publication: Publication) -> int:
        question = self._questions.pop(publication.message, None)
        if question is None or question.answered.done():
            return 0
        question.answered.set_result(None)
        return 1

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


_boards: WeakKeyDictionary[Worker, Board] = WeakKeyDictionary()


def current_board() -> Board:
    """The board of the running event loop's worker, made on first use."""
    worker = current_worker()
    board = _boards.get(worker)
    if board is None:
        board = _boards[worker] = Board(worker)
    return board
