"""What is done for the table of deliveries now and then. Uses the ORM."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.conf import settings
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from routing_app.core import metrics
from routing_app.core.models.webhooks import Delivery, Webhook
from routing_app.core.webhooks.known import webhooks
from routing_app.core.webhooks.retries import DELAYS, longest_wait
from routing_app.core.webhooks.taking import TAKEN

AT_ONCE: Final = 5_000
"""Rows that one statement deletes."""


def purge_some() -> int:
    """Delete up to AT_ONCE deliveries that ended WEBHOOK_DAYS ago or earlier; how many there were."""
    if not settings.WEBHOOK_DAYS:
        return 0
    old = Delivery.objects.filter(ended_at__lte=Now() - timedelta(days=settings.WEBHOOK_DAYS))
    ids = list(old.order_by("ended_at").values_list("pk", flat=True)[:AT_ONCE])
    return Delivery.objects.filter(pk__in=ids).delete()[0]


def forget_left_over() -> int:
    """Delete what is to be delivered to webhooks that were deleted; how many deliveries there were.

    A process may write some until it has read the webhooks again, or where it has died before.
    """
    there = Webhook.objects.filter(pk=OuterRef("webhook_id"))
    return Delivery.objects.filter(~Exists(there), next_at__isnull=False).delete()[0]


def waits_too_long() -> bool:
    """True when a delivery waits longer than any does: the database's clock was set back."""
    return _too_long().exists()


def mend_waits() -> int:
    """Make them due.

    To be called when `waits_too_long` has been true for half a minute: calls that were on their way when the
    clock was set have ended then, and no worker sends a delivery that another one still does.
    """
    return _too_long().update(next_at=Now())


def _too_long() -> QuerySet[Delivery]:
    waits = Q(attempts=0, next_at__gt=Now() + TAKEN * 2)
    for attempts in range(1, len(DELAYS) + 1):
        waits |= Q(attempts=attempts, next_at__gt=Now() + longest_wait(attempts) + TAKEN)
    return Delivery.objects.filter(waits)


def count_pending() -> None:
    """Bring the gauge up to date."""
    pending = Delivery.objects.filter(next_at__isnull=False, webhook__enabled=True)
    metrics.WEBHOOK_PENDING.set(pending.count() if webhooks else 0)
