"""Reports of published messages, by the worker that publishes them.

No rows change with a message, so it is told beside its way to the receivers, who wait for nothing: what the
database does not take is counted as lost.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from functools import partial
from typing import Any, Final

from django.utils import timezone

from routing_app.core import metrics
from routing_app.core.codes import Loss
from routing_app.core.database import GroupedWrites, Overloaded
from routing_app.core.delivery.publication import INTERNAL, Publication
from routing_app.core.webhooks.events import EventType
from routing_app.core.webhooks.known import webhooks
from routing_app.core.webhooks.report import Body, Event, body_of, write_bodies

logger = logging.getLogger(__name__)

MAX_WAITING: Final = 32 * 2**20
"""Characters of messages that may wait for the database."""


class PublishedMessages:
    """Those of one worker, for webhooks that name addresses."""

    def __init__(self) -> None:
        self._writes = GroupedWrites()
        self._waiting = 0

    def note(self, publication: Publication, id: str = "") -> None:
        """A message is published; `id` is the one that its publisher gave."""
        if publication.event.startswith(INTERNAL):
            return
        at = timezone.now()
        id = id or publication.id or secrets.token_hex(8)
        for address in publication.addresses:
            if not (wanting := webhooks.wanting(EventType.MESSAGE_PUBLISHED, address)):
                continue
            data = {
                "address": address,
                "message": publication.message,
                "sender": publication.sender,
                "id": id,
            }
            # Encoded at once: the publisher may change its object afterwards.
            try:
                body = body_of(Event(EventType.MESSAGE_PUBLISHED, data), at)
            except (TypeError, ValueError, RecursionError) as error:
                logger.warning("a message for webhooks has no form in JSON: %s", type(error).__name__)
                metrics.LOST.labels(Loss.UNENCODABLE).inc()
                continue
            for one in wanting:
                self._submit(Body(one.id, EventType.MESSAGE_PUBLISHED, body))

    async def settled(self) -> None:
        """Wait until all is written."""
        await self._writes.settled()

    def _submit(self, body: Body) -> None:
        size = len(body.body)
        if self._waiting + size > MAX_WAITING:
            metrics.LOST.labels(Loss.UNREPORTED).inc()
            return
        try:
            written = self._writes.submit_item(write_bodies, body)
        except Overloaded:
            metrics.LOST.labels(Loss.UNREPORTED).inc()
            return
        self._waiting += size
        written.add_done_callback(partial(self._written, size))

    def _written(self, size: int, written: asyncio.Future[Any]) -> None:
        self._waiting -= size
        if not written.cancelled() and written.exception() is not None:
            metrics.LOST.labels(Loss.UNREPORTED).inc()
