"""Messages are moved to the outbox when their time has come by the clock of the database, in order."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction
from django.utils import timezone

from routing_app.core.models import OutboxMessage, ScheduledMessage
from routing_app.core.scheduled import mover
from routing_app.core.scheduled.expired import forget_sent
from routing_app.core.scheduled.mover import move_due
from routing_app.core.scheduled.service import Later, withdraw, write
from routing_app.core.scheduled.times import When
from tests.conftest import SCALED_OUT

pytestmark = pytest.mark.django_db(transaction=True)

DUE = timedelta(seconds=-10)
"""Its time has come however soon it is looked at; the clock of SQLite has milliseconds."""
HOUR = timedelta(hours=1)


def later(message: Any, delay: timedelta = DUE, **fields: Any) -> Later:
    return Later(("token:a",), message, When(None, delay), **fields)


def moved() -> list[Any]:
    return list(OutboxMessage.objects.in_order().values_list("message", flat=True))


def test_messages_of_one_time_keep_the_order_in_which_they_were_written(monkeypatch: Any):
    monkeypatch.setattr(mover, "CHUNK", 7)
    write([later(number) for number in range(30)])

    assert [move_due() for _ in range(6)] == [7, 7, 7, 7, 2, 0]
    assert moved() == list(range(30))
    assert not ScheduledMessage.objects.exists()


def test_an_earlier_one_goes_first_and_one_of_tomorrow_stays():
    now = timezone.now()
    ahead = [(3, 3), (1, 1), (2, 2)]
    write([Later(("token:a",), n, When(now - timedelta(seconds=10 - s), DUE)) for n, s in ahead])
    write([later("tomorrow", timedelta(days=1))])

    assert move_due() == 3

    assert moved() == [1, 2, 3]
    assert [row.message for row in ScheduledMessage.objects.waiting()] == ["tomorrow"]


def test_sender_and_id_of_the_publisher_move_along():
    outcomes = write([later("x", sender="shop", caller="key 7", publish_id="order-17"), later("y")])

    assert move_due() == 2

    named, plain = OutboxMessage.objects.in_order()
    assert [named.id, plain.id] == list(outcomes.values())
    assert (named.sender, named.caller, named.publish_id) == ("shop", "key 7", "order-17")
    assert (plain.sender, plain.caller, plain.publish_id) == ("", "", "")


def test_an_id_is_known_as_long_as_ids_are(settings: Any):
    first = write([later("x", publish_id="n")])
    assert move_due() == 1
    kept = ScheduledMessage.objects.get()
    assert (kept.message, kept.addresses) == (None, [])
    forget_sent()
    assert set(write([later("x", publish_id="n")]).values()) == set(first.values())

    ScheduledMessage.objects.update(sent_at=timezone.now() - timedelta(seconds=301))

    assert set(write([later("x", publish_id="n")]).values()) != set(first.values())


def test_a_withdrawn_id_may_be_scheduled_again():
    write([later("x", publish_id="n")])
    assert withdraw(ScheduledMessage.objects.all()) == 1

    write([later("y", publish_id="n")])

    assert move_due() == 1
    assert moved() == ["y"]


@pytest.mark.skipif(not SCALED_OUT, reason="the clock of SQLite is that of the process")
@pytest.mark.parametrize("step", [-HOUR, HOUR], ids=["back", "forward"])
def test_a_step_of_the_clock_of_a_process_makes_nothing_early_or_late(monkeypatch: Any, step: timedelta):
    real = timezone.now
    monkeypatch.setattr(timezone, "now", lambda: real() + step)
    write([later("now"), later("in a minute", timedelta(minutes=1))])

    assert move_due() == 1

    assert moved() == ["now"]
    assert mover._seconds_to_next() == pytest.approx(60, abs=30)


def test_each_message_is_either_sent_or_withdrawn():
    """Callers withdraw while workers move: of each message one of them has it."""
    names = list(write([later(number, publish_id=str(number)) for number in range(60)]).values())
    ready = threading.Barrier(3)

    def move() -> int:
        ready.wait(60)
        total, deadline = 0, time.monotonic() + 60
        while ScheduledMessage.objects.waiting().exists():
            assert time.monotonic() < deadline
            total += move_due()
        connection.close()
        return total

    def take(some: list[Any]) -> list[Any]:
        ready.wait(60)
        taken = [name for name in some if withdraw(ScheduledMessage.objects.filter(name=name))]
        connection.close()
        return taken

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(3) as threads:
        patch.setattr(mover, "CHUNK", 3)
        moving, one, other = (
            threads.submit(move),
            threads.submit(take, names[::2]),
            threads.submit(take, names[1::2]),
        )
        withdrawn = {*one.result(60), *other.result(60)}
        sent = moving.result(60)

    assert sent + len(withdrawn) == 60
    assert set(OutboxMessage.objects.values_list("id", flat=True)) == set(names) - withdrawn


@pytest.mark.skipif(not SCALED_OUT, reason="SQLite has one writer at a time")
def test_one_that_is_just_being_withdrawn_holds_up_no_other():
    names = list(write([later("withdrawn"), later("sent")]).values())
    with psycopg.connect(_url()) as other:
        other.execute("DELETE FROM core_scheduledmessage WHERE name = %s", [names[0]])
        assert move_due() == 1
        assert move_due() == 0

    assert move_due() == 0
    assert moved() == ["sent"]


@pytest.mark.skipif(not SCALED_OUT, reason="SQLite has one writer at a time")
def test_one_worker_moves_at_a_time_so_that_the_order_stays():
    write([later("x")])
    with psycopg.connect(_url()) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", [mover.LOCK])
        assert move_due() == 0

    assert move_due() == 1


def test_what_is_rolled_back_was_not_moved():
    write([later("x")])
    with transaction.atomic():
        assert move_due() == 1
        transaction.set_rollback(True)

    assert moved() == []
    assert ScheduledMessage.objects.waiting().count() == 1


def _url() -> str:
    given = connection.get_connection_params()
    return psycopg.conninfo.make_conninfo(
        **{name: given[name] for name in ("dbname", "user", "password", "host", "port") if given.get(name)}
    )
