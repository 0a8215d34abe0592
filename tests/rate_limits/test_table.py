"""Rows sorted by protocol and command."""

from __future__ import annotations

import pytest

from routing_app.core.access.grants import NOBODY
from routing_app.core.delivery.connection import Peer
from routing_app.core.models.rate_limits import Per
from routing_app.core.rate_limits.limit import Passing, take
from routing_app.core.rate_limits.table import LimitRow, LimitSet, LimitTable

pytestmark = pytest.mark.once


def row(id: int, protocol: str, command: str, per: str = "network", burst: int = 1) -> LimitRow:
    return LimitRow(id, protocol, command, per, 0.001, burst, "refuse")


def ids(limits: LimitSet | None) -> list[int]:
    return [] if limits is None else [limit.id for limit in limits.every]


def test_a_protocol_has_its_own_limits_and_those_of_all():
    table = LimitTable()
    before = table.of("tokens")
    table.use(
        [
            row(1, "*", "publish"),
            row(2, "tokens", "publish"),
            row(3, "rooms", "publish"),
            row(4, "*", "*"),
            row(5, "tokens", "*", per="connection"),
            row(6, "*", "connect"),
            row(7, "*", "connect", per="key"),
            row(8, "*", "api"),
            row(9, "api", "*"),
        ]
    )

    tokens = table.of("tokens")
    assert tokens is before
    assert ids(tokens.publish) == [1, 2]
    assert ids(tokens.frame) == [4, 5]
    assert [ids(tokens.arrive), ids(tokens.connect)] == [[4, 6], [7]]
    assert ids(tokens.subscribe) == []
    assert ids(table.of("rooms").publish) == [1, 3]
    assert ids(table.of("api").api) == [4, 8, 9]
    frame = tokens.frame
    assert frame is not None
    assert [[limit.id for limit in frame.own], [limit.id for limit in frame.shared]] == [[5], [4]]


def test_without_rows_nothing_is_asked_but_at_logins():
    table = LimitTable()
    events = table.of("events")
    names = ("arrive", "connect", "subscribe", "publish", "request", "frame", "create", "api")
    assert [getattr(events, name) for name in names] == [None] * 8
    assert events.login is not None
    assert [(limit.per, limit.burst) for limit in events.login.every] == [
        (Per.NETWORK, 20),
        (Per.IDENTITY, 20),
    ]
    assert table.of("tokens").login is None


def test_a_row_for_logins_takes_the_place_of_the_bound_that_is_there_by_itself():
    table = LimitTable()
    table.use([row(1, "*", "*")])
    assert ids(table.of("events").login) == [1, -1, -2]
    table.use([row(1, "*", "*"), row(2, "events", "login")])
    assert ids(table.of("events").login) == [1, 2]
    table.use([])
    assert ids(table.of("events").login) == [-1, -2]


def test_a_limit_keeps_its_counts_until_it_is_changed():
    table = LimitTable()
    who = Passing(Peer("10.0.0.1"), NOBODY)

    def is_taken() -> bool:
        limits = table.of("tokens").publish
        assert limits is not None
        return take(limits.every, who, 1, True, 1000.0) is None

    table.use([row(1, "*", "publish")])
    assert [is_taken(), is_taken()] == [True, False]
    table.use([row(1, "*", "publish"), row(2, "rooms", "publish")])
    assert not is_taken()
    table.use([row(1, "*", "publish", burst=2)])
    assert is_taken()


@pytest.mark.parametrize(
    "bad",
    [
        LimitRow(2, "events", "login", "network", 1.0, 1, "queue"),
        LimitRow(2, "events", "login", "planet", 1.0, 1, "refuse"),
        LimitRow(2, "events", "login", "network", 0.0, 1, "refuse"),
    ],
    ids=["treatment", "owner", "rate"],
)
def test_a_row_that_means_nothing_here_leaves_all_others_in_force(
    bad: LimitRow, caplog: pytest.LogCaptureFixture
):
    """A newer version may have written it, or another program."""
    table = LimitTable()
    table.use([row(1, "tokens", "publish")])
    table.use([row(1, "tokens", "publish"), bad, row(3, "rooms", "publish")])

    assert [ids(table.of(name).publish) for name in ("tokens", "rooms")] == [[1], [3]]
    assert ids(table.of("events").login) == [-1, -2]
    assert "rate limit 2 is left out" in caplog.text
    table.use([row(1, "tokens", "publish"), row(2, "events", "login")])
    assert ids(table.of("events").login) == [2]
