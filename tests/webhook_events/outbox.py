"""The outbox of webhooks as a test looks at it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from routing_app.core.models.webhooks import Delivery, Webhook
from routing_app.core.webhooks.known import webhooks


def subscribe(*types: str, addresses: Sequence[str] = ()) -> Webhook:
    """A webhook that this process knows at once. It is sent nothing where no worker runs."""
    row = Webhook.objects.create(
        name="test", url="https://example.com/", events=list(types), addresses=list(addresses), secret="s"
    )
    webhooks.read()
    return row


def told(webhook: Webhook | None = None) -> list[tuple[str, dict[str, Any]]]:
    """Type and data of all that was written, of one webhook or of all."""
    rows = Delivery.objects.all() if webhook is None else Delivery.objects.filter(webhook=webhook)
    bodies = [json.loads(body) for body in rows.values_list("body", flat=True)]
    assert all(list(body) == ["type", "timestamp", "data"] for body in bodies)
    return [(body["type"], body["data"]) for body in bodies]


def told_of(type: str) -> list[dict[str, Any]]:
    """The data of all events of one type."""
    return [data for one, data in told() if one == type]


def counted() -> Counter[str]:
    """The number of events of each type."""
    return Counter(type for type, _ in told())
