"""Deliveries of a worker: each arrives, is tried again, or fails; a slow receiver holds up nobody."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.db.models.functions import Now
from standardwebhooks import Webhook as Verifier

from routing_app.core.database import query
from routing_app.core.models.webhooks import Delivery, DeliveryStatus, Webhook
from routing_app.core.outgoing.signature import new_secret
from routing_app.core.webhooks import retries, sender, service, upkeep
from routing_app.core.webhooks.known import webhooks
from routing_app.core.webhooks.outcomes import Attempt
from routing_app.core.webhooks.places import MAX_OF_ONE, MAX_ON_THEIR_WAY, Deliveries, Places
from routing_app.core.webhooks.taking import LATEST_SECONDS, TAKEN, TIMEOUT_SECONDS, Look, take
from tests.services.waiting import until
from tests.webhooks.conftest import Sending, ended, make, rows, write
from tests.webhooks.receiver import Receiver

pytestmark = pytest.mark.django_db(transaction=True)

Start = Callable[[], Sending]
DELAYS = retries.DELAYS


async def test_a_delivery_is_one_signed_post_of_its_body(start: Start, receiver: Receiver):
    webhook = await query(make, receiver.url("/ok?a=b"), headers={"X-Shop": "17", "User-Agent": "us"})
    (id,) = await query(write, webhook)
    start()
    (row,) = await ended(DeliveryStatus.DONE)

    (call,) = receiver.of("/ok?a=b")
    assert (call.id, call.body.decode()) == (id, row.body)
    assert Verifier(webhook.secret).verify(call.body, call.headers) == json.loads(row.body)
    assert call.headers["content-type"] == "application/json"
    assert (call.headers["x-shop"], call.headers["user-agent"]) == ("17", "us")
    assert call.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert (row.attempts, row.last_status, row.last_error, row.next_at) == (1, 204, "", None)
    assert row.ended_at is not None


async def test_headers_of_an_operator_do_not_take_the_place_of_ours(start: Start, receiver: Receiver):
    """Rows may be older than the rule that refuses them."""
    added = {"Webhook-Id": "x", "WEBHOOK-SIGNATURE": "v1,x", "Content-Type": "text/plain"}
    webhook = await query(make, receiver.url("/ok"), headers=added)
    await query(write, webhook)
    start()
    await ended(DeliveryStatus.DONE)

    (call,) = receiver.calls
    Verifier(webhook.secret).verify(call.body, call.headers)
    assert call.headers["content-type"] == "application/json"


async def test_both_secrets_sign_for_a_day_after_a_rotation(start: Start, receiver: Receiver):
    webhook = await query(make, receiver.url("/ok"))
    new = await query(service.rotate, webhook)
    await query(write, webhook)
    start()
    await ended(DeliveryStatus.DONE)
    await query(Webhook.objects.update, rotated_at=Now() - timedelta(hours=24, seconds=1))
    await query(write, webhook)
    await ended(DeliveryStatus.DONE, 2)

    first, second = receiver.calls
    for secret in (webhook.secret, new):
        Verifier(secret).verify(first.body, first.headers)
    assert second.headers["webhook-signature"].count("v1,") == 1
    Verifier(new).verify(second.body, second.headers)


async def test_a_delivery_that_always_fails_is_tried_eight_times_by_one_id(start: Start, receiver: Receiver):
    webhook = await query(make, receiver.url("/fail"))
    (id,) = await query(write, webhook)
    start()
    (row,) = await ended(DeliveryStatus.FAILED)

    assert receiver.ids("/fail") == [id] * 8
    assert (row.attempts, row.last_status, row.last_error) == (8, 503, "the receiver answered 503")
    assert (row.next_at, row.ended_at is None) == (None, False)
    assert len({call.body for call in receiver.calls}) == 1


async def test_a_delivery_that_fails_first_ends_with_a_success(start: Start, receiver: Receiver):
    receiver.statuses["/ok"] = ["500 No", "429 Later", "302 There"]
    webhook = await query(make, receiver.url("/ok"))
    await query(write, webhook)
    start()
    (row,) = await ended(DeliveryStatus.DONE)

    assert (row.attempts, row.last_status, row.last_error) == (4, 204, "")
    assert (await query(Webhook.objects.get)).failing_since is None


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("/silent", None, "no answer within 4 s"),
        ("/trickle", None, "no answer within 4 s"),
        ("/reset", None, "the connection was lost"),
        ("/redirect", 307, "the receiver answered 307; redirects are not followed"),
    ],
)
async def test_a_receiver_that_misbehaves_has_failed(
    start: Start,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    status: int | None,
    error: str,
):
    if "within" in error:
        monkeypatch.setattr(sender, "TIMEOUT_SECONDS", 4.0)
    monkeypatch.setattr(retries, "DELAYS", (3600,))
    webhook = await query(make, receiver.url(path))
    await query(write, webhook)
    start()
    await until(_tried)

    (row,) = await query(rows)
    assert (row.status, row.attempts, row.last_status) == (DeliveryStatus.PENDING, 1, status)
    assert row.last_error.startswith(error)
    assert [call.path for call in receiver.calls] == [path]
    assert (await query(Webhook.objects.get)).failing_since is not None


async def _tried() -> bool:
    return bool(await query(rows, attempts__gt=0))


async def test_a_huge_answer_of_200_is_a_success(start: Start, receiver: Receiver):
    webhook = await query(make, receiver.url("/huge"))
    await query(write, webhook)
    start()
    (row,) = await ended(DeliveryStatus.DONE)
    assert row.last_status == 200


async def test_410_switches_the_webhook_off_until_an_operator_switches_it_on(
    start: Start, receiver: Receiver
):
    receiver.statuses["/ok"] = ["410 Gone"]
    webhook = await query(make, receiver.url("/ok"))
    (first,) = await query(write, webhook)
    sending = start()
    await ended(DeliveryStatus.FAILED)
    await until(lambda: sending.hub.events)
    off = await query(Webhook.objects.get)
    assert (off.enabled, off.off_because) == (False, "the receiver answered 410 (gone)")

    (second,) = await query(write, webhook)
    assert await query(take, Deliveries().places()) == ([], frozenset())
    assert receiver.ids("/ok") == [first]

    await query(Webhook.objects.update, enabled=True)
    await query(webhooks.read)
    sending.sender.wake()
    await ended(DeliveryStatus.DONE)
    assert receiver.ids("/ok") == [first, second]


async def test_a_switch_off_is_told_once_however_many_attempts_it_was_written_with(start: Start):
    webhook, other = [await query(make, "http://127.0.0.1:1/") for _ in range(2)]
    sending = start()
    told: list[int] = []
    sending.sender.on_off.append(told.append)
    ids = [(one.pk, id) for one in (webhook, webhook, webhook, other) for id in await query(write, one)]
    attempts = [Attempt(id, pk, 410, is_gone=True) for pk, id in ids]
    await asyncio.gather(*(sending.sender._write(one) for one in attempts))

    assert sorted(told) == sorted([webhook.pk, other.pk])
    assert len(sending.hub.events) == 2


async def test_a_webhook_that_has_failed_for_five_days_is_switched_off(start: Start, receiver: Receiver):
    almost = await query(make, receiver.url("/fail"), failing_since=Now() - timedelta(days=4, hours=23))
    over = await query(make, receiver.url("/fail"), failing_since=Now() - timedelta(days=5))
    for webhook in (almost, over):
        await query(write, webhook)
    start()
    await until(lambda: query(Webhook.objects.filter(pk=over.pk, enabled=False).exists))
    await ended(DeliveryStatus.FAILED)
    await query(almost.refresh_from_db)
    await query(over.refresh_from_db)

    assert (almost.enabled, almost.off_because) == (True, "")
    assert (over.enabled, over.off_because) == (False, "no call succeeded for 5 days")


async def test_slow_receivers_hold_up_nobody(start: Start, receiver: Receiver):
    """Seven of them would fill all places of the worker, and their rows are the older ones."""
    slow = [await query(make, receiver.url("/hold")) for _ in range(7)]
    for webhook in slow:
        await query(write, webhook, 20)
    fast = await query(make, receiver.url("/ok"))
    await query(write, fast, 30)
    start()
    await ended(DeliveryStatus.DONE, 30)

    assert len(receiver.of("/ok")) == 30
    assert Counter(row.webhook_id for row in await query(rows, status=DeliveryStatus.DONE)) == {fast.pk: 30}
    assert receiver.most_at_once["/hold"] <= 64
    receiver.release()
    await ended(DeliveryStatus.DONE, 170)


async def test_one_webhook_has_eight_calls_on_their_way_at_most(start: Start, receiver: Receiver):
    webhook = await query(make, receiver.url("/hold"))
    await query(write, webhook, 30)
    start()
    await until(lambda: len(receiver.calls) == MAX_OF_ONE)
    receiver.release()
    await ended(DeliveryStatus.DONE, 30)
    assert receiver.most_at_once["/hold"] == MAX_OF_ONE == 8


@pytest.fixture
def looks(start: Start, monkeypatch: pytest.MonkeyPatch) -> list[Look]:
    """What each look into the table has found. The clock causes none."""
    found: list[Look] = []

    def look(places: Places) -> Look:
        found.append(take(places))
        return found[-1]

    monkeypatch.setattr(sender, "take", look)
    monkeypatch.setattr(sender, "POLL_SECONDS", 3600)
    return found


async def test_what_one_look_finds_is_sent_without_another_look(
    start: Start, receiver: Receiver, looks: list[Look]
):
    slow = await query(make, receiver.url("/hold"))
    await query(write, slow, 30)
    sending = start()
    sending.sender.wake()
    await until(lambda: len(receiver.calls) == MAX_OF_ONE)
    fast = await query(make, receiver.url("/ok"))
    await query(write, fast, 5)
    sending.sender.wake()
    await ended(DeliveryStatus.DONE, 5)
    left = frozenset({slow.pk})
    assert [(len(look.taken), look.left) for look in looks] == [(8, left), (5, left)]

    receiver.release()
    await ended(DeliveryStatus.DONE, 35)
    assert looks[-1].left == frozenset()
    assert sum(len(look.taken) for look in looks) == 35


async def test_a_call_that_ends_while_all_places_are_taken_makes_room_for_any_webhook(
    start: Start, receiver: Receiver, looks: list[Look]
):
    """No call of a webhook that has more to send ends."""
    sending = start()
    on_their_way = 0
    for path, webhooks_there, each in (("/hold", 16, 3), ("/silent", 16, 1)):
        for _ in range(webhooks_there):
            await query(write, await query(make, receiver.url(path)), each)
        on_their_way += webhooks_there * each
        sending.sender.wake()
        await until(lambda: len(receiver.calls) == on_their_way)  # noqa: B023
    assert on_their_way == MAX_ON_THEIR_WAY
    await query(write, await query(make, receiver.url("/ok")))
    sending.sender.wake()
    receiver.release()
    await ended(DeliveryStatus.DONE, 49)
    assert await query(rows, attempts__gt=0, webhook__url=receiver.url("/silent")) == []
    assert sum(len(look.taken) for look in looks) == MAX_ON_THEIR_WAY + 1


async def test_two_workers_never_send_one_delivery_at_the_same_time(start: Start, receiver: Receiver):
    several = [await query(make, receiver.url("/ok")) for _ in range(3)]
    written = [id for webhook in several for id in await query(write, webhook, 80)]
    start()
    start()
    await ended(DeliveryStatus.DONE, 240)

    assert sorted(receiver.ids("/ok")) == sorted(written)
    assert receiver.twice_at_once == []


async def test_a_worker_that_stops_leaves_what_it_sends_to_another_at_once(start: Start, receiver: Receiver):
    webhook = await query(make, receiver.url("/hold"))
    written = await query(write, webhook, 3)
    one = start()
    await until(lambda: len(receiver.calls) == 3)
    await one.stop()
    receiver.release()
    start()
    await ended(DeliveryStatus.DONE, 3)
    assert sorted(receiver.ids("/hold")) == sorted(written * 2)


async def test_a_worker_stops_though_the_look_that_is_under_way_fails(
    start: Start, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    """While the database is out every look ends so, and one may be under way for long."""
    await query(make, receiver.url("/ok"))
    looks: list[Places] = []
    answers = threading.Event()

    def look(places: Places) -> Look:
        looks.append(places)
        answers.wait()
        raise OperationalError("the database does not answer")

    monkeypatch.setattr(sender, "take", look)
    sending = start()
    await until(lambda: looks)
    stopping = asyncio.ensure_future(sending.stop())
    await asyncio.sleep(0)  # from here on its tasks are cancelled
    answers.set()

    await until(lambda: stopping.done() or len(looks) > 1)
    assert len(looks) == 1
    await stopping


async def test_what_a_dead_worker_had_taken_is_sent_once_its_time_is_over(start: Start, receiver: Receiver):
    webhook = await query(make, receiver.url("/ok"))
    (id,) = await query(write, webhook)
    assert [one.id for one in (await query(take, Deliveries().places())).taken] == [id]
    assert await query(take, Deliveries().places()) == ([], frozenset())
    (row,) = await query(rows)
    assert row.next_at is not None
    assert row.next_at - row.created_at >= TAKEN > timedelta(seconds=LATEST_SECONDS + TIMEOUT_SECONDS)

    await query(Delivery.objects.update, next_at=Now() - timedelta(seconds=1))
    start()
    await ended(DeliveryStatus.DONE)
    assert receiver.ids("/ok") == [id]


async def test_a_clock_that_was_set_back_keeps_no_delivery_waiting(
    start: Start, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    """The database's clock was hours ahead when these were written; the second waits for its turn."""
    monkeypatch.setattr(retries, "DELAYS", DELAYS)
    monkeypatch.setattr(sender, "UPKEEP_SECONDS", 0.05)
    webhook = await query(make, receiver.url("/ok"))
    (new,) = await query(write, webhook, next_at=Now() + timedelta(hours=1))
    (waits,) = await query(write, webhook, attempts=6, next_at=Now() + timedelta(hours=6))
    (late,) = await query(write, webhook, attempts=1, next_at=Now() + timedelta(hours=3))
    start()
    await ended(DeliveryStatus.DONE, 2)
    assert sorted(receiver.ids("/ok")) == sorted([new, late])
    (row,) = await query(rows, status=DeliveryStatus.PENDING)
    assert row.pk == waits


async def test_what_is_on_its_way_as_a_clock_is_set_back_is_not_sent_by_another_worker(
    start: Start, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    """Each of them looks once now, and again in half a minute, which is after this test."""
    monkeypatch.setattr(sender, "UPKEEP_SECONDS", 3600.0)
    webhook = await query(make, receiver.url("/hold"))
    (id,) = await query(write, webhook)
    start()
    await until(lambda: receiver.calls)
    await query(Delivery.objects.update, next_at=Now() + timedelta(hours=1))
    assert await query(upkeep.waits_too_long)
    start()
    fast = await query(make, receiver.url("/ok"))
    await query(write, fast, 5)
    await ended(DeliveryStatus.DONE, 5)
    receiver.release()
    await ended(DeliveryStatus.DONE, 6)
    assert receiver.ids("/hold") == [id]


async def test_a_clock_that_was_set_ahead_sends_nothing_twice_at_once(start: Start, receiver: Receiver):
    """All that is on its way looks as if its worker were dead."""
    webhook = await query(make, receiver.url("/hold"))
    written = await query(write, webhook, 4)
    sending = start()
    await until(lambda: len(receiver.calls) == 4)
    await query(Delivery.objects.update, next_at=Now() - timedelta(hours=1))
    fast = await query(make, receiver.url("/ok"))
    await query(write, fast)
    sending.sender.wake()
    await ended(DeliveryStatus.DONE)
    receiver.release()
    await ended(DeliveryStatus.DONE, 5)
    assert sorted(receiver.ids("/hold")) == sorted(written)
    assert receiver.twice_at_once == []


@pytest.mark.usefixtures("start")
async def test_ended_deliveries_are_kept_for_webhook_days(settings: Any):
    webhook = await query(make, "http://127.0.0.1:1/", enabled=False)
    for days in (6.9, 7.1):
        await query(
            write, webhook, status=DeliveryStatus.DONE, next_at=None, ended_at=Now() - timedelta(days=days)
        )
    await query(write, webhook, created_at=Now() - timedelta(days=30))
    settings.WEBHOOK_DAYS = 0
    assert await query(upkeep.purge_some) == 0
    settings.WEBHOOK_DAYS = 7
    assert await query(upkeep.purge_some) == 1
    assert len(await query(rows)) == 2


async def test_a_replay_is_sent_again_by_the_same_id(start: Start, receiver: Receiver):
    webhook = await query(make, receiver.url("/ok"))
    (id,) = await query(write, webhook)
    start()
    (row,) = await ended(DeliveryStatus.DONE)
    await query(service.replay, row)
    await until(lambda: receiver.ids("/ok") == [id, id])
    await ended(DeliveryStatus.DONE)


async def test_a_replay_sends_what_waits_and_leaves_what_is_on_its_way(start: Start, receiver: Receiver):
    webhook = await query(make, receiver.url("/hold"))
    (waits,) = await query(write, webhook, attempts=5, next_at=Now() + timedelta(hours=1))
    (on_its_way,) = await query(write, webhook)
    start()
    await until(lambda: receiver.ids("/hold") == [on_its_way])
    for row in await query(rows):
        await query(service.replay, row)
    await until(lambda: len(receiver.calls) == 2)
    receiver.release()
    await ended(DeliveryStatus.DONE, 2)
    assert sorted(receiver.ids("/hold")) == sorted([waits, on_its_way])


async def test_a_replay_knows_a_short_wait_from_an_attempt_that_is_under_way(
    start: Start, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    # Shorter than an attempt may be under way, and longer than this test.
    monkeypatch.setattr(retries, "DELAYS", (0.01,) + (200,) * 6)
    webhook = await query(make, receiver.url("/hold"))
    await query(write, await query(make, receiver.url("/fail")), attempts=1)
    await query(write, webhook)
    start()
    await until(lambda: len(receiver.ids("/hold")) == 1)
    await until(lambda: query(Delivery.objects.filter(attempts=2).exists))
    await query(lambda: Webhook.objects.exclude(pk=webhook.pk).update(enabled=False))
    before = {row.pk: row for row in await query(rows)}
    assert sorted(row.taken for row in before.values()) == [False, True]
    for row in before.values():
        await query(service.replay, row)
    for row in await query(rows):
        assert (row.next_at != before[row.pk].next_at) is not row.taken
    receiver.release()


async def test_a_secret_that_cannot_sign_is_a_failure_and_nothing_hangs(start: Start, receiver: Receiver):
    broken = await query(make, receiver.url("/ok"), secret="whsec_é")
    await query(write, broken)
    whole = await query(make, receiver.url("/ok"), secret=new_secret())
    (id,) = await query(write, whole)
    start()
    await ended(DeliveryStatus.DONE)
    await ended(DeliveryStatus.FAILED)
    assert receiver.ids("/ok") == [id]
