"""The publications to one address in the order of its stream, as one process delivers them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
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
    LAST = auto()
    """The next one of those that were held back at the end of an epoch."""
    LATE = auto()
    """From before this process began to look at the order: delivered as it comes."""
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
        "last",
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
        self.last: deque[Position] = deque()
        """What is held of the epoch before, in order: all of it comes before anything of the new one."""
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
        if self.last and position == self.last[0]:
            return Place.LAST
        if position.epoch == self.epoch:
            return self._place_of(position.offset)
        is_over = position.epoch in self.over or position.epoch == self.former.epoch
        return Place.PASSED if is_over and position not in self.last else Place.AHEAD

    def _place_of(self, offset: int) -> Place:
        """Where one of the present epoch stands."""
        if offset == self.offset + 1 and not self.last:
            return Place.NEXT
        if offset > self.offset:
            return Place.AHEAD
        return Place.LATE if offset < self.floor else Place.PASSED

    def passed(self, position: Position) -> None:
        """A publication has been delivered."""
        self.held.pop(position, None)
        if position.epoch == self.epoch:
            self.offset = max(position.offset, self.offset)
        elif self.last and position == self.last[0]:
            self.last.popleft()

    def next_held(self) -> Publication | None:
        """The publication that is held and follows."""
        if self.last:
            return self.held.get(self.last[0])
        return self.held.get(Position(self.epoch, self.offset + 1)) if self.held else None

    def switch(self, page: Page) -> bool:
        """Go on in the epoch of `page`; True when nothing of the epoch before can be missing.

        `leave` brings what is held of that.
        """
        former = page.former
        is_whole = former is not None and former.epoch == self.epoch and self.offset >= former.offset
        self.former = self.position
        self.epoch, self.offset, self.floor = page.epoch, page.base, 0
        self.last.extend(sorted(one for one in self.held if one.epoch == self.former.epoch))
        return is_whole

    def leave(self) -> Iterator[Publication]:
        """What is held of the epoch before, in order; nothing more of it comes afterwards."""
        while self.last:
            position = self.last[0]
            if (publication := self.held.pop(position, None)) is not None:
                yield publication
            if self.last and self.last[0] == position:  # it waits at another address, or came with that
                self.last.popleft()
        self.close(self.former.epoch)
        self.former = Position("", 0)

    def close(self, epoch: str) -> None:
        """Let nothing more of an epoch come."""
        self.over.append(epoch)

    def skip_to(self, offset: int) -> None:
        """Give up what is missing before `offset`."""
        self.offset = offset - 1

    def release(self) -> list[Publication]:
        """All that is held, in order; it has to be taken again."""
        held, self.held = self.held, {}
        order = sorted(held, key=lambda position: (position.epoch == self.epoch, position.offset))
        return [held[position] for position in order]
