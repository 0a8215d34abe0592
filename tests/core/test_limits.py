"""Rates and seats, with a clock of our own."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from routing_app.core.access.limits import Seats, TokenBucket

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
        pause = bucket.take()
        assert pause >= 0
        times.append(clock.now + pause)
        clock.now += pause

    for first in range(len(times)):
        for last in range(first, len(times)):
            allowed = burst + rate * (times[last] - times[first])
            assert last - first + 1 <= allowed + 1e-6


def test_a_bucket_is_full_until_something_is_taken_and_again_when_that_has_come_back():
    clock = Clock()
    bucket = TokenBucket(2, 3, clock)
    assert bucket.is_full()
    bucket.take()
    assert not bucket.is_full()
    clock.now += 0.5
    assert bucket.is_full()
    assert TokenBucket(0, 3, clock).is_full()


@given(st.integers(1, 1000), st.integers(1, 200))
def test_a_client_that_keeps_to_the_rate_never_waits(rate, burst):
    clock = Clock()
    bucket = TokenBucket(rate, burst, clock)

    for number in range(500):
        clock.now = float(Fraction(number, rate)) + 1e-9 * number
        assert bucket.take() == pytest.approx(0, abs=1e-6)


def test_a_burst_is_free_and_later_requests_wait_their_turn():
    clock = Clock()
    bucket = TokenBucket(10, 3, clock)

    assert [bucket.take() for _ in range(5)] == pytest.approx([0, 0, 0, 0.1, 0.2])
    clock.now += 1000
    assert [bucket.take() for _ in range(4)] == pytest.approx([0, 0, 0, 0.1])


def test_a_rate_of_zero_allows_everything():
    bucket = TokenBucket(0, 1, Clock())

    assert {bucket.take() for _ in range(10_000)} == {0.0}


class SeatsMachine(RuleBasedStateMachine):
    """Seats against a plain list of who sits."""

    @initialize(total=st.integers(0, 6), per_peer=st.integers(0, 3))
    def begin(self, total, per_peer):
        self.total, self.per_peer = total, per_peer
        self.seats = Seats(total, per_peer)
        self.sitting: list[str] = []

    @rule(host=st.sampled_from(["", "10.0.0.1", "10.0.0.2"]))
    def come(self, host):
        mine = self.sitting.count(host)
        crowded = bool(self.per_peer and host and mine >= self.per_peer)
        room = len(self.sitting) < self.total and not crowded

        assert self.seats.take(host) is room
        if room:
            self.sitting.append(host)

    @rule(data=st.data())
    def go(self, data):
        if self.sitting:
            host = data.draw(st.sampled_from(self.sitting))
            self.sitting.remove(host)
            self.seats.leave(host)

    @invariant()
    def taken_is_who_sits(self):
        if hasattr(self, "seats"):
            assert self.seats.taken == len(self.sitting)


TestSeats = SeatsMachine.TestCase


def test_a_client_without_seat_cannot_give_one_back():
    seats = Seats(2)

    with pytest.raises(KeyError):
        seats.leave("10.0.0.1")
    assert seats.taken == 0
