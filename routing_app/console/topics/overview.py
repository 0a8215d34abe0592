"""The topic `overview`: everything of all workers at one glance, the last 15 minutes included."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar

from routing_app.console.access import VIEW_WEBHOOKS, Viewer
from routing_app.console.topics import params as checks
from routing_app.console.topics.topic import Topic
from routing_app.core.database import query
from routing_app.core.models import Delivery, DeliveryStatus, Webhook
from routing_app.core.monitoring.overview import Overview
from routing_app.core.worker import current_worker


class OverviewTopic(Topic):
    """The first message has the past, those after it what is now."""

    name = "overview"
    every_seconds: ClassVar = 1.0
    begins_otherwise = True

    def __init__(self) -> None:
        self._told: dict[tuple[Overview, Hashable], int] = {}
        """How many events the watches of each variant have."""

    def checked(self, params: dict[str, Any]) -> dict[str, Any]:
        """None. Raises TopicError."""
        checks.known(params, ())
        return {}

    def variant(self, viewer: Viewer) -> bool:
        """Webhooks are for those that may see them."""
        return viewer.has_perm(VIEW_WEBHOOKS)

    async def begin(self, viewer: Viewer, params: dict[str, Any]) -> Any:
        """With `past`, the series of 15 minutes, and the events that are kept."""
        overview = current_worker().monitor.overview
        found = await self._read(viewer, overview)
        del found["now"]
        past = await overview.past()
        # Last, with no wait behind it: what is noted later is told to a watch that has begun.
        _, events = overview.events_after(0)
        return found | {"past": past, "events": events}

    async def read(self, viewer: Viewer, params: dict[str, Any]) -> Any:
        """With `now`, the newest value of each series, and new events.

        A watch that has just begun may get an event twice; its `id` tells.
        """
        overview = current_worker().monitor.overview
        key = overview, self.variant(viewer)
        found = await self._read(viewer, overview)
        self._told[key], events = overview.events_after(self._told.get(key, 0))
        return found | {"events": events}

    async def _read(self, viewer: Viewer, overview: Overview) -> dict[str, Any]:
        found = await overview.read()
        allowed = viewer.has_perm(VIEW_WEBHOOKS) and found["health"]["database"]["ok"]
        return found | {"webhooks": await query(_webhooks) if allowed else None}


def _webhooks() -> dict[str, Any]:
    """Deliveries that wait, and webhooks that the server has switched off. Uses the ORM."""
    off = Webhook.objects.exclude(off_because="").order_by("name")
    pending = Delivery.objects.filter(status=DeliveryStatus.PENDING, webhook__enabled=True)
    return {"pending": pending.count(), "off": [str(one) for one in off]}
