"""Operators' use cases: publish to rooms, empty and delete them. For REST, the admin and scripts."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from routing_app.core.delivery.publication import MESSAGE
from routing_app.core.publishing import Outcome, disconnect_all_sync, publish_sync
from routing_app.rooms.models import Membership, Room
from routing_app.rooms.tasks import EVICT


def publish(rooms: QuerySet[Room], message: Any, sender: str) -> Outcome:
    """Send one EVENT to each member of rooms, once to a client that is in several."""
    addresses = [room.address for room in rooms]
    rooms.model.objects.filter(pk__in=[room.pk for room in rooms]).update(last_used_at=Now())
    return publish_sync(addresses, message, MESSAGE, sender)


def disconnect(rooms: QuerySet[Room]) -> Outcome:
    """End the connections of all members."""
    return disconnect_all_sync([room.address for room in rooms])


def delete(rooms: QuerySet[Room]) -> int:
    """Delete rooms; members are in them no longer, and may join again. Returns the number of rooms."""
    keys = list(rooms.values_list("namespace", "name"))
    Room.objects.filter(pk__in=list(rooms.values_list("pk", flat=True))).delete()
    transaction.on_commit(partial(_empty, keys))
    return len(keys)


def _empty(keys: list[tuple[str, str]]) -> None:
    for namespace, name in keys:
        publish_sync((Room(namespace=namespace, name=name).address,), [namespace, name], EVICT)


def members(room: Room) -> QuerySet[Membership]:
    """Members of a room now, with connections, in the order in which they joined."""
    return Membership.objects.present().filter(room=room).select_related("connection")
