"""The counts on the index of the admin, as the database has them now."""

from __future__ import annotations

from typing import Any, Final

from django import template
from django.db.models import Count

from routing_app.core.models import ConnectionRecord, WorkerRecord
from routing_app.core.protocol import registered
from sessions_app.models import Session

VIEW_SESSIONS: Final = "sessions_app.view_session"

register = template.Library()


@register.simple_tag
def live_counts(user: Any) -> list[tuple[str, int]]:
    """Names and counts: connections of each protocol and all of them, workers, and sessions for those who may
    see them. Uses the ORM.
    """
    rows = ConnectionRecord.objects.present().order_by().values_list("protocol")
    connections: dict[str, int] = dict(rows.annotate(Count("pk")))
    of_clients = [protocol for protocol in registered() if not protocol.of_operators]
    shown = [(protocol.label or protocol.name, connections.get(protocol.name, 0)) for protocol in of_clients]
    counts = [*shown, ("All connections", sum(count for _, count in shown))]
    counts.append(("Workers", WorkerRecord.objects.alive().count()))
    if user.has_perm(VIEW_SESSIONS):
        counts.append(("Sessions that are played", Session.objects.live().count()))
    return counts
