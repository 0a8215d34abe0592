"""The one channel that a process receives on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from routing_app.core import metrics
from routing_app.core.cluster.envelope import Envelope

logger = logging.getLogger(__name__)


class Channel:
    """The channel of one process; `take` is called with each envelope."""

    def __init__(self, layer: Any, take: Callable[[Envelope], None]) -> None:
        self._layer = layer
        self._take = take
        self.name = ""
        """Its name at the layer, empty before it is made."""

    async def make(self) -> None:
        """Have the layer make a channel."""
        self.name = await self._layer.new_channel("hub.")

    async def read(self) -> None:
        """Take what comes; no failure ends it."""
        while True:
            try:
                envelope = await self._layer.receive(self.name)
            except Exception as error:
                metrics.LAYER_ERRORS.inc()
                logger.warning("channel layer: cannot receive: %s", error)
                await asyncio.sleep(0.5)
                continue
            try:
                self._take(envelope)
            except Exception:
                logger.exception("an envelope of another process could not be read")
