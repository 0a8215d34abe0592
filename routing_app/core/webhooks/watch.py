"""Keeps the webhooks that a process knows up to date, and has the hub report as long as one wants it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from django.db.models import Exists, OuterRef

from routing_app.core.database import query
from routing_app.core.delivery.hub import Hub
from routing_app.core.eager import Spawn
from routing_app.core.fresh_rows import FreshRows
from routing_app.core.models.webhooks import Delivery, Webhook
from routing_app.core.webhooks.events import EventType
from routing_app.core.webhooks.known import FRESH_SECONDS, WEBHOOKS_CHANGED, webhooks
from routing_app.core.webhooks.occupancy import Occupancy
from routing_app.core.webhooks.published import PublishedMessages

logger = logging.getLogger(__name__)

FORGET_SECONDS: Final = 3 * FRESH_SECONDS
"""A process may write deliveries to a webhook that is deleted until it has looked at the rows again."""


class WebhookWatch(FreshRows[set[int]]):
    """Reads the webhooks of one worker's process again and again: these are `webhooks`, which threads use.

    The rows that it loads are the ids of those that have gone.
    """

    rows_name = "webhooks"

    def __init__(self, hub: Hub, published: PublishedMessages, occupancy: Occupancy, spawn: Spawn) -> None:
        super().__init__(spawn)
        self._hub = hub
        self._published = published
        self._occupancy = occupancy
        self.on_read: list[Callable[[], None]] = []
        """Called on the loop after each look."""
        hub.on(WEBHOOKS_CHANGED, self.changed)

    @property
    def is_fresh(self) -> bool:
        """True when somebody in this process has read them a moment ago."""
        return webhooks.is_fresh

    def load(self) -> set[int]:
        """Read them; those that have gone. Uses the ORM."""
        before = {one.id for one in webhooks.all}
        webhooks.read()
        return before - {one.id for one in webhooks.all}

    def use(self, rows: set[int]) -> None:
        """Report to those that are there now."""
        if rows:
            self._spawn(self._forget_left_over())
        self._report()
        for told in self.on_read:
            told()

    async def freshen(self) -> None:
        """Know the webhooks in a process that does not keep them fresh, such as a script."""
        await super().freshen()
        self._report()

    def _report(self) -> None:
        wanted = webhooks.any_wants(EventType.MESSAGE_PUBLISHED)
        self._hub.published = self._published if wanted else None
        if self.keeps_fresh:
            self._occupancy.use()

    async def _forget_left_over(self) -> None:
        """Delete deliveries to a webhook that was deleted while another process still wrote some."""
        await asyncio.sleep(FORGET_SECONDS)
        try:
            await query(forget_left_over)
        except Exception as error:
            logger.warning("deliveries of deleted webhooks stay: %s", type(error).__name__)


def forget_left_over() -> int:
    """Delete deliveries that have no webhook; their number."""
    there = Webhook.objects.filter(pk=OuterRef("webhook_id"))
    return Delivery.objects.filter(~Exists(there)).delete()[0]
