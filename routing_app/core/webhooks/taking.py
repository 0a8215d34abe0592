"""Takes deliveries that are due, so that no other worker sends them meanwhile. Uses the ORM."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from random import sample
from time import monotonic
from typing import Any, Final, NamedTuple

from django.db import transaction
from django.db.models import OuterRef, Subquery
from django.db.models.functions import Now

from routing_app.core.models.webhooks import Delivery, DeliveryStatus, Webhook
from routing_app.core.webhooks.places import Places, Taken, room_for
from routing_app.core.webhooks.target import OLD_SIGNS, target_of

TIMEOUT_SECONDS: Final = 10.0
LATEST_SECONDS: Final = 10.0
"""A delivery that was taken so long ago and is not on its way is left to others."""
TAKEN: Final = timedelta(seconds=30)
"""Longer than both, and what is written of an attempt: a worker that has not ended it counts as dead."""


class Look(NamedTuple):
    """What a look into the table has found."""

    taken: list[Taken]
    """The deliveries to send next."""
    left: frozenset[int]
    """The webhooks that had no room for more, and may have more that are due."""


def take(places: Places) -> Look:
    """Take the deliveries to send next.

    Workers lock the rows and skip those that another has locked; SQLite has one writer at a time anyway.
    """
    began = monotonic()
    found = list(_with_some_due())
    # Those with the least on their way first: none is always the last.
    webhooks = sorted(sample(found, len(found)), key=lambda one: places.on_their_way.get(one.pk, 0))
    free, spare = places.free, places.spare
    if not any(places.wanted(one.pk, free, spare) for one in webhooks):
        return Look([], frozenset(one.pk for one in webhooks))
    taken: list[Taken] = []
    left = set()
    with transaction.atomic():
        for webhook in webhooks:
            wanted = places.wanted(webhook.pk, free, spare)
            rows = _lock(webhook, wanted, began) if wanted else []
            if len(rows) == wanted:
                left.add(webhook.pk)
            begin = min(len(rows), room_for(places.on_their_way.get(webhook.pk, 0), free))
            free, spare = free - begin, spare - (len(rows) - begin)
            taken += rows
        Delivery.objects.filter(pk__in=[one.id for one in taken]).update(next_at=Now() + TAKEN, taken=True)
    return Look(taken, frozenset(left))


def give_back(ids: Iterable[str]) -> None:
    """Have deliveries sent by another worker at once: this one stops."""
    pending = Delivery.objects.filter(pk__in=list(ids), status=DeliveryStatus.PENDING)
    pending.update(next_at=Now(), taken=False)


def _with_some_due() -> Any:
    """The webhooks that are on and have deliveries which are due.

    By the first of each, so that PostgreSQL looks at one entry of the index for each webhook; it reads all
    of the table where it is asked which have any.
    """
    waiting = Delivery.objects.filter(webhook=OuterRef("pk"), next_at__isnull=False).order_by("next_at")
    rows = Webhook.objects.filter(enabled=True).alias(first=Subquery(waiting.values("next_at")[:1]))
    return rows.filter(first__lte=Now()).order_by().annotate(old_signs=OLD_SIGNS)


def _lock(webhook: Any, most: int, began: float) -> list[Taken]:
    # Only pending ones have a next attempt.
    due = Delivery.objects.filter(webhook=webhook, next_at__lte=Now())
    rows = due.order_by("next_at").select_for_update(skip_locked=True)
    target = target_of(webhook)
    return [
        Taken(pk, webhook.pk, body, attempts, target, began)
        for pk, body, attempts in rows.values_list("pk", "body", "attempts")[:most]
    ]
