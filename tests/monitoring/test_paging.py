"""Pages of rows that lie in several workers equal pages of all rows, sorted."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing_app.core.monitoring.paging import DEEPEST, Page, Smallest, TooDeep, merged, pages

pytestmark = pytest.mark.once

VALUES = st.lists(st.lists(st.integers(-3, 3).map(float), max_size=30), max_size=5)


@given(VALUES, st.integers(1, 6), st.integers(1, 7))
def test_merged_pages_are_those_of_a_plain_sort(
    workers: list[list[float]], size: int, slice_size: int
) -> None:
    ids = count()
    parts = [[((value, f"{next(ids):04}"), value) for value in values] for values in workers]
    plain = sorted([*key] for part in parts for key, _ in part)
    number = pages(len(plain), Page(size=size))
    shown: list[list[object]] = []

    for page in (Page(one, size) for one in range(1, number + 1)):
        best = []
        for part in parts:
            smallest: Smallest[float] = Smallest(page.depth)
            for start in range(0, len(part), slice_size):
                smallest.offer(part[start : start + slice_size])
            rows = smallest.rows()
            assert len(rows) <= page.depth
            best.append([[*key] for key, _ in rows])
        shown += merged(best, page)  # type: ignore[arg-type]  # lists of keys

    assert shown == plain
    assert merged(best, Page(number + 1, size)) == []


def test_pages_end_where_a_filter_is_better() -> None:
    assert Page(DEEPEST // 50, 50).depth == DEEPEST
    for number, size in ((DEEPEST // 50 + 1, 50), (0, 50), (-1, 50), (1, 0), (1, 1001)):
        with pytest.raises(TooDeep):
            Page(number, size)
