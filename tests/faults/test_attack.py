"""Three minutes of the attack that `make faults` makes for thirty, with seeds that stay the same.

docs/faults.md shows the commands.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from faults.bench import ClusterBench
from faults.run import said
from tests.services.postgres import find_postgres
from tests.services.redis import find_redis

pytestmark = [pytest.mark.once, pytest.mark.timeout(900)]
logger = logging.getLogger("measured")

SECONDS = 30.0


@pytest.fixture(scope="module")
def bench() -> Iterator[ClusterBench]:
    if find_redis() is None or find_postgres() is None:
        pytest.skip("redis-server or PostgreSQL is not installed (make test installs them)")
    with ClusterBench() as bench:
        yield bench


@pytest.mark.parametrize("seed", [1, 2])
async def test_no_promise_is_broken_under_faults(bench: ClusterBench, seed: int):
    outcome = await bench.attack(seed, SECONDS)
    logger.info("%s", said(outcome))
    assert outcome.violations == [], said(outcome)
    whats = {one.what for one in outcome.events}
    assert whats >= {
        "received",
        "recovered",
        "stream.delivered",
        "session.ok",
        "answered",
        "joined",
        "served",
        "hook.received",
        "listed",
        "counted",
        "registration.deleted",
        "registration.listed",
        "fault",
    }
    listed = {one["address"].partition(" ")[0] for one in outcome.events if one.what == "listed"}
    assert listed >= {"tokens", "rooms", "events", "requests", "workers"}
