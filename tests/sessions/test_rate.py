"""The rate of one customer's requests."""

from __future__ import annotations

import pytest

from sessions_app.rate import CustomerRates

pytestmark = pytest.mark.once


class Clock:
    """A clock that stands still until it is told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_burst_is_allowed_and_then_the_rate() -> None:
    clock = Clock()
    rates: CustomerRates[str] = CustomerRates(0.5, 3, clock)

    assert [rates.wait("alice") for _ in range(5)] == [0, 0, 0, 2, 2]
    assert rates.wait("bob") == 0
    clock.now += 2
    assert [rates.wait("alice"), rates.wait("alice")] == [0, 2]


def test_a_client_that_waits_as_told_is_let_in() -> None:
    clock = Clock()
    rates: CustomerRates[str] = CustomerRates(0.1, 1, clock)
    rates.wait("alice")

    for _ in range(5):
        wait = rates.wait("alice")
        assert wait > 0
        clock.now += wait
        assert rates.wait("alice") == 0


def test_without_a_rate_everybody_may() -> None:
    rates: CustomerRates[str] = CustomerRates(0, 1)

    assert {rates.wait("alice") for _ in range(100)} == {0}
