"""What has become of the events of each webhook: numbers and last answers. Uses the ORM."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import Count, Q, QuerySet

from routing_app.core.models.webhooks import Delivery, DeliveryStatus, Webhook

RECENT: Final = 10_000
"""Deliveries of a webhook that are looked at, the newest: a table of millions is not read to be counted."""
LAST: Final = 50
"""Deliveries of a webhook among which the last answer is looked for."""


@dataclass(frozen=True, slots=True)
class WebhookState:
    """The deliveries of a webhook: all that wait, and of the newest RECENT those that ended."""

    webhook: int
    pending: int
    done: int
    failed: int
    last_status: int | None = None
    last_error: str = ""
    """The answer to the newest event that was sent, or why there is none."""


def states(webhooks: Iterable[Webhook]) -> list[WebhookState]:
    """The state of each."""
    return [_state(webhook) for webhook in webhooks]


def _state(webhook: Webhook) -> WebhookState:
    newest: QuerySet[Delivery, Any] = webhook.deliveries.order_by("-created_at", "-id")
    pending = webhook.deliveries.filter(next_at__isnull=False).count()
    ended = newest[:RECENT].aggregate(
        done=Count("pk", filter=Q(status=DeliveryStatus.DONE)),
        failed=Count("pk", filter=Q(status=DeliveryStatus.FAILED)),
    )
    for attempts, last_status, last_error in newest.values_list("attempts", "last_status", "last_error")[
        :LAST
    ]:
        if attempts:
            return WebhookState(webhook.pk, pending, **ended, last_status=last_status, last_error=last_error)
    return WebhookState(webhook.pk, pending, **ended)
