"""The tables as Markdown, and their place in docs/performance.md."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from bench import plot
from bench.rounds import Outcome
from bench.section import Column, Figure, Mark, Section

RESULTS: Final = Path(__file__).parent / ".results"
DOCUMENT: Final = Path(__file__).resolve().parents[1] / "docs" / "performance.md"


def save(section: Section, outcome: Outcome) -> None:
    """Keep a section's figures, its table and its plot in `bench/.results/`."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{section.name}.json").write_text(
        json.dumps(asdict(outcome), indent=1) + "\n", encoding="utf-8"
    )
    (RESULTS / f"{section.name}.md").write_text(markdown(section, outcome), encoding="utf-8")
    _draw(section, outcome, RESULTS)


def markdown(section: Section, outcome: Outcome) -> str:
    """A section's table, its note and its marks."""
    parts = [f"### {section.title}", _table(section.columns, outcome), _caption(section, outcome)]
    if section.plotted and outcome.results:
        parts.append(f"![{section.title}]({section.name}.svg)")
    if marks := section.marks(outcome.results):
        parts.append(_marks(marks))
    return "\n\n".join(parts) + "\n"


def write_document(section: Section, outcome: Outcome) -> bool:
    """Put a section between its marks in docs/performance.md; False where they are missing."""
    begin, end = f"<!-- bench:{section.name} -->", f"<!-- /bench:{section.name} -->"
    before = DOCUMENT.read_text(encoding="utf-8")
    if begin not in before:
        return False
    place = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    text = f"{begin}\n{markdown(section, outcome)}{end}"
    DOCUMENT.write_text(place.sub(lambda match: text, before), encoding="utf-8")
    _draw(section, outcome, DOCUMENT.parent)
    return True


def _draw(section: Section, outcome: Outcome, folder: Path) -> None:
    if section.plotted and outcome.results:
        series = {column.key: column.title for column in section.columns if column.key in section.plotted}
        svg = plot.bars(section.title, series, outcome.results)
        (folder / f"{section.name}.svg").write_text(svg, encoding="utf-8")


def _table(columns: Sequence[Column], outcome: Outcome) -> str:
    lines = [_line(["", *(column.title for column in columns)]), _line(["---", *("---:" for _ in columns)])]
    for label, reading in outcome.results.items():
        lines.append(_line([label, *(_cell(reading.get(column.key), column.decimals) for column in columns)]))
    for label, reason in outcome.missing.items():
        lines.append(_line([label, f"not measured: {reason}", *("" for _ in columns[1:])]))
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(figure: Figure | None, decimals: int) -> str:
    if figure is None:
        return "-"
    return figure if isinstance(figure, str) else f"{figure:,.{decimals}f}"


def _caption(section: Section, outcome: Outcome) -> str:
    runs = f"medians of {outcome.rounds} interleaved runs" if outcome.rounds > 1 else "one run"
    others = f"others kept server or load waiting for at most {outcome.disturbance:.0%} of a measurement"
    return " ".join(filter(None, [section.note, f"{outcome.day}, {runs}, {others}."]))


def _marks(marks: Sequence[Mark]) -> str:
    lines = [_line(["promised", "measured", ""]), _line(["---", "---:", "---"])]
    lines += [_line([mark.text, mark.measured, "holds" if mark.holds else "MISSED"]) for mark in marks]
    return "\n".join(lines)
