"""Keeps the webhooks that a process knows up to date, and has the hub report as long as one wants it."""

from __future__ import annotations

from collections.abc import Callable

from routing_app.core.delivery.hub import Hub
from routing_app.core.eager import Spawn
from routing_app.core.fresh_rows import FreshRows
from routing_app.core.webhooks.events import EventType
from routing_app.core.webhooks.known import WEBHOOKS_CHANGED, webhooks
from routing_app.core.webhooks.occupancy import Occupancy
from routing_app.core.webhooks.published import PublishedMessages


class WebhookWatch(FreshRows[None]):
    """Reads the webhooks of one worker's process again and again: these are `webhooks`, which threads use."""

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

    def load(self) -> None:
        """Read them. Uses the ORM."""
        webhooks.read()

    def use(self, rows: None) -> None:
        """Report to those that are there now."""
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
