"""The lease as a worker may count on it: against every course of outages, pauses and late writes, without a
database."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from routing_app.core.leases.lease import MARGIN_SECONDS, Lease
from routing_app.core.leases.reach import STALL_SECONDS, Times, forward
from routing_app.core.models import LEASE_SECONDS, Reach

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
GRACE = 30.0
LIFE = LEASE_SECONDS + GRACE
TICK = 0.5


def at(seconds: float) -> datetime:
    return EPOCH + timedelta(seconds=seconds)


class Clock:
    """The one of a worker; it starts somewhere."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


# --- one worker, one fact at a time
# --------------------------------------------------------------------------


@pytest.fixture
def clock() -> Clock:
    return Clock()


def stops_after(lease: Lease, clock: Clock, grace: float = GRACE) -> float:
    """Seconds for which the lease holds from now on, when no more is received."""
    began = clock.now
    while lease.holds(grace):
        clock.now += TICK
    return clock.now - began


def test_a_lease_that_was_never_taken_holds_nothing(clock: Clock):
    assert not Lease(clock).holds(GRACE)


def test_a_worker_cut_off_stops_before_lease_and_grace_are_over(clock: Clock):
    lease = Lease(clock)
    lease.renewed(clock.now, at(0))

    assert stops_after(lease, clock) == LIFE - STALL_SECONDS - MARGIN_SECONDS


def test_a_renewal_counts_from_the_moment_before_it_was_asked_for(clock: Clock):
    lease = Lease(clock)
    began = clock.now
    clock.now += 4
    lease.renewed(began, at(0))

    assert stops_after(lease, clock) == LIFE - STALL_SECONDS - MARGIN_SECONDS - 4


def test_a_worker_that_slept_finds_its_lease_over_at_its_first_look_at_the_clock(clock: Clock):
    lease = Lease(clock)
    lease.renewed(clock.now, at(0))
    assert lease.holds(GRACE)
    clock.now += 60

    assert not lease.holds(GRACE)


def test_a_witness_that_is_told_nothing_keeps_the_lease_however_long_the_outage(clock: Clock):
    lease = Lease(clock)
    lease.renewed(clock.now, at(0))
    for _ in range(3600):
        clock.now += 1
        if lease.age > 6:
            lease.looked(clock.now, clock.now, "a")
        assert lease.holds(GRACE)


def test_a_witness_that_is_told_something_by_others_all_the_time_keeps_nothing(clock: Clock):
    lease, began = Lease(clock), clock.now
    lease.renewed(began, at(0))
    while lease.holds(GRACE):
        clock.now += 1
        lease.looked(clock.now, clock.now, str(clock.now))

    assert clock.now - began <= LIFE - STALL_SECONDS - MARGIN_SECONDS


@pytest.mark.parametrize("told", ["a", "b"], ids=["the same word as before", "another word"])
def test_a_look_that_failed_makes_the_next_prove_nothing_of_the_time_before(clock: Clock, told: str):
    lease, began = Lease(clock), clock.now
    lease.renewed(began, at(0))
    clock.now += 7
    lease.looked(clock.now, clock.now, "a")
    lease.not_seen()
    clock.now += 30
    lease.looked(clock.now, clock.now, told)

    stops_after(lease, clock)
    assert clock.now - began <= LIFE - STALL_SECONDS - MARGIN_SECONDS


def test_after_an_outage_the_worker_has_time_to_renew_when_others_have_already(clock: Clock):
    lease = Lease(clock)
    lease.renewed(clock.now, at(0))
    for _ in range(600):
        clock.now += 1
        if lease.age > 6:
            lease.looked(clock.now, clock.now, "a")
    clock.now += 1
    lease.looked(clock.now, clock.now, "b")

    assert stops_after(lease, clock) > 10


def test_a_renewal_says_how_far_it_is_from_the_last_in_time_that_counts(clock: Clock):
    """A machine that is paused has no clock that tells."""
    lease = Lease(clock)
    lease.renewed(clock.now, at(0))
    assert lease.renewed(clock.now + 5, at(5)) == timedelta(seconds=5)
    assert lease.renewed(clock.now + 10, at(100)) == timedelta(seconds=95)


# --- many workers, any course
# ---------------------------------------------------------------------------------


@dataclass
class Simulated:
    """A worker whose renewal takes its three steps in moments of their own, and may stop anywhere."""

    clock: Clock
    lease: Lease
    leased_at: datetime | None = None
    step: int = 0
    began: float = 0.0
    times: Times | None = None
    told: bool = False
    asleep: bool = False
    database: bool = True
    witness: bool = True


@dataclass
class World:
    """One database, one witness, some workers; every moment each fault may come and go."""

    random: random.Random
    reach: Reach = field(default_factory=lambda: Reach(reached_at=EPOCH, witnessed_at=EPOCH, version=0))
    seconds: float = 0.0
    word: int = 0
    workers: list[Simulated] = field(default_factory=list)

    def times(self) -> Times:
        copy = Reach(
            version=self.reach.version,
            reached_at=self.reach.reached_at,
            reached_lost=self.reach.reached_lost,
            witnessed_at=self.reach.witnessed_at,
            witnessed_lost=self.reach.witnessed_lost,
        )
        return Times(at(self.seconds), copy)

    def join(self) -> None:
        clock = Clock()
        clock.now += self.seconds
        self.workers.append(Simulated(clock, Lease(clock)))

    def tick(self) -> None:
        self.seconds += TICK
        for worker in self.workers:
            worker.clock.now += TICK
            if not worker.asleep and self.random.random() < 0.7:
                self._renew_a_step(worker)
                if worker.lease.age > 6:
                    self._look(worker)

    def _renew_a_step(self, worker: Simulated) -> None:
        if not worker.database:
            worker.step = 0
        elif worker.step == 0 and worker.lease.age >= 5:
            worker.began, worker.times, worker.step = worker.clock.now, self.times(), 1
        elif worker.step == 1:
            worker.told = worker.witness
            self.word += worker.told
            worker.step = 2
        elif worker.step == 2:
            self._write(worker)
            worker.step = 0

    def _write(self, worker: Simulated) -> None:
        assert worker.times is not None
        if at(self.seconds) <= worker.times.now + timedelta(seconds=STALL_SECONDS):
            changes = forward(worker.times.now, worker.told, self.reach)
            for name, value in changes.items():
                setattr(self.reach, name, value)
        worker.leased_at = max(worker.leased_at or EPOCH, worker.times.witnessed)
        if self.random.random() < 0.9:  # else the answer is lost
            worker.lease.renewed(worker.began, worker.times.witnessed)

    def _look(self, worker: Simulated) -> None:
        if worker.witness:
            worker.lease.looked(worker.clock.now, worker.clock.now, str(self.word))
        else:
            worker.lease.not_seen()

    def lapsed(self, worker: Simulated, grace: float) -> bool:
        """The lease as a worker that reaches the database judges it."""
        life = timedelta(seconds=LEASE_SECONDS + grace)
        return worker.leased_at is not None and self.times().witnessed - worker.leased_at >= life

    def faults(self) -> None:
        for worker in self.workers:
            for name, chance in (("database", 0.02), ("witness", 0.02), ("asleep", 0.01)):
                if self.random.random() < chance:
                    setattr(worker, name, not getattr(worker, name))
        if self.random.random() < 0.01:
            value = self.random.random() < 0.5
            for worker in self.workers:
                worker.database = value
        if self.random.random() < 0.002 and len(self.workers) < 6:
            self.join()


@pytest.mark.parametrize("grace", [0.0, 10.0, GRACE])
@pytest.mark.parametrize("seed", range(12))
def test_a_taker_of_a_lease_finds_that_its_worker_has_stopped(seed: int, grace: float):
    world = World(random.Random(seed))
    for _ in range(3):
        world.join()
    lapses = 0
    for _ in range(1200):
        world.faults()
        world.tick()
        for worker in world.workers:
            if world.lapsed(worker, grace):
                lapses += 1
                assert not worker.lease.holds(grace), f"at {world.seconds}"
    assert lapses > 0


@pytest.mark.parametrize("outage", [47.0, 600.0])
@pytest.mark.parametrize("seed", range(4))
def test_an_outage_of_the_database_for_all_lapses_nobody_and_stops_nobody(seed: int, outage: float):
    world = World(random.Random(seed))
    for _ in range(3):
        world.join()
    course = [True] * 40 + [False] * int(outage / TICK) + [True] * 120
    for reachable in course:
        for worker in world.workers:
            worker.database = reachable
        world.tick()
        for worker in world.workers:
            assert not world.lapsed(worker, GRACE)
            assert math.isinf(worker.lease.age) or worker.lease.holds(GRACE), f"at {world.seconds}"
