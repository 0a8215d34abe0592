"""When a delivery is tried again, and how many are taken at once."""

from __future__ import annotations

import time
from datetime import timedelta
from email.utils import formatdate

import pytest

from routing_app.core.webhooks.places import (
    FAST_SECONDS,
    MAX_NEXT,
    MAX_NEXT_OF_ALL,
    Deliveries,
    Places,
    Taken,
    room_for,
)
from routing_app.core.webhooks.retries import delay_after, longest_wait
from routing_app.core.webhooks.target import Target

pytestmark = pytest.mark.once

HOUR = 3600
WAITS = (5, 30, 120, 600, HOUR, 6 * HOUR, 24 * HOUR)
NOW = 1_795_000_000


def test_the_waits_are_those_of_the_document_with_jitter():
    for attempts, wait in enumerate(WAITS, 1):
        delays = [delay_after(attempts, {}) for _ in range(50)]
        assert all(one and wait <= one.total_seconds() <= 1.2 * wait for one in delays)
        assert len(set(delays)) > 40
    assert delay_after(8, {}) is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "300"}, 300),
        ({"retry-after": " 300 "}, 300),
        ({"retry-after": "9" * 400}, HOUR),
        ({"retry-after": formatdate(NOW + 120, usegmt=True)}, 120),
        ({"retry-after": formatdate(NOW + 9 * HOUR, usegmt=True)}, HOUR),
        # By the clock of the receiver, which is a day behind ours.
        (
            {
                "retry-after": formatdate(NOW - 24 * HOUR + 90, usegmt=True),
                "date": formatdate(NOW - 24 * HOUR, usegmt=True),
            },
            90,
        ),
        ({"retry-after": formatdate(NOW - 60, usegmt=True)}, 5),
        ({"retry-after": "1"}, 5),
        ({"retry-after": "-7"}, 5),
        ({"retry-after": "²"}, 5),
        ({"retry-after": "soon"}, 5),
        ({"retry-after": "Mon, 32 Nov 2026 07:00:00 GMT"}, 5),
        ({"retry-after": "Sat, 01 Jan 0000 00:00:00 GMT"}, 5),
        ({"retry-after": ""}, 5),
    ],
)
def test_retry_after_makes_a_wait_longer_within_bounds(
    monkeypatch: pytest.MonkeyPatch, headers: dict[str, str], seconds: float
):
    monkeypatch.setattr(time, "time", lambda: float(NOW))
    delay = delay_after(1, headers)
    assert delay is not None
    assert seconds <= delay.total_seconds() <= max(seconds, 6)


def test_retry_after_does_not_make_an_attempt_more():
    assert delay_after(8, {"retry-after": "60"}) is None


def test_no_wait_is_longer_than_what_counts_as_a_clock_that_was_set_back():
    for attempts in range(1, 8):
        assert delay_after(attempts, {"retry-after": "99999"}) <= longest_wait(attempts)  # type: ignore[operator]
    assert longest_wait(1) < timedelta(hours=2)


def test_places_that_are_reserved_go_to_webhooks_with_nothing_on_its_way():
    assert [room_for(0, free) for free in (64, 24, 20, 16, 1, 0)] == [8, 8, 4, 1, 1, 0]
    assert [room_for(3, free) for free in (64, 20, 16, 1)] == [5, 4, 0, 0]
    assert room_for(8, 64) == 0


def taken(webhook: int, count: int, prefix: str = "") -> list[Taken]:
    return [Taken(f"{prefix}{webhook}-{n}", webhook, "{}", 0, Target("", {}, ()), 0.0) for n in range(count)]


def started(deliveries: Deliveries, webhook: int) -> list[Taken]:
    found = []
    while (first := deliveries.start(webhook)) is not None:
        found.append(first[0])
    return found


def test_many_slow_webhooks_leave_places_to_others():
    deliveries = Deliveries()
    for webhook in range(20):
        deliveries.add(taken(webhook, 8), 0.0)
    counts = [len(started(deliveries, webhook)) for webhook in range(20)]
    assert counts == [8] * 6 + [1] * 14
    assert deliveries.places().free == 2


def test_what_is_here_already_is_not_added_again():
    deliveries = Deliveries()
    deliveries.add(taken(1, 10), 0.0)
    first = started(deliveries, 1)
    assert deliveries.add(taken(1, 10), 1.0) == set()
    assert len(first) == 8
    deliveries.end(first[0], 0.1)
    assert [one.id for one in started(deliveries, 1)] == ["1-8"]
    assert sorted(deliveries.drop_next()) == ["1-9"]


def test_only_fast_webhooks_are_taken_for_later_and_bodies_are_bounded():
    deliveries = Deliveries()
    deliveries.add(taken(1, 1) + taken(2, 1), 0.0)
    fast, slow = started(deliveries, 1) + started(deliveries, 2)
    deliveries.end(fast, FAST_SECONDS / 2)
    deliveries.end(slow, FAST_SECONDS * 2)
    places = deliveries.places()
    assert places.wanted(1, places.free, places.spare) == 8 + MAX_NEXT
    assert places.wanted(2, places.free, places.spare) == 8
    assert places.wanted(1, places.free, 5) == 8 + 5
    full = Places({1: 8}, {1: MAX_NEXT, 3: MAX_NEXT}, frozenset({1, 3}))
    assert (full.spare, full.wanted(1, full.free, full.spare)) == (MAX_NEXT_OF_ALL - 2 * MAX_NEXT, 0)
