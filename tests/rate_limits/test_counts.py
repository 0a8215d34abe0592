"""One contract for counts in memory and in Redis: a plain bucket says what they answer."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import count
from time import monotonic

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routing_app.core.access.grants import NOBODY
from routing_app.core.delivery.connection import Peer
from routing_app.core.models.rate_limits import Per, Then
from routing_app.core.rate_limits import limit as module
from routing_app.core.rate_limits.limit import Excess, Limit, Passing, take
from routing_app.core.rate_limits.redis import RedisCounts

pytestmark = pytest.mark.once

INTERVAL = 1000.0
"""Seconds from one piece to the next."""
SLACK = 50.0
"""Seconds that a test may take in real time, which passes for counts in Redis as well."""
HOSTS = ("10.0.0.1", "10.0.0.2")
_ids = count(1)


def limit(
    then: Then = Then.REFUSE, burst: int = 3, rate: float = 1 / INTERVAL, per: Per = Per.NETWORK
) -> Limit:
    return Limit(next(_ids), per, rate, burst, then)


def client(host: str = HOSTS[0]) -> Passing:
    return Passing(Peer(host), NOBODY)


class Kind(ABC):
    """Counts, and how their time is moved."""

    moved = 0.0

    def go(self, seconds: float) -> None:
        self.moved += seconds

    @abstractmethod
    async def take(
        self, limits: tuple[Limit, ...], host: str, cost: int = 1, may_wait: bool = True
    ) -> Excess | None: ...


class MemoryKind(Kind):
    def __init__(self) -> None:
        self.began = monotonic()

    async def take(
        self, limits: tuple[Limit, ...], host: str, cost: int = 1, may_wait: bool = True
    ) -> Excess | None:
        return take(limits, client(host), cost, may_wait, self.began + self.moved)


class RedisKind(Kind):
    def __init__(self, url: str) -> None:
        self.counts = RedisCounts(url, f"test{secrets.token_hex(4)}", lambda: self.moved)

    async def take(
        self, limits: tuple[Limit, ...], host: str, cost: int = 1, may_wait: bool = True
    ) -> Excess | None:
        takes = [(one, one.name(client(host))) for one in limits]
        return await self.counts.take(takes, cost, may_wait)


@pytest.fixture(params=["memory", "redis"])
async def kind(request: pytest.FixtureRequest) -> AsyncIterator[Kind]:
    if request.param == "memory":
        yield MemoryKind()
        return
    request.getfixturevalue("patient")
    one = RedisKind(request.getfixturevalue("redis_url"))
    yield one
    await one.counts.stop()


async def seconds(
    kind: Kind, *limits: Limit, host: str = HOSTS[0], cost: int = 1, times: int = 1
) -> list[float]:
    """Seconds to wait of so many pieces, 0.0 for those that go on at once."""
    found = []
    for _ in range(times):
        excess = await kind.take(limits, host, cost)
        found.append(0.0 if excess is None else nearest(excess.seconds, 2 * SLACK))
    return found


def nearest(seconds: float, step: float) -> float:
    """The multiple of a step that some seconds are near to: what a test takes in real time does not count."""
    return step * round(seconds / step)


async def test_a_burst_goes_at_once_and_what_is_refused_is_not_counted(kind: Kind):
    one = limit()
    assert await seconds(kind, one, times=6) == [0, 0, 0, INTERVAL, INTERVAL, INTERVAL]
    assert await seconds(kind, one, host=HOSTS[1]) == [0]
    kind.go(INTERVAL + 1)
    assert await seconds(kind, one, times=2) == [0, INTERVAL]
    kind.go(100 * INTERVAL)
    assert await seconds(kind, one, times=4) == [0, 0, 0, INTERVAL]


async def test_what_waits_is_taken_on_credit_and_what_would_wait_too_long_is_refused(kind: Kind):
    one = limit(Then.WAIT, rate=1 / 20)
    found = [await kind.take((one,), HOSTS[0]) for _ in range(7)]

    assert [None if excess is None else (excess.then, nearest(excess.seconds, 20)) for excess in found] == [
        *[None] * 3,
        (Then.WAIT, 20),
        (Then.WAIT, 40),
        (Then.WAIT, 60),
        (Then.REFUSE, 80),
    ]
    again = await kind.take((one,), HOSTS[0])
    assert again is not None
    assert (again.then, nearest(again.seconds, 20)) == (Then.REFUSE, 80)
    now = await kind.take((one,), HOSTS[0], may_wait=False)
    assert now is not None
    assert now.then is Then.REFUSE


async def test_several_limits_count_all_or_none_and_the_worst_decides(kind: Kind):
    wide, narrow, closing = limit(burst=5), limit(burst=2), limit(Then.CLOSE, burst=3)
    assert await seconds(kind, wide, narrow, times=4) == [0, 0, INTERVAL, INTERVAL]
    assert await seconds(kind, wide, times=4) == [0, 0, 0, INTERVAL]

    assert await seconds(kind, closing, times=3) == [0, 0, 0]
    both = await kind.take((narrow, closing), HOSTS[0])
    assert both is not None
    assert both.then is Then.CLOSE


async def test_many_pieces_at_once_need_room_for_all_or_an_empty_count(kind: Kind):
    one = limit(burst=4)
    assert await seconds(kind, one, cost=3, times=2) == [0, 2 * INTERVAL]
    assert await seconds(kind, one, cost=1, times=2) == [0, INTERVAL]
    kind.go(4 * INTERVAL + 1)
    assert await seconds(kind, one, cost=10, times=2) == [0, 10 * INTERVAL]
    kind.go(7 * INTERVAL)
    assert await seconds(kind, one, cost=1, times=2) == [0, INTERVAL]


@dataclass
class Bucket:
    """The model: pieces that are out, and when it was last looked at."""

    out: float = 0.0
    at: float = 0.0


@dataclass
class Model:
    """What the counts should answer."""

    buckets: dict[tuple[int, str], Bucket] = field(default_factory=dict)

    def take(
        self, limits: tuple[Limit, ...], host: str, cost: int, may_wait: bool, now: float
    ) -> Excess | None:
        early: list[tuple[Limit, float]] = []
        for one in limits:
            bucket = self.buckets.setdefault((one.id, host), Bucket())
            bucket.out = max(0.0, bucket.out - (now - bucket.at) * one.rate)
            bucket.at = now
            too_many = bucket.out + min(cost, one.burst) - one.burst
            if too_many > 1e-6:
                early.append((one, too_many / one.rate))
        refused = [
            (one, seconds)
            for one, seconds in early
            if one.then is not Then.WAIT or not may_wait or seconds > 60.5
        ]
        if refused:
            closes = any(one.then is Then.CLOSE for one, _ in refused)
            return Excess(Then.CLOSE if closes else Then.REFUSE, max(seconds for _, seconds in refused))
        for one in limits:
            self.buckets[one.id, host].out += cost
        return Excess(Then.WAIT, max(seconds for _, seconds in early)) if early else None


STEPS = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.sets(st.integers(0, 3), min_size=1),
        st.sampled_from(HOSTS),
        st.sampled_from([1, 1, 1, 2, 7]),
        st.booleans(),
    ),
    max_size=30,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_counts_answer_as_the_model(kind: Kind, steps: list[tuple[int, set[int], str, int, bool]]):
    limits = [limit(), limit(Then.WAIT, burst=2), limit(Then.CLOSE, burst=5), limit(rate=3 / INTERVAL)]
    model, start = Model(), kind.moved
    for gap, chosen, host, cost, may_wait in steps:
        # A second more: so no piece is exactly on time, which would be a matter of microseconds.
        kind.go(gap * INTERVAL + (1 if gap else 0))
        some = tuple(limits[number] for number in sorted(chosen))

        wanted = model.take(some, host, cost, may_wait, kind.moved - start)
        found = await kind.take(some, host, cost, may_wait)

        assert (found is None) == (wanted is None), (found, wanted)
        if found is not None and wanted is not None:
            assert found.then is wanted.then
            assert found.seconds == pytest.approx(wanted.seconds, abs=SLACK)


def test_counts_that_have_run_out_are_forgotten(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_COUNTS", 3000)
    short, long = limit(rate=1e6), limit()
    now = monotonic()
    for number in range(10_000):
        take((short,), client(str(number)), 1, True, now + number)
        take((short, long), client(str(number)), 1, True, now + number)

    assert len(short.counts) <= module.SWEEP + 1
    assert len(long.counts) <= 2 * 3000 + module.SWEEP + 1
    assert "9999" in long.counts
