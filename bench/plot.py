"""A bar chart as SVG: one group of bars a row, one bar a column, on a logarithmic scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import ceil, floor, log10
from typing import Final

COLOURS: Final = ("#9db8d9", "#5b8cc4", "#2f5f9e", "#173a68", "#0b1f3a")
BAR: Final = 11
GAP: Final = 12
LEFT: Final = 240
WIDTH: Final = 900
RIGHT: Final = 70
TOP: Final = 64


def bars(title: str, series: Mapping[str, str], rows: Mapping[str, Mapping[str, float | str]]) -> str:
    """The chart. `series` maps a column key to its name; figures that are strings are written out."""
    numbers = [figure for row in rows.values() for figure in _numbers(row, series)]
    low, high = floor(log10(min(numbers))), ceil(log10(max(numbers)))
    height = TOP + len(rows) * (len(series) * BAR + GAP) + 30
    parts = [
        _text(WIDTH / 2, 20, title, "middle", 15),
        *_legend(list(series.values())),
        *_grid(low, high, height),
    ]
    top = TOP
    for label, row in rows.items():
        parts.append(_text(LEFT - 8, top + len(series) * BAR / 2 + 4, label.replace("`", ""), "end", 12))
        for index, key in enumerate(series):
            parts += _bar(top + index * BAR, index, row.get(key), low, high)
        top += len(series) * BAR + GAP
    return _document(height, parts)


def _numbers(row: Mapping[str, float | str], series: Mapping[str, str]) -> list[float]:
    return [figure for key in series if isinstance(figure := row.get(key), int | float) and figure > 0]


def _bar(top: float, index: int, figure: float | str | None, low: int, high: int) -> list[str]:
    if figure is None:
        return []
    if isinstance(figure, str):
        return [_text(LEFT + 4, top + BAR - 2, figure, "start", 9)]
    right = _x(figure, low, high)
    shape = (
        f'<rect x="{LEFT}" y="{top}" width="{right - LEFT:.1f}" height="{BAR - 1}" fill="{COLOURS[index]}"/>'
    )
    return [shape, _text(right + 4, top + BAR - 2, f"{figure:,.0f}", "start", 9)]


def _x(figure: float, low: int, high: int) -> float:
    return LEFT + (log10(figure) - low) / (high - low) * (WIDTH - LEFT - RIGHT)


def _grid(low: int, high: int, height: float) -> list[str]:
    parts = []
    for power in range(low, high + 1):
        x = _x(10**power, low, high)
        parts.append(f'<path d="M{x:.1f} {TOP - 6}V{height - 24}" stroke="#ccc"/>')
        parts.append(_text(x, height - 10, f"{10**power:,}", "middle", 10))
    return parts


def _legend(names: Sequence[str]) -> list[str]:
    parts, x = [], float(LEFT)
    for colour, name in zip(COLOURS, names, strict=False):
        parts.append(f'<rect x="{x}" y="34" width="10" height="10" fill="{colour}"/>')
        parts.append(_text(x + 14, 43, name, "start", 11))
        x += 34 + 6.2 * len(name)
    return parts


def _text(x: float, y: float, text: str, anchor: str, size: int) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'


def _document(height: float, parts: Sequence[str]) -> str:
    view = f'viewBox="0 0 {WIDTH} {height:.0f}" font-family="sans-serif"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {view}>'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>"]) + "\n"
