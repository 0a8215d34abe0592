"""The rules of webhooks: what is saved, secrets, tests and replays. Uses the ORM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from routing_app.core.models.webhooks import Delivery, DeliveryStatus, Webhook
from routing_app.core.outgoing import urls
from routing_app.core.outgoing.signature import new_secret
from routing_app.core.webhooks.events import NEEDS_ADDRESSES, EventType
from routing_app.core.webhooks.notice import tell_webhooks_changed
from routing_app.core.webhooks.report import Event, body_of
from routing_app.core.worker import wake_webhooks


def refusal_of(url: Any) -> str:
    """A sentence for a URL that webhooks may not call, else an empty string. Waits for the name."""
    return "" if settings.WEBHOOKS_PRIVATE else urls.refusal_of(url)


def check_addressed(events: Sequence[str], addresses: Sequence[str]) -> None:
    """Raise ValidationError where events are wanted that only webhooks with addresses are told of."""
    for type in NEEDS_ADDRESSES:
        if not addresses and {type.value, f"{type.partition('.')[0]}.*"} & set(events):
            raise ValidationError({"addresses": f"{type} needs addresses: there may be very many"})


def prepare(row: Webhook, changes: Mapping[str, Any]) -> None:
    """Before a webhook is saved with these changes: a new one has a secret, one that is on is not failing."""
    if not row.secret:
        row.secret = new_secret()
    if changes.get("enabled", False):
        row.failing_since, row.off_because = None, ""


def tell_changed() -> None:
    """Tell every worker after the commit."""
    # Robust: what is committed holds, and is read by every worker, also where it cannot be told.
    transaction.on_commit(tell_webhooks_changed, robust=True)


def rotate(webhook: Webhook) -> str:
    """The new secret; the one until now signs, too, for ROTATION, and none that is older."""
    secret = new_secret()
    Webhook.objects.filter(pk=webhook.pk).update(old_secret=F("secret"), secret=secret, rotated_at=Now())
    return secret


def test(webhook: Webhook) -> Delivery:
    """Have one event delivered whose only use is to be received. Raises ValidationError."""
    if not webhook.enabled:
        raise ValidationError("The webhook is off.")
    body = body_of(Event(EventType.TEST, {"webhook": webhook.pk}), timezone.now())
    row = Delivery.objects.create(webhook=webhook, type=EventType.TEST.value, body=body)
    transaction.on_commit(wake_webhooks)
    return row


AGAIN: Final[dict[str, Any]] = {
    "status": DeliveryStatus.PENDING,
    "attempts": 0,
    "next_at": Now(),
    "ended_at": None,
}
"""The columns of a delivery that begins from the first attempt on."""


def replay(delivery: Delivery) -> None:
    """Deliver an event again, from the first attempt on; one that waits is sent at once.

    One that is on its way stays as it is: it is never sent twice at the same time.
    """
    rows = Delivery.objects.filter(pk=delivery.pk)
    if not rows.exclude(status=DeliveryStatus.PENDING).update(**AGAIN):
        rows.filter(status=DeliveryStatus.PENDING, taken=False).update(next_at=Now())
    transaction.on_commit(wake_webhooks)


def replay_failed(webhook: Webhook) -> int:
    """Deliver all events again that were given up, from the first attempt on; how many there are."""
    again = webhook.deliveries.filter(status=DeliveryStatus.FAILED).update(**AGAIN)
    transaction.on_commit(wake_webhooks)
    return again
