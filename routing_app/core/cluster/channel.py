"""The one channel that a process receives on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from routing_app.core import metrics
from routing_app.core.cluster.envelope import Envelope
from routing_app.core.ending import end_tasks

logger = logging.getLogger(__name__)


class Channel:
    """The channel of one process; `take` is called with each envelope that comes once it is open.

    It is read as soon as it is made: a process whose subscriptions fail half-way may be a member of groups,
    and what comes by them would pile up. What it drops then it asks for when it is open.
    """

    def __init__(self, layer: Any, take: Callable[[Envelope], None]) -> None:
        self._layer = layer
        self._take = take
        self.name = ""
        """Its name at the layer, empty before it is made; of a closed one until there is another."""
        self._reader: asyncio.Task[None] | None = None
        self._is_open = False

    async def make(self) -> str:
        """Have the layer make it, unless an attempt to open it that failed has left it behind."""
        if self._reader is None:
            self.name = await self._layer.new_channel("hub.")
            self._reader = asyncio.ensure_future(self._read())
        return self.name

    def open(self) -> asyncio.Task[None]:
        """Take what comes from now on; the task that does."""
        assert self._reader is not None
        self._is_open = True
        return self._reader

    async def close(self) -> None:
        """Take nothing any more; `make` makes another."""
        reader, self._reader, self._is_open = self._reader, None, False
        if reader is not None:
            await end_tasks([reader])

    async def _read(self) -> None:
        while True:
            try:
                envelope = await self._layer.receive(self.name)
            except Exception as error:
                metrics.LAYER_ERRORS.inc()
                logger.warning("channel layer: cannot receive: %s", error)
                await asyncio.sleep(0.5)
                continue
            if not self._is_open:
                continue
            try:
                self._take(envelope)
            except Exception:
                logger.exception("an envelope of another process could not be read")
