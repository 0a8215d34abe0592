"""Webhooks that change while a worker has deliveries to them: it holds for all that is not on its way."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from routing_app.core.database import query
from routing_app.core.models.webhooks import DeliveryStatus, Webhook
from routing_app.core.webhooks import places, sender
from routing_app.core.webhooks.known import webhooks
from routing_app.core.webhooks.places import MAX_OF_ONE, Places
from routing_app.core.webhooks.taking import Look, take
from tests.services.waiting import until
from tests.webhooks.conftest import Sending, ended, make, rows, write
from tests.webhooks.receiver import Receiver

pytestmark = pytest.mark.django_db(transaction=True)

Start = Callable[[], Sending]


async def test_a_webhook_that_is_off_is_called_no_more_for_what_was_taken_before(
    start: Start, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    sending = await _with_many_taken(start, receiver, monkeypatch)
    await query(Webhook.objects.update, enabled=False)
    await query(webhooks.read)
    receiver.release()
    await until(lambda: _is_idle(sending))

    assert len(receiver.of("/hold")) == 1 + MAX_OF_ONE
    await until(lambda: query(lambda: not rows(taken=True)))
    assert len(await query(rows, status=DeliveryStatus.PENDING)) == 30 - MAX_OF_ONE

    await query(Webhook.objects.update, enabled=True)
    await query(webhooks.read)
    sending.sender.wake()
    await ended(DeliveryStatus.DONE, 31)
    assert len(receiver.of("/hold")) == 31


async def test_a_webhook_that_was_deleted_is_called_no_more_for_what_was_taken_before(
    start: Start, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    sending = await _with_many_taken(start, receiver, monkeypatch)
    await query(Webhook.objects.all().delete)
    await query(webhooks.read)
    receiver.release()
    await until(lambda: _is_idle(sending))
    assert len(receiver.of("/hold")) == 1 + MAX_OF_ONE


async def test_what_was_taken_before_a_change_is_sent_as_the_webhook_is_now(
    start: Start, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sender, "POLL_SECONDS", 3600)
    await _with_many_taken(start, receiver, monkeypatch)
    await query(Webhook.objects.update, url=receiver.url("/ok"), headers={"X-Shop": "17"})
    await query(webhooks.read)
    receiver.release()
    await ended(DeliveryStatus.DONE, 31)

    assert len(receiver.of("/hold")) == 1 + MAX_OF_ONE
    assert len(receiver.of("/ok")) == 30 - MAX_OF_ONE
    assert {call.headers["x-shop"] for call in receiver.of("/ok")} == {"17"}


async def test_a_change_while_the_worker_looks_holds_for_what_it_finds(
    start: Start, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    def look(places: Places) -> Look:
        found = take(places)
        if found.taken and Webhook.objects.exclude(url=receiver.url("/ok")).update(url=receiver.url("/ok")):
            webhooks.read()
        return found

    monkeypatch.setattr(sender, "take", look)
    webhook = await query(make, receiver.url("/old"))
    await query(write, webhook, 3)
    start()
    await ended(DeliveryStatus.DONE, 3)
    assert {call.path for call in receiver.calls} == {"/ok"}


async def test_deliveries_that_are_left_over_for_a_deleted_webhook_go(
    start: Start, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    """A process that has not read the webhooks again goes on writing them."""
    monkeypatch.setattr(sender, "UPKEEP_SECONDS", 0.02)
    monkeypatch.setattr(sender, "PURGE_EVERY", 1)
    off = await query(make, receiver.url("/ok"), enabled=False)
    gone = await query(make, receiver.url("/ok"))
    await query(Webhook.objects.filter(pk=gone.pk).delete)
    await query(webhooks.read)
    left_over = await query(write, gone, 2)
    waiting = await query(write, off, 2)
    start()
    await until(lambda: query(lambda: not rows(pk__in=left_over)))

    left_over = await query(write, gone)
    await until(lambda: query(lambda: not rows(pk__in=left_over)))
    assert sorted(row.pk for row in await query(rows)) == sorted(waiting)


async def _with_many_taken(start: Start, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Sending:
    """A sender that has 30 deliveries to a fast receiver: 8 are on their way, the others are sent next."""
    monkeypatch.setattr(places, "FAST_SECONDS", 3600.0)
    receiver.release()
    webhook = await query(make, receiver.url("/hold"))
    await query(write, webhook)
    sending = start()
    sending.sender.wake()
    await ended(DeliveryStatus.DONE)
    receiver.hold()
    await query(write, webhook, 30)
    sending.sender.wake()
    await until(lambda: len(receiver.calls) == 1 + MAX_OF_ONE)
    assert len(await query(rows, taken=True)) == 30
    return sending


def _is_idle(sending: Sending) -> bool:
    """True when nothing is on its way or comes next."""
    now = sending.sender._deliveries.places()
    return not now.on_their_way and not now.next
