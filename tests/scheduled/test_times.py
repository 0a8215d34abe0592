"""The times at which messages may be published, and the ones that are refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from routing_app.core.scheduled.times import NotATime, When, when_of

pytestmark = pytest.mark.once

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)


def time(data: dict[str, Any]) -> datetime:
    when = when_of(data)
    assert when is not None
    return when.time(NOW)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2030-01-01T12:00:01Z", NOW + timedelta(seconds=1)),
        ("2030-01-01t12:00:01z", NOW + timedelta(seconds=1)),
        ("2030-01-01T14:30+02:00", NOW + timedelta(minutes=30)),
        ("2030-01-01T07:00:00.25-0500", NOW + timedelta(seconds=0.25)),
        ("2030-01-01T12:00:00,123456789+00", NOW + timedelta(microseconds=123456)),
        ("2030-01-31T12:00:00Z", NOW + timedelta(days=30)),
        ("2030-01-01T11:59:00Z", NOW - timedelta(seconds=60)),
    ],
)
def test_a_time_has_a_zone_and_is_within_thirty_days(at: str, expected: datetime):
    assert time({"at": at}) == expected


def test_a_delay_counts_from_the_moment_of_writing():
    assert time({"delay": 1.5}) == NOW + timedelta(seconds=1.5)
    assert time({"delay": 2_592_000}) == NOW + timedelta(days=30)


def test_a_message_without_either_is_for_now():
    assert when_of({"message": "x"}) is None


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"at": "2030-01-01T13:00:00"}, "at"),
        ({"at": "2030-01-01"}, "at"),
        ({"at": "2030-01-01 13:00:00Z"}, "at"),
        ({"at": "2030-02-30T13:00:00Z"}, "at"),
        ({"at": "2030-01-01T13:00:00+99:00"}, "at"),
        ({"at": "tomorrow"}, "at"),
        ({"at": 1893502800}, "at"),
        ({"at": None}, "at"),
        ({"at": "2030-01-01T11:58:59Z"}, "at"),
        ({"at": "0001-01-01T00:00:00+14:00"}, "at"),
        ({"at": "9999-12-31T23:59:59-14:00"}, "at"),
        ({"at": "2030-01-31T12:00:01Z"}, "at"),
        ({"delay": 0}, "delay"),
        ({"delay": -1}, "delay"),
        ({"delay": 2_592_000.1}, "delay"),
        ({"delay": float("inf")}, "delay"),
        ({"delay": float("nan")}, "delay"),
        ({"delay": 10**400}, "delay"),
        ({"delay": "5"}, "delay"),
        ({"delay": True}, "delay"),
        ({"delay": None}, "delay"),
        ({"at": "2030-01-01T13:00:00Z", "delay": 5}, "delay"),
    ],
    ids=str,
)
def test_others_are_refused_with_a_word_for_the_field(data: dict[str, Any], field: str):
    with pytest.raises(NotATime) as refused:
        time(data)

    assert refused.value.field == field
    assert str(refused.value)


def test_a_tiny_delay_is_no_time_in_the_past():
    assert When(None, timedelta(seconds=1e-9)).time(NOW) == NOW
