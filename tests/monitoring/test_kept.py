"""What a worker keeps about itself is bounded, and what it tells is what it was given."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing_app.core.delivery.publication import Publication
from routing_app.core.durations import BOUNDS
from routing_app.core.monitoring import closes as module
from routing_app.core.monitoring.addresses import AddressQuery
from routing_app.core.monitoring.closes import Closes, network_of
from routing_app.core.monitoring.events import KEPT, Events, merged
from routing_app.core.monitoring.history import History, Unpacked
from routing_app.core.monitoring.options import differences, is_secret
from routing_app.core.monitoring.overview import past_of, quantile, together
from routing_app.core.monitoring.rates import AddressRates
from routing_app.core.monitoring.workers import GONE_SECONDS, Lease, Members, Watch

pytestmark = pytest.mark.once

SECONDS = 10


@given(st.lists(st.tuples(st.integers(1, 4), st.dictionaries(st.sampled_from("abc"), st.integers(0, 3)))))
def test_a_history_has_the_last_seconds_and_knows_which_it_missed(
    steps: list[tuple[int, dict[str, int]]],
) -> None:
    history, second, put = History(SECONDS), 1000, {}
    for step, values in steps:
        second += step
        history.put(second, {name: float(value) for name, value in values.items()})
        put[second] = values

    known = {at: values for at, values in put.items() if at > second - SECONDS}
    for at in range(second - 2 * SECONDS, second + 2):
        expected = {name: value for name, value in known.get(at, {}).items() if value}
        assert history.at(at) == expected
    if put:
        unpacked = Unpacked(history.packed())
        first = second - SECONDS + 1
        places = dict(unpacked.seconds(first, second))
        assert {first + place for place in places} == set(known)
        for at, values in known.items():
            shown = {name: ring[places[at - first]] for name, ring in unpacked.series.items()}
            assert {name: value for name, value in shown.items() if value} == {
                name: value for name, value in values.items() if value
            }


def test_a_clock_that_is_set_back_begins_a_new_history() -> None:
    history = History(SECONDS)
    history.put(1000, {"a": 1.0})
    history.put(999, {"a": 2.0})
    assert history.at(1000) == {"a": 1.0}
    history.put(500, {"a": 3.0})
    assert (history.at(500), history.at(1000)) == ({"a": 3.0}, {})


async def test_the_past_of_workers_is_their_sum_where_anybody_has_a_sample() -> None:
    one, other = History(), History()
    one.put(1000, {"received": 2.0, "lag": 0.5, "memory": 7.0})
    one.put(1001, {"received": 1.0, "publish.0": 1.0})
    other.put(1001, {"received": 4.0, "lag": 0.25, "memory": 9.0})

    past = await past_of({"w1": one.packed(), "w2": other.packed()}, 1002)

    assert past["until"] == 1002
    tails = {name: values[-4:] for name, values in past["series"].items()}
    assert tails["received"] == [None, 2.0, 5.0, None]
    assert tails["lag"] == [None, 0.5, 0.25, None]
    assert tails["memory.w1"] == [None, 7.0, 0.0, None]
    assert tails["memory.w2"] == [None, None, 9.0, None]
    assert tails["publish_p50"] == [None, None, BOUNDS[0] / 2, None]


@pytest.mark.parametrize("share", [0.5, 0.99])
@given(st.lists(st.floats(0.00001, 9.9), min_size=1, max_size=200))
def test_a_quantile_lies_in_the_bucket_of_the_true_one(share: float, seconds: list[float]) -> None:
    buckets = [0.0] * (len(BOUNDS) + 1)
    places = [next(place for place, bound in enumerate(BOUNDS) if one <= bound) for one in sorted(seconds)]
    for place in places:
        buckets[place] += 1
    true = places[math.ceil(share * len(places)) - 1]

    found = quantile(buckets, share)

    assert found is not None
    assert (BOUNDS[true - 1] if true else 0.0) <= found <= BOUNDS[true] * 1.0000001
    assert quantile([0.0] * 17, share) is None


def test_values_of_workers_are_added_but_for_the_lag_and_what_is_each_ones_own() -> None:
    found = together({"w1": {"lag": 0.2, "opened": 1, "cpu": 0.5}, "w2": {"lag": 0.1, "opened": 2}})

    assert (found["lag"], found["opened"], found["cpu.w1"], found["publish_p99"]) == (0.2, 3, 0.5, None)


def clock(*times: float) -> Callable[[], float]:
    iterator = iter(times)
    return lambda: next(iterator)


def test_equal_events_of_a_second_are_one_with_a_count_and_told_once_it_is_over() -> None:
    events = Events(clock(10.1, 10.2, 10.3, 10.4, 11.0, 12.0, 12.5))
    events.note("slow", "a reader", count=2)
    events.note("gap", "missing")
    events.note("slow", "a reader")
    assert events.since(0) == []
    events.note("slow", "a reader")

    told = events.since(0)
    assert [(one.kind, one.count) for one in told] == [("slow", 3), ("gap", 1), ("slow", 1)]
    assert events.since(told[1].number) == [told[2]]


def test_events_are_bounded() -> None:
    events = Events(clock(*range(2 * KEPT + 1), 10**6))
    for number in range(2 * KEPT + 1):
        events.note("x", str(number))
    assert [one.text for one in events.since(0)] == [str(number) for number in range(KEPT + 1, 2 * KEPT + 1)]


def test_a_worker_that_lives_between_two_looks_is_told() -> None:
    events = Events(clock(*range(10, 20)))
    watch = Watch("w1", events, has_left=lambda id: True)

    watch.left("a process that only publishes")
    watch.came("w2")
    watch.left("w2")
    watch.left("w2")

    assert [(one.kind, one.about) for one in events.since(0)] == [
        ("worker_joined", "w2"),
        ("worker_gone", "w2"),
    ]


def test_one_event_that_several_workers_notice_is_one() -> None:
    def event(at: float, kind: str = "worker_gone", about: str = "w3") -> dict[str, Any]:
        return {"at": at, "kind": kind, "about": about}

    known = [event(100)]
    assert merged(known, [event(103), event(98)]) == []
    assert merged(known, [event(400), event(402), event(101, "slow", "")]) == [
        event(101, "slow", ""),
        event(400),
    ]


def test_closes_are_kept_by_network_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NETWORKS", 3)
    closes = Closes()
    for number in range(12):
        closes.note("192.0.2.1", 1000 + number, "normal", "chat")
    closes.note("192.0.2.200", 4100, "slow", "chat")
    assert [one["code"] for one in closes.of("192.0.2.7")] == [*range(1003, 1012), 4100]
    for number in range(3):
        closes.note(f"198.51.{number}.1", 1000, "normal", "chat")
    assert closes.of("192.0.2.1") == []
    assert len(closes.of("198.51.0.9")) == 1


def test_networks() -> None:
    assert network_of("192.0.2.77") == "192.0.2.0/24"
    assert network_of("::ffff:192.0.2.77") == "192.0.2.0/24"
    assert network_of("2001:db8:1:2:3::4") == "2001:db8:1:2::/64"
    assert network_of("fe80::1%eth0") == "fe80::/64"
    assert network_of("") == network_of("") == ""
    assert network_of("unix") == "unix"


def test_rates_are_those_of_the_last_seconds() -> None:
    now = 100.0
    rates = AddressRates(lambda: now)
    for second in range(20):
        now = 100.0 + second
        rates.note(Publication(("token:a", "token:b") if second % 2 else ("token:a",), "x"))
    rates.note(Publication(("token:a",), "x", "$internal"))

    assert rates.recent() == {"token:a": 10, "token:b": 5}
    assert (rates.published("token:a"), rates.seconds) == (20, 10)
    now = 200.0
    assert rates.recent() == {}
    assert rates.published("token:b") == 10


def test_masked_names_are_found_whole_only() -> None:
    query = AddressQuery(search="token:secret", masked=("token",))
    assert query.matches("token:secret")
    assert not query.matches("token:secret2")
    assert AddressQuery(search="secr").matches("token:secret")
    assert not AddressQuery(kind="user", search="secr").matches("token:secret")


def test_gone_workers_are_listed_for_a_while() -> None:
    now = 0.0
    members = Members(lambda: now)

    def lease(id: str, age: float) -> Lease:
        return Lease(id, "host", 1, 0.0, age)

    members.read([lease("a", 1), lease("b", 1), lease("c", 40)])
    assert members.serving() == ["a", "b"]
    now = 10.0
    members.read([lease("a", 16), lease("c", 50)])
    assert [one.id for one in members.all() if members.is_gone(one.id)] == ["a", "b", "c"]
    now = 20.0
    members.read([lease("a", 2), lease("c", 60)])  # its lease is renewed after all
    assert members.serving() == ["a"]
    now = 11.0 + GONE_SECONDS
    members.read([lease("a", 2)])
    assert [one.id for one in members.all()] == ["a"]


def test_secrets_are_known_by_name_or_login() -> None:
    secret = ("SECRET_KEY", "SECRET_KEY_FALLBACKS", "EVENTS_TOKEN_SECRET", "ROOMS_BUS_TOKEN")
    assert all(is_secret(name, "x") for name in secret)
    assert is_secret("DATABASE_URL", "postgres://me:word@host/name")
    assert not is_secret("DATABASE_URL", "sqlite:///file")
    assert not is_secret("EVENTS_TOKEN_SECONDS", "5")


def test_differences_do_not_show_secrets() -> None:
    mine, other = {"A": "1", "B": "# 12", "C": "x"}, {"A": "2", "B": "# 13", "C": "x", "D": "new"}
    assert differences(mine, other) == {"A": "2", "B": "another", "D": "new"}
