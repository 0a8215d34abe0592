"""The state of one lobby as its members on one worker were told; pure, without clock or I/O.

Every change of a lobby has a stamp that its transaction took, one after the other. A replica begins with
the rows as they are at some stamp and takes changes in the order of stamps; one that comes too early is
held. So all members see one order, whichever worker they are on. If a change never comes, the rows are read
again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

JOINED: Final = "JOINED"
LEFT: Final = "LEFT"
HERE: Final = "HERE"
"""A member that was there all the time, though its row was lost: news to those who thought it gone."""

Stamp = tuple[int, int]
"""Key of the lobby's row and number of the change: a lobby that is made again goes on above the old one."""


@dataclass(frozen=True, slots=True)
class Change:
    """One membership begins or ends; `id` is the name by which peers know the member."""

    stamp: Stamp
    event: str
    id: str


@dataclass(eq=False, slots=True)
class LocalMember:
    """A member of this worker. `tell(event, *arguments)` reaches its client.

    `peers`: whether it is told PEERS when it is taken in. `admitted` resolves then: True, or False when it
    has gone before. `lost` is called when the lobby thinks that it is gone, though it has not left.
    """

    id: str
    tell: Callable[..., None]
    peers: bool
    lost: Callable[[], None]
    admitted: asyncio.Future[bool] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def settle(self, admitted: bool) -> None:
        """Let go who waits for it."""
        if not self.admitted.done():
            self.admitted.set_result(admitted)


class LobbyReplica:
    """The ids in a lobby in the order in which they came, and the members here."""

    def __init__(self) -> None:
        self.stamp: Stamp | None = None
        """The stamp of the last change that was taken; None until the rows were read."""
        self.ids: dict[str, None] = {}
        self._waiting: dict[str, LocalMember] = {}
        self._inside: dict[str, LocalMember] = {}
        self._held: dict[Stamp, Change] = {}

    @property
    def empty(self) -> bool:
        """True when nobody here is in the lobby, or about to be."""
        return not self._inside and not self._waiting

    @property
    def behind(self) -> bool:
        """True when a change has come before others that it follows."""
        return bool(self._held)

    def expect(self, local: LocalMember) -> None:
        """Note that a member here is about to join: its own JOINED takes it in."""
        self._waiting[local.id] = local

    def leave(self, id: str) -> None:
        """Tell nothing more to a member here that has gone."""
        for members in (self._waiting, self._inside):
            if (local := members.pop(id, None)) is not None:
                local.settle(False)

    def give_up(self) -> None:
        """Take in none of the members that wait: the rows cannot be read."""
        for local in self._waiting.values():
            local.settle(False)

    def waits_for(self, id: str) -> bool:
        """True when a member here waits for its own JOINED."""
        return id in self._waiting

    def missing(self) -> list[LocalMember]:
        """Members here that the lobby thinks gone."""
        return [local for local in self._inside.values() if local.id not in self.ids]

    def take(self, change: Change) -> None:
        """Take a change in its turn; one that is known already is dropped."""
        if self.stamp is None or change.stamp > self.stamp:
            self._held[change.stamp] = change
            self._go_on()

    def look(self, stamp: Stamp, ids: Sequence[str]) -> None:
        """Take the rows as they were at a stamp; a look that is older than the replica is dropped."""
        if self.stamp is not None and stamp < self.stamp:
            return
        # Members are told of the differences as if each change had come, so that they end with the same
        # state. Members that wait and have a row are taken in last: their PEERS are then complete.
        present = set(ids)
        for id in [id for id in self.ids if id not in present]:
            self._goes(id)
        for id in ids:
            if id not in self.ids:
                self._comes(id)
        for id in [id for id in self._waiting if id in present]:
            self._take_in(id)
        self.stamp = stamp
        self._held = {held: change for held, change in self._held.items() if held > stamp}
        self._go_on()

    def _go_on(self) -> None:
        # Stamps of one lobby row have no gaps, so the next change is the one with the next number. A row that
        # was deleted and made again has another key: changes of it wait until the rows are read.
        while self.stamp is not None:
            key, number = self.stamp
            change = self._held.pop((key, number + 1), None)
            if change is None:
                return
            self.stamp = change.stamp
            if change.event == LEFT:
                self._goes(change.id)
            elif change.event == JOINED or change.id not in self.ids:
                self._comes(change.id)
                self._take_in(change.id)

    def _comes(self, id: str) -> None:
        if id in self.ids:  # it comes a second time: nobody was told that it had left
            self._goes(id)
        self.ids[id] = None
        self._tell(JOINED, id)

    def _take_in(self, id: str) -> None:
        if (local := self._waiting.pop(id, None)) is not None:
            self._inside[id] = local
            local.tell(JOINED, id)
            if local.peers:
                local.tell("PEERS", [other for other in self.ids if other != id])
            local.settle(True)

    def _goes(self, id: str) -> None:
        if id not in self.ids:
            return
        del self.ids[id]
        self._tell(LEFT, id)

    def _tell(self, event: str, id: str) -> None:
        for local in list(self._inside.values()):
            if event != LEFT or local.id != id:
                local.tell(event, id)


def pack(change: Change) -> list[Any]:
    """The form in which a change crosses the channel layer."""
    return [*change.stamp, change.event, change.id]


def unpack(packed: Sequence[Any]) -> Change:
    """The inverse of `pack`."""
    key, number, event, id = packed
    return Change((int(key), int(number)), event, id)
