"""Seats against a list of who sits."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from routing_app.core.access.seats import Seats

pytestmark = pytest.mark.once


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
