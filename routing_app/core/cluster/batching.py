"""Publications for the channel layer: one envelope per address for all that came since the last round.

Envelopes keep the order in which publications to one address were made. An envelope is open while the next
publication to its address may still join it; a publication to several addresses closes the open ones of all
of them, since no publication may move before it or behind it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, Final

from routing_app.core.cluster.losses import ANYWHERE, LOST
from routing_app.core.cluster.replay import size_of
from routing_app.core.delivery.publication import Publication

BACKLOG: Final = 10_000
"""Publications, times their addresses, that may wait."""

WIDE: Final = 8
"""A publication to more addresses goes once to every process instead of once to each address."""
ENVELOPE_BYTES: Final = 256 * 2**10
"""An envelope that is about so large takes no more: Redis cuts off subscribers that are 32 MiB behind."""
EVERYBODY: Final = "worker:*"
"""The address that every process is subscribed to."""
MOST_TOLD: Final = 1_000
"""Addresses of one round whose subscribers are told of a loss by themselves; with more, everybody is told."""

Batch = tuple[str, list[Any]]
"""An address and its items, in order: what `unpack` takes."""


def unpack(item: Any, offset: float | None = None, server: int | None = None) -> Publication:
    """A publication from its item; `offset` is how much our clock is ahead, None for one from just now.

    `server` is the Redis server that it came by, where there are several.
    """
    *packed, at = json.loads(item) if isinstance(item, str) else item
    return Publication.unpack(packed, math.inf if offset is None else at + offset, server)


class Batches:
    """Publications grouped into envelopes, keeping the order per address."""

    def __init__(self, has_everybody: bool = True) -> None:
        self._has_everybody = has_everybody
        self._batches: list[Batch] = []
        self._open: dict[str, list[Any]] = {}
        self._sizes: dict[str, int] = {}
        self._told = 0
        """Losses that are told in this round."""
        self._all_told = False
        """True once everybody is told of a loss, and nothing for all processes has come behind that."""
        self.backlog = 0
        """Items that wait, or are being sent; `sent` takes them off."""
        self.made = 0
        self.left = 0
        """Batches that there have been, and those that have left, in this order."""

    @property
    def full(self) -> bool:
        """True when nothing more is taken."""
        return self.backlog >= BACKLOG

    def add(self, publication: Publication, addresses: Sequence[str], at: float = 0.0) -> None:
        """Queue a publication for those of its addresses that others may have; `at` is when it was made.

        `at` is a time of this process's clock.
        """
        packed = [*publication.pack(), at]
        if len(publication.addresses) == 1:
            self._append(addresses[0], packed, size_of(publication.message))
        elif len(addresses) > WIDE and self._has_everybody:
            # One envelope for all of them; a later publication to one of them must come after it.
            for address in addresses:
                self._open.pop(address, None)
            self._all_told = False
            self._append_sealed([EVERYBODY], packed)
        else:
            self._append_sealed(addresses, packed)

    def lose(self, addresses: Sequence[str], at: float) -> None:
        """Queue, full or not, what tells the subscribers of addresses that a publication was lost at `at`.

        It takes the place that the publication would have had. While nothing comes behind it, it stands for
        later losses as well.
        """
        for address in addresses:
            before = self._open.get(address)
            if self._all_told if before is None else before[-1][2] == LOST:
                continue
            if self._told < MOST_TOLD or not self._has_everybody:
                self._told += 1
                self._append(address, [*Publication((address,), None, LOST).pack(), at], 0)
            else:
                self._lose_anywhere(at)

    def lose_batch(self, batch: Batch, at: float) -> int:
        """The same of all that is in a batch; how many publications these are."""
        address, items = batch
        if address != EVERYBODY:
            self.lose([address], at)
        elif not self._all_told:
            self._lose_anywhere(at)
        return sum(isinstance(item, str) or item[2] != LOST for item in items)

    def _lose_anywhere(self, at: float) -> None:
        self._open.clear()  # whatever comes later has to come behind it
        self._append_sealed([EVERYBODY], [*Publication((EVERYBODY,), ANYWHERE, LOST).pack(), at])
        self._all_told = True

    def take(self) -> list[Batch]:
        """All batches that wait, in order; later publications start new ones."""
        batches, self._batches, self._open, self._sizes = self._batches, [], {}, {}
        self._told, self._all_told = 0, False
        return batches

    def sent(self, count: int) -> None:
        """A batch has left, which was taken with so many items."""
        self.left += 1
        self.backlog -= count

    def _append(self, address: str, packed: list[Any], size: int) -> None:
        items = self._open.get(address)
        before = self._sizes.get(address, 0)
        # The size is looked at before the publication joins, so one that is larger than the bound still goes.
        if items is None or before > ENVELOPE_BYTES:
            items, before = [], 0
            self._open[address] = items
            self._batches.append((address, items))
            self.made += 1
        self._sizes[address] = before + size
        items.append(packed)
        self.backlog += 1

    def _append_sealed(self, addresses: Sequence[str], packed: list[Any]) -> None:
        """Start new envelopes for all addresses of a publication.

        A receiver delivers it to all of them when the first envelope comes, so nothing that was published
        before it may come later.
        """
        for address in addresses:
            items = [packed]
            self._batches.append((address, items))
            self._open[address] = items
            self.made += 1
            self.backlog += 1
