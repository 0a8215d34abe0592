"""The connections that a publication has reached by some of its parts, which come by several servers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

MAX_PUBLICATIONS: Final = 4096
MAX_CONNECTIONS: Final = 100_000
"""Ids that are kept, over all publications; beyond, the oldest publications are forgotten."""


class ReachedByParts:
    """Ids of connections for each publication: one that has a part gets nothing of the others."""

    def __init__(self) -> None:
        self._reached: OrderedDict[str, set[str]] = OrderedDict()
        self._size = 0

    @contextmanager
    def of(self, publication_id: str) -> Iterator[set[str]]:
        """The connections of one publication; those that are added are kept."""
        reached = self._reached.setdefault(publication_id, set())
        before = len(reached)
        yield reached
        self._size += len(reached) - before
        while len(self._reached) > MAX_PUBLICATIONS or (
            self._size > MAX_CONNECTIONS and len(self._reached) > 1
        ):
            self._size -= len(self._reached.popitem(last=False)[1])
