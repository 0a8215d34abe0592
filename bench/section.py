"""A file in `bench/rows/` offers one `SECTION`, a table whose rows can be measured one by one.

A row is measured by a function that gets the `Bench` and returns its figures by column. Rows of a section are
measured in turn, several rounds of them, and the table shows medians. A figure may be a string instead of a
number, where a run was not whole; a row that cannot be measured here raises `Unavailable`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.bench import Bench

Figure = float | str
Reading = Mapping[str, Figure]
"""Figures of one row by column key."""
Results = Mapping[str, Reading]
"""Medians of a section by row label."""


class Unavailable(Exception):
    """A row cannot be measured on this machine; the message says why."""


@dataclass(frozen=True)
class Column:
    """A column of the table: its key in a reading, its title with the unit, and its decimals."""

    key: str
    title: str
    decimals: int = 0


@dataclass(frozen=True)
class Row:
    """A row of the table; rows that are not `quick` are left out of `--quick`."""

    label: str
    measure: Callable[[Bench], Reading]
    quick: bool = True


@dataclass(frozen=True)
class Mark:
    """A promise about a section's figures, and the measured value."""

    text: str
    measured: str
    holds: bool


def no_marks(results: Results) -> list[Mark]:
    """For a section without promises."""
    return []


@dataclass(frozen=True)
class Section:
    """A table. `name` is what `--only` takes; sections are measured in `order`."""

    name: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    note: str = ""
    marks: Callable[[Results], list[Mark]] = no_marks
    order: int = 100
    plotted: Sequence[str] = ()
    """Keys of the columns that are drawn as well."""


def at_least(text: str, value: Figure | None, least: float, unit: str = "") -> list[Mark]:
    """A mark that wants a figure to reach `least`; none where it was not measured."""
    return _mark(text, value, unit, lambda number: number >= least)


def at_most(text: str, value: Figure | None, most: float, unit: str = "") -> list[Mark]:
    """A mark that wants a figure to stay within `most`; none where it was not measured."""
    return _mark(text, value, unit, lambda number: number <= most)


def ratio(results: Results, key: str, label: str, other: str) -> Figure | None:
    """One row's figure divided by another's; None where one of them was not measured."""
    value, base = results.get(label, {}).get(key), results.get(other, {}).get(key)
    if value is None or base is None:
        return None
    if isinstance(value, str) or isinstance(base, str):
        return value if isinstance(value, str) else f"{other}: {base}"
    return value / base


def _mark(text: str, value: Figure | None, unit: str, holds: Callable[[float], bool]) -> list[Mark]:
    if value is None:
        return []
    if isinstance(value, str):
        return [Mark(text, value, holds=False)]
    return [Mark(text, f"{value:,.{_decimals(value)}f}{unit}", holds(value))]


def _decimals(value: float) -> int:
    return 0 if value >= 100 else 1 if value >= 10 else 2
