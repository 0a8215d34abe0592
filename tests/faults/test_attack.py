"""Three minutes of the attack that `make faults` makes for thirty, with seeds that stay the same.

docs/faults.md shows the commands.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator

import pytest

from faults.attack import Attack
from faults.bench import TIMES, ClusterBench
from faults.history import Event, History, of
from faults.run import said
from faults.world import Workload, World
from tests.services.postgres import find_postgres
from tests.services.redis import find_redis

pytestmark = [pytest.mark.once, pytest.mark.timeout(1800)]
logger = logging.getLogger("measured")

SEEDS = (1, 2)
SECONDS = 30.0
"""Of each seed, without its settling."""
PLAYED = {
    "received",
    "recovered",
    "stream.delivered",
    "session.ok",
    "answered",
    "joined",
    "served",
    "hook.received",
    "registration.deleted",
    "fault",
}
"""What clients and faults do meanwhile; on a machine that is busy enough that takes longer."""


@pytest.fixture(scope="module")
def bench() -> Iterator[ClusterBench]:
    if find_redis() is None or find_postgres() is None:
        pytest.skip("redis-server or PostgreSQL is not installed (make test installs them)")
    with ClusterBench() as bench:
        yield bench


async def test_no_promise_is_broken_under_faults(bench: ClusterBench):
    events: list[Event] = []
    for seed in SEEDS:
        outcome = await bench.attack(seed, SECONDS, PLAYED - whats(events))
        logger.info("%s", said(outcome))
        assert outcome.violations == [], said(outcome)
        events += outcome.events
    assert whats(events) >= PLAYED | {"listed", "counted", "registration.listed"}
    listed = {one["address"].partition(" ")[0] for one in of(events, "listed")}
    assert listed >= {"tokens", "rooms", "events", "requests", "workers"}


class SlowClients(Workload):
    """Clients that do what they shall when the time of the run is over."""

    async def play(self) -> None:
        while await self.world.pause(0.01):
            if self.history.now > 2.2:
                self.history.note("a client", "late")


async def test_a_run_goes_on_until_its_clients_have_done_what_they_shall():
    attack = Attack(World(History(), random.Random(1), []), 1, TIMES, [SlowClients])

    outcome = await attack.run(2, (), {"late"})

    assert "late" in outcome.operations
    assert outcome.violations == []


def whats(events: list[Event]) -> set[str]:
    return {one.what for one in events}
