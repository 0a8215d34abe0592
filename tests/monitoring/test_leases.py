"""Leases as they are watched: who is told dead, and who only could not renew."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db.models.functions import Now

from routing_app.core.database import query
from routing_app.core.leases import reach
from routing_app.core.models import LEASE_SECONDS, Reach, WorkerRecord
from routing_app.core.monitoring.events import Events
from routing_app.core.monitoring.workers import Members, Watch, leases

pytestmark = pytest.mark.django_db(transaction=True)

HERE, THERE = "a" * 16, "b" * 16


class Watched:
    """What a worker tells of the others."""

    def __init__(self) -> None:
        self.deaths = 0
        self.members = Members()
        self._now = self._number = 0
        self._events = Events(lambda: self._now)
        self._watch = Watch(HERE, self._events, lambda id: False)
        self._watch.on_died += [self._fail, self._died]

    async def look(self) -> list[str]:
        """Look once; the kinds of events that are new."""
        await self._watch.look()
        self.members.read(await query(leases))
        self._now += 1  # an event is told once its second is over
        new = self._events.since(self._number)
        self._number += len(new)
        return [one.kind for one in new]

    def _fail(self) -> None:
        raise RuntimeError("the first of two that are called")

    def _died(self) -> None:
        self.deaths += 1


@pytest.fixture
def make_workers(db: None) -> Callable[[], None]:
    """Makes two workers that have just renewed."""

    def make() -> None:
        times = reach.read()
        reach.advance(times, True)
        for id in (HERE, THERE):
            WorkerRecord.objects.create(id=id, host="host", pid=1, leased_at=times.witnessed)

    return make


def outage(seconds: float) -> None:
    """Nobody could reach the database for so long."""
    past = Now() - timedelta(seconds=seconds)
    WorkerRecord.objects.update(renewed_at=past, leased_at=past)
    Reach.objects.update(reached_at=past, witnessed_at=past)


def all_but_one_have_renewed(silent: str) -> None:
    """For longer than a lease, in which anybody could."""
    times = reach.read()
    WorkerRecord.objects.exclude(pk=silent).update(renewed_at=Now(), leased_at=times.witnessed)
    since = times.witnessed - timedelta(seconds=LEASE_SECONDS + 1)
    WorkerRecord.objects.filter(pk=silent).update(leased_at=since)


async def test_a_worker_that_could_not_renew_in_an_outage_is_not_told_dead(
    make_workers: Callable[[], None],
):
    watched = Watched()
    await query(make_workers)
    await watched.look()
    await query(outage, 2 * LEASE_SECONDS)

    # The database is back, and this worker is the first that renews.
    await query(lambda: reach.advance(reach.read(), True))
    assert (await watched.look(), watched.deaths) == ([], 0)
    assert watched.members.serving() == [HERE, THERE]

    await query(all_but_one_have_renewed, THERE)
    assert (await watched.look(), watched.deaths) == (["worker_gone"], 1)
    assert watched.members.serving() == [HERE]


async def test_workers_that_had_gone_before_this_one_came_are_no_news(make_workers: Callable[[], None]):
    """All were killed, and one is back long after: nobody renewed in between."""
    watched = Watched()
    await query(make_workers)
    await query(outage, 2 * LEASE_SECONDS)
    await query(lambda: WorkerRecord.objects.filter(pk=HERE).update(renewed_at=Now(), leased_at=Now()))

    assert (await watched.look(), watched.deaths) == ([], 0)
    assert watched.members.serving() == [HERE]
    await query(all_but_one_have_renewed, THERE)
    assert (await watched.look(), watched.deaths) == ([], 0)
