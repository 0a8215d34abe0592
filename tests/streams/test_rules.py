"""Rules of addresses: which patterns make sense, and which rule counts for an address."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError

from routing_app.core.streams.patterns import check_pattern
from routing_app.core.streams.rules import RuleTable
from routing_app.core.streams.store import Bounds

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    "pattern",
    ["*", "token:*", "room:bus/*", "token:group/*", "channel:lobby", "room:bus/one", "client:5", "user:*"],
)
def test_a_pattern_is_an_address_or_a_prefix(pattern: str) -> None:
    check_pattern(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "token",
        "tok*",
        "token:",
        ":*",
        "token:a*b",
        "token:**",
        "*:a",
        "**",
        "nonsense:*",
        "connection:*",
        "customer:*",
        "session:1",
        "worker:*",
        "token:a\n*",
        "token:" + "a" * 600,
        "room:nowhere",
    ],
)
def test_a_pattern_without_sense_is_refused(pattern: str) -> None:
    with pytest.raises(ValidationError):
        check_pattern(pattern)


@pytest.mark.parametrize(
    ("before", "after", "takes"),
    [
        ({}, {"token:*": 5}, False),
        ({"token:*": 5}, {"token:*": 9, "token:a": 1}, False),
        ({"token:*": 5}, {}, True),
        ({"token:*": 5}, {"token:*": 0}, True),
        ({"token:*": 0}, {"token:*": 0}, False),
        ({"token:*": 5, "token:a": 0}, {"token:*": 5}, False),
        ({"token:*": 5}, {"token:*": 5, "token:a": 0}, True),
        ({"token:a": 5}, {"token:b": 5}, True),
    ],
)
def test_rules_that_take_history_from_an_address_are_known(
    before: dict[str, int], after: dict[str, int], takes: bool
) -> None:
    one, other = (
        RuleTable((pattern, size, 60, False) for pattern, size in sizes.items()) for sizes in (before, after)
    )

    assert other.takes_history(one) is takes


TABLE = RuleTable(
    [
        ("token:*", 1, 10, False),
        ("token:a*", 2, 20, True),
        ("token:a", 3, 30, False),
        ("token:ab*", 0, 40, False),
        ("room:bus/*", 5, 50, False),
    ],
    9,
    90,
)


@pytest.mark.parametrize(
    ("address", "bounds"),
    [
        ("token:x", (1, 10)),
        ("token:ac", (2, 20)),
        ("token:a", (3, 30)),
        ("token:ab", None),
        ("token:abc", None),
        ("room:bus/x", (5, 50)),
        ("room:layout/x", (9, 90)),
        ("client:1", (9, 90)),
        ("connection:0123", None),
        ("customer:a/b", None),
        ("session:1", None),
        ("worker:*", None),
        ("nonsense", None),
    ],
)
def test_the_longest_rule_counts(address: str, bounds: tuple[int, int] | None) -> None:
    assert TABLE.of(address).bounds == (None if bounds is None else Bounds(*bounds))


def test_a_rule_says_whether_notices_may_be_subscribed_to() -> None:
    assert TABLE.of("token:ac").notices
    assert not TABLE.of("token:a").notices


def test_a_bare_star_is_every_address_with_a_history() -> None:
    table = RuleTable([("*", 4, 40, False)])

    assert table.of("token:a").bounds == Bounds(4, 40)
    assert table.of("connection:0123").bounds is None


def test_without_history_anywhere_a_table_is_false() -> None:
    assert not RuleTable()
    assert not RuleTable([("token:*", 0, 10, True)])
    assert RuleTable((), 1)
    assert RuleTable([("token:*", 1, 10, False)])
