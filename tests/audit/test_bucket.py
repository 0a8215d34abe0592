"""The bound of entries, with a clock of our own."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing_app.core.audit.bucket import TokenBucket

pytestmark = pytest.mark.once


class Clock:
    """Stands still until it is told to go."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(
    st.integers(1, 1000),
    st.integers(1, 200),
    st.lists(st.floats(0, 3, allow_subnormal=False), min_size=1, max_size=300),
)
def test_never_more_than_burst_and_rate_in_any_window(rate, burst, gaps):
    clock = Clock()
    bucket = TokenBucket(rate, burst, clock)
    times = []
    for gap in gaps:
        clock.now += gap
        if bucket.take():
            times.append(clock.now)

    for first in range(len(times)):
        for last in range(first, len(times)):
            assert last - first + 1 <= burst + rate * (times[last] - times[first]) + 1e-6


def test_it_is_full_until_something_is_taken_and_again_when_that_has_come_back():
    clock = Clock()
    bucket = TokenBucket(2, 3, clock)
    assert bucket.is_full()
    assert bucket.take()
    assert not bucket.is_full()
    clock.now += 0.5
    assert bucket.is_full()


@given(st.integers(1, 1000), st.integers(1, 200))
def test_what_keeps_to_the_rate_is_always_taken(rate, burst):
    clock = Clock()
    bucket = TokenBucket(rate, burst, clock)

    for number in range(500):
        clock.now = float(Fraction(number, rate)) + 1e-9 * number
        assert bucket.take()


def test_what_is_not_taken_costs_nothing():
    clock = Clock()
    bucket = TokenBucket(10, 3, clock)

    assert [bucket.take() for _ in range(5)] == [True, True, True, False, False]
    clock.now += 0.11
    assert [bucket.take(), bucket.take()] == [True, False]
    clock.now += 1000
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
