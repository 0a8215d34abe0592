"""Reports of events: rows of the outbox, written in the transaction of the change that they tell of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from django.db import transaction
from django.utils import timezone

from routing_app.core import json
from routing_app.core.access.masking import SecretAccess, shown_address
from routing_app.core.database import insert_rows
from routing_app.core.models.webhooks import Delivery, DeliveryStatus, new_delivery_id
from routing_app.core.webhooks.events import EventType
from routing_app.core.webhooks.known import KnownWebhook, webhooks

FIELDS: Final = ("id", "webhook", "type", "body", "status", "attempts", "last_error")
"""Of a new delivery; the database gives it its times."""
NO_SECRETS: Final = SecretAccess()
"""The secrets that a webhook sees whole, unless it names their addresses."""

written: Final[list[Callable[[], None]]] = []
"""Called after a commit of new deliveries, in whatever thread."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that has happened; `address` where it has happened at one, `at` where that was not just now.

    Where `data` has the address, a webhook that names no addresses gets it masked if it lets somebody in.
    """

    type: EventType
    data: Mapping[str, Any]
    address: str | None = None
    at: datetime | None = None


class Body(NamedTuple):
    """The body of a call to one webhook."""

    webhook: int
    type: EventType
    body: str


def is_wanted(type: str) -> bool:
    """True when a webhook wants events of this type. To be called as `report`."""
    webhooks.freshen()
    return webhooks.any_wants(type)


def report(*events: Event) -> None:
    """Have events delivered to the webhooks that want them, if the present transaction commits.

    To be called in a thread that may use the database, inside the transaction of the change. Without a
    webhook it costs one query in FRESH_SECONDS at most.
    """
    webhooks.freshen()
    write(events)


def write(events: Iterable[Event]) -> None:
    """The same by the webhooks that are known already."""
    if webhooks:
        write_for((one, event) for event in events for one in webhooks.wanting(event.type, event.address))


def write_for(pairs: Iterable[tuple[KnownWebhook, Event]]) -> None:
    """The same, each event for the webhook beside it."""
    now = timezone.now()
    write_bodies(Body(one.id, event.type, body_of(_as_seen_by(one, event), now)) for one, event in pairs)


def write_bodies(bodies: Iterable[Body]) -> None:
    """The same with the bodies of the calls."""
    rows = [
        (new_delivery_id(), one.webhook, one.type.value, one.body, DeliveryStatus.PENDING.value, 0, "")
        for one in bodies
    ]
    if rows:
        insert_rows(Delivery, FIELDS, rows)
        transaction.on_commit(_tell)


def body_of(event: Event, now: datetime) -> str:
    """The body of a call: `{"type", "timestamp", "data"}`, as Standard Webhooks recommends."""
    at = (event.at or now).astimezone(UTC)
    timestamp = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"type": event.type.value, "timestamp": timestamp, "data": event.data})


def _as_seen_by(webhook: KnownWebhook, event: Event) -> Event:
    if event.address is None or webhook.addresses:
        return event
    shown = shown_address(NO_SECRETS, event.address)
    if shown == event.address:
        return event
    return Event(event.type, {**event.data, "address": shown}, event.address, event.at)


def _tell() -> None:
    for told in written:
        told()
