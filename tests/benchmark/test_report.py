"""docs/performance.md holds every table of the benchmark once, as the benchmark would write it."""

from __future__ import annotations

import re

import pytest

from bench import report
from bench.rounds import Outcome
from bench.rows import sections
from bench.section import Section

pytestmark = pytest.mark.once

CAPTION = re.compile(
    r"(\d{4}-\d\d-\d\d), (?:medians of (\d+) interleaved runs|one run), .* at most (\d+)% of a measurement"
)
MEASURED = re.compile(r" \| [^|]* \| (holds|MISSED) \|$", re.MULTILINE)
"""A promise's figure is computed from unrounded ones: only whether it holds can be told from the table."""

UNSHOWN: dict[str, dict[str, float | str]] = {"slow": {"ratio": 1.0}}
"""Figures that have a promise and no column."""


def block(section: Section) -> str:
    """The part of the page that belongs to a section, which is there once."""
    begin, end = f"<!-- bench:{section.name} -->\n", f"<!-- /bench:{section.name} -->"
    page = report.DOCUMENT.read_text(encoding="utf-8")
    assert (page.count(begin), page.count(end)) == (1, 1)
    return page.partition(begin)[2].partition(end)[0]


def outcome(section: Section, text: str) -> Outcome:
    """The figures that a table shows, as the benchmark would have measured them."""
    results: dict[str, dict[str, float | str]] = {}
    for line in text.partition("| --- |")[2].partition("\n\n")[0].splitlines()[1:]:
        label, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        figures = zip(section.columns, cells, strict=True)
        results[label] = {column.key: float(cell.replace(",", "")) for column, cell in figures if cell != "-"}
        results[label] |= UNSHOWN.get(section.name, {})
    caption = CAPTION.search(text)
    assert caption is not None
    return Outcome(results, {}, int(caption[2] or 1), int(caption[3]) / 100, 0, caption[1])


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.name)
def test_the_page_shows_each_table_once_as_the_benchmark_writes_it(section: Section):
    text = block(section)
    measured = outcome(section, text)

    assert list(measured.results) == [row.label for row in section.rows]
    assert MEASURED.sub(r" | \1 |", report.markdown(section, measured)) == MEASURED.sub(r" | \1 |", text)


def test_the_page_has_no_table_that_the_benchmark_does_not_write():
    names = re.findall("<!-- bench:(.*) -->", report.DOCUMENT.read_text(encoding="utf-8"))

    assert sorted(names) == sorted(section.name for section in sections())
