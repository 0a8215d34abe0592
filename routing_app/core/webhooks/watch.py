"""Keeps the webhooks that a process knows up to date, and has the hub report as long as one wants it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

from django.db.models import Exists, OuterRef

from routing_app.core.database import query
from routing_app.core.delivery.hub import Hub
from routing_app.core.delivery.publication import Publication
from routing_app.core.models.webhooks import Delivery, Webhook
from routing_app.core.webhooks.events import EventType
from routing_app.core.webhooks.known import FRESH_SECONDS, WEBHOOKS_CHANGED, webhooks
from routing_app.core.webhooks.occupancy import Occupancy
from routing_app.core.webhooks.published import PublishedMessages

logger = logging.getLogger(__name__)

READ_SECONDS: Final = 3.0
"""Between two looks at the rows: more often than FRESH_SECONDS, so that no report has to look."""
FORGET_SECONDS: Final = 3 * FRESH_SECONDS
"""A process may write deliveries to a webhook that is deleted until it has looked at the rows again."""

Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class WebhookWatch:
    """Reads the webhooks of one worker's process again and again."""

    def __init__(self, hub: Hub, published: PublishedMessages, occupancy: Occupancy, spawn: Spawn) -> None:
        self._hub = hub
        self._published = published
        self._occupancy = occupancy
        self._spawn = spawn
        self._reading: asyncio.Task[None] | None = None
        self.keeps_fresh = False
        self.on_read: list[Callable[[], None]] = []
        """Called on the loop after each look."""
        hub.on(WEBHOOKS_CHANGED, self._changed)

    async def start(self) -> None:
        """Know the webhooks from now on."""
        self.keeps_fresh = True
        await self.read()
        self._spawn(self._keep_fresh())

    async def read(self) -> None:
        """Read the rows; where that fails those that are known stay."""
        before = {one.id for one in webhooks.all}
        try:
            await query(webhooks.read)
        except Exception as error:
            logger.warning("the webhooks cannot be read: %s", type(error).__name__)
            return
        if before - {one.id for one in webhooks.all}:
            self._spawn(self._forget_left_over())
        self._use()
        for told in self.on_read:
            told()

    async def freshen(self) -> None:
        """Know the webhooks in a process that does not keep them fresh, such as a script."""
        if not webhooks.is_fresh:
            # One reading for all that wait, which go on in the order in which they came.
            if self._reading is None or self._reading.done():
                self._reading = self._spawn(self._freshen())
            await asyncio.shield(self._reading)
        self._use()

    async def _freshen(self) -> None:
        try:
            await query(webhooks.freshen)
        except Exception as error:
            logger.warning("the webhooks cannot be read: %s", type(error).__name__)

    def _use(self) -> None:
        wanted = webhooks.any_wants(EventType.MESSAGE_PUBLISHED)
        self._hub.published = self._published if wanted else None
        if self.keeps_fresh:
            self._occupancy.use()

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(READ_SECONDS)
            await self.read()

    def _changed(self, publication: Publication) -> int:
        self._spawn(self.read())
        return 0

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
