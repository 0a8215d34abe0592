"""The clocks of deadlines and leases: they stand still while nobody can reach the database."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

import pytest
from django.db.models.functions import Now

from routing_app.core.leases import reach
from routing_app.core.leases.reach import STALL_SECONDS, STEP_SECONDS, Times
from routing_app.core.models import Reach
from tests.services.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

ALMOST = timedelta(seconds=60)
"""As far as two times may be apart that are taken one after the other on a busy machine."""


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """An advance is written also where a busy machine needs longer for it than a worker may."""
    monkeypatch.setattr(reach, "STALL_SECONDS", ALMOST.total_seconds())


def out_for(seconds: float) -> Times:
    """Have the last renewal of anybody be so long ago; the times before that."""
    before = reach.read()
    ago = Now() - timedelta(seconds=seconds)
    Reach.objects.update(reached_at=ago, witnessed_at=ago)
    return before


def read_after(times: Times) -> Times:
    """The times once the database's clock has gone on, which SQLite has in milliseconds."""
    return cast(Times, wait_until(lambda: (later := reach.read()).now > times.now and later))


@pytest.mark.usefixtures("unhurried")
def test_the_clocks_go_with_the_databases_while_somebody_renews():
    times = reach.read()
    reach.advance(times, witnessed=True)
    later = read_after(times)

    assert times.reached == times.witnessed == times.now
    assert later.reached == later.witnessed == later.now


@pytest.mark.usefixtures("unhurried")
def test_after_an_outage_the_clocks_go_on_where_they_stood():
    before = out_for(3600)
    during = reach.read()
    reach.advance(during, witnessed=True)
    after = reach.read()

    assert during.now - during.reached == pytest.approx(timedelta(seconds=3600 - STEP_SECONDS), abs=ALMOST)
    assert timedelta(0) <= after.reached - during.reached <= ALMOST
    assert after.witnessed == after.reached
    assert after.mark == before.mark


@pytest.mark.usefixtures("unhurried")
def test_time_that_the_witness_was_not_told_counts_for_deadlines_only():
    out_for(3600)
    times = reach.read()
    reach.advance(times, witnessed=False)
    later = reach.read()

    assert later.witnessed == times.witnessed
    assert later.row.reached_lost > 3000 > later.row.witnessed_lost == 0


def test_an_advance_that_comes_too_late_is_not_written():
    """Its worker may have slept in between: others would be told of time that they cannot know of."""
    times = reach.read()
    late = Times(times.now - timedelta(seconds=STALL_SECONDS + 1), times.row)
    reach.advance(late, witnessed=True)

    assert reach.read().row.version == times.row.version


@pytest.mark.usefixtures("unhurried")
def test_of_two_advances_at_a_time_the_later_moment_counts():
    one = reach.read()
    two = reach.read()
    reach.advance(two, witnessed=True)
    reach.advance(one, witnessed=True)
    row = reach.read().row

    assert row.version == one.row.version + 2
    assert (row.reached_at, row.witnessed_at) == (two.now, two.now)
