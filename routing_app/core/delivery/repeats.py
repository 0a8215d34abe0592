"""Publications that come to a process more than once: from each of its addresses, or sent again."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from routing_app.core.delivery.publication import Publication

REMEMBERED: Final = 4096
"""Publications that are remembered; one round of envelopes is far less."""


class Repeats:
    """The latest publications of a process that were delivered."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, id: str) -> bool:
        """True for the id of a publication without positions that was delivered."""
        return id in self._seen

    def has(self, publication: Publication) -> bool:
        """True for one that was delivered before; otherwise it is remembered.

        Under the same id another epoch has another publication: its store had lost the first one, and a
        client that is not brought the second misses an offset.
        """
        key = publication.id
        if publication.is_part:
            key = f"{key}/{publication.server}"
        if key in self._seen:
            return True
        if publication.positions:
            key = f"{key}/{'/'.join(sorted({one.epoch for one in publication.positions.values()}))}"
            if key in self._seen:
                return True
        self._seen[key] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return False
