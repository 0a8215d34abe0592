"""Presence of the events protocol, on all workers, as users and channels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import Count, F, Q, QuerySet, Value
from django.db.models.functions import Substr

from routing_app.core.models import ConnectionRecord, Subscription

PREFIX = "channel:"


def sockets() -> QuerySet[ConnectionRecord]:
    """The sockets of the events protocol."""
    return ConnectionRecord.objects.present().filter(protocol="events")


def sockets_of(root_id: str) -> QuerySet[ConnectionRecord]:
    """The sockets of one user."""
    return sockets().filter(identity=root_id)


def channel_ids(narrowed: Q) -> QuerySet[Subscription, Any]:
    """The ids of channels with a subscriber, as `{"channel_id": …}`, repeated for each socket; `narrowed` is
    a condition of subscriptions.
    """
    return _subscribed().filter(narrowed).values(channel_id=_channel_id())


def channels_of(root_id: str) -> list[str]:
    """The channels that a user's sockets subscribe to."""
    found = _subscribed().filter(connection__identity=root_id).values_list(_channel_id(), flat=True)
    return sorted(set(found))


def count_by_channel(ids: Iterable[str]) -> dict[str, int]:
    """The number of sockets on each of these channels; those without any are left out."""
    rows = _subscribed().filter(address__in=[PREFIX + id for id in ids])
    counted = rows.values("address").annotate(sockets=Count("connection")).values_list("address", "sockets")
    return {address.removeprefix(PREFIX): number for address, number in counted}


def _subscribed() -> QuerySet[Subscription]:
    return Subscription.objects.filter(connection__in=sockets(), address__startswith=PREFIX)


def _channel_id() -> Substr:
    return Substr(F("address"), Value(len(PREFIX) + 1))
