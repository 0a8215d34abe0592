"""The publications to one address in the order of its stream, as one process delivers them."""

from __future__ import annotations

import asyncio
from collections import deque
from enum import Enum, auto
from typing import Final

from routing_app.core.delivery.publication import Position, Publication
from routing_app.core.streams.store import Bounds, Page

EPOCHS: Final = 16
"""Epochs of before that are remembered: one that comes back would be taken for a new one, and looked up."""


class Place(Enum):
    """Where a publication stands, seen from what was delivered last."""

    NEXT = auto()
    AHEAD = auto()
    """Others are missing before it, or its epoch is not known yet."""
    LATE = auto()
    """From before this process began to look at the order, or held back at the end of an epoch: delivered as
    it comes."""
    PASSED = auto()
    """Delivered already, or of an epoch that is over."""


class Sequence:
    """What was delivered last, and what is held back.

    `begin` says where the stream was when the first subscriber came; until then everything is held. Where the
    store cannot tell, the first publication that comes is taken as the next one (`begin_anywhere`).
    """

    __slots__ = (
        "address",
        "anywhere",
        "bounds",
        "checking",
        "epoch",
        "floor",
        "former",
        "healing",
        "held",
        "held_since",
        "offset",
        "over",
        "starting",
    )

    def __init__(self, address: str, bounds: Bounds) -> None:
        self.address = address
        self.bounds = bounds
        self.epoch = ""
        """Empty before it has begun."""
        self.offset = 0
        self.former = Position("", 0)
        """The last position that was delivered of the epoch before."""
        self.over: deque[str] = deque(maxlen=EPOCHS)
        """Epochs of before; what was missing of them was told."""
        self.floor = 0
        """Offsets below were not waited for."""
        self.anywhere = False
        self.held: dict[Position, Publication] = {}
        self.held_since = 0.0
        self.checking = False
        """True while something may be in the stream that has not come."""
        self.starting: asyncio.Task[None] | None = None
        self.healing: asyncio.Task[None] | None = None

    @property
    def position(self) -> Position:
        """The last one that was delivered."""
        return Position(self.epoch, self.offset)

    @property
    def begun(self) -> bool:
        """True once an order is known."""
        return bool(self.epoch)

    @property
    def is_behind(self) -> bool:
        """True when something is missing that the store may have."""
        if not self.epoch:
            return False
        return self.checking or (bool(self.held) and Position(self.epoch, self.offset + 1) not in self.held)

    def begin(self, position: Position) -> None:
        """Everything up to `position` is from before."""
        self.epoch, self.offset = position

    def begin_anywhere(self) -> None:
        """Take the next publication that comes as the first one."""
        self.anywhere = True

    def place(self, position: Position) -> Place:
        """Where a publication with this position stands."""
        if not self.epoch:
            if not self.anywhere:
                return Place.AHEAD
            self.epoch, self.offset, self.floor = position.epoch, position.offset - 1, position.offset
        if position.epoch == self.epoch:
            if position.offset == self.offset + 1:
                return Place.NEXT
            if position.offset > self.offset:
                return Place.AHEAD
            return Place.LATE if position.offset < self.floor else Place.PASSED
        if position.epoch == self.former.epoch:
            return Place.LATE if position.offset > self.former.offset else Place.PASSED
        return Place.PASSED if position.epoch in self.over else Place.AHEAD

    def passed(self, position: Position) -> None:
        """A publication has been delivered."""
        self.held.pop(position, None)
        if position.epoch == self.epoch:
            self.offset = max(position.offset, self.offset)
        elif position.epoch == self.former.epoch:
            self.former = position

    def next_held(self) -> Publication | None:
        """The publication that is held and follows."""
        return self.held.get(Position(self.epoch, self.offset + 1)) if self.held else None

    def switch(self, page: Page) -> bool:
        """Go on in the epoch of `page`; True when nothing of the epoch before can be missing."""
        former = page.former
        is_whole = former is not None and former.epoch == self.epoch and self.offset >= former.offset
        self.former = self.position
        self.epoch, self.offset, self.floor = page.epoch, page.base, 0
        return is_whole

    def close(self, epoch: str) -> None:
        """Let nothing more of an epoch come."""
        self.over.append(epoch)
        if self.former.epoch == epoch:
            self.former = Position("", 0)

    def skip_to(self, offset: int) -> None:
        """Give up what is missing before `offset`."""
        self.offset = offset - 1

    def release(self) -> list[Publication]:
        """All that is held, in order; it has to be taken again."""
        held, self.held = self.held, {}
        order = sorted(held, key=lambda position: (position.epoch == self.epoch, position.offset))
        return [held[position] for position in order]
