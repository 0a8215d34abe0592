"""The first rows of many, in each worker and of all together: what a page needs, and no more."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

DEEPEST: Final = 10_000
"""Rows down to which pages go: further down a filter finds what is looked for."""
LARGEST: Final = 1_000
"""Rows of a page."""

Key = tuple[float, str]
"""The value that rows are sorted by, smallest first, and an id that settles ties."""
T = TypeVar("T")


class TooDeep(ValueError):
    """A page begins beyond the rows that are sorted; the message is a sentence for the caller."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page of sorted rows: its number from 1 on, and the rows of each."""

    number: int = 1
    size: int = 50

    def __post_init__(self) -> None:
        if self.number < 1 or not 1 <= self.size <= LARGEST:
            raise TooDeep(f"expected a page from 1 on, of 1 to {LARGEST} rows")
        if self.depth > DEEPEST:
            raise TooDeep(f"pages end after {DEEPEST} rows: filter or search for what lies further down")

    @property
    def depth(self) -> int:
        """How many rows have to be known in their order."""
        return self.number * self.size

    def cut(self, rows: Sequence[T]) -> Sequence[T]:
        """The rows of this page."""
        return rows[self.depth - self.size : self.depth]


class Smallest(Generic[T]):
    """The `depth` rows with the smallest keys of those that are offered, in any number of parts."""

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._rows: list[tuple[Key, T]] = []
        self._worst: Key | None = None
        """No row with a larger key can be among them."""

    def offer(self, rows: Iterable[tuple[Key, T]]) -> None:
        """Some more rows. No two have the same key."""
        worst = self._worst
        self._rows += rows if worst is None else (row for row in rows if row[0] < worst)
        if len(self._rows) > 2 * self._depth:
            self._shrink()

    def rows(self) -> list[tuple[Key, T]]:
        """The smallest, in their order."""
        self._shrink()
        return self._rows

    def _shrink(self) -> None:
        self._rows = heapq.nsmallest(self._depth, self._rows, key=_key)
        if len(self._rows) == self._depth:
            self._worst = self._rows[-1][0]


def _key(row: tuple[Key, Any]) -> Key:
    return row[0]


def merged(parts: Iterable[Sequence[Sequence[Any]]], page: Page) -> list[Sequence[Any]]:
    """A page of all rows from the `depth` smallest of each part; rows begin with their key's two items."""
    rows = heapq.merge(*parts, key=lambda row: (row[0], row[1]))
    found = []
    for number, row in enumerate(rows):
        if number >= page.depth:
            break
        if number >= page.depth - page.size:
            found.append(row)
    return found


def pages(count: int, page: Page) -> int:
    """How many pages there are; at least one."""
    return max(1, -(-count // page.size))
