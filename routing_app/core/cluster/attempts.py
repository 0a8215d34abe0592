"""Attempts to send one envelope, until the layer takes it or the time for it is over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from routing_app.core import metrics
from routing_app.core.cluster.envelope import UNENCODABLE, Envelope, armour

logger = logging.getLogger(__name__)

PAUSE_SECONDS: Final = 0.05
"""Between the first two attempts; twice as long after each one."""


async def send_within(
    seconds: float,
    items: list[Any],
    make: Callable[[], Envelope],
    send: Callable[[Envelope], Awaitable[None]],
) -> bool:
    """Send an envelope, which `make` makes for each attempt; False when it is not taken within `seconds`.

    Those of its `items` that have no form for the layer are lost, and taken out of the list.
    """
    deadline = asyncio.get_running_loop().time() + seconds
    pause = PAUSE_SECONDS
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                await send(make())
        except UNENCODABLE:
            if armour(items):  # in the log, too
                continue
            return True  # nothing is left of it, which is counted: as if sent
        except Exception as error:
            metrics.LAYER_ERRORS.inc()
            if asyncio.get_running_loop().time() + pause > deadline:
                logger.warning("channel layer: cannot send: %s", error)
                return False
        else:
            return True
        await asyncio.sleep(pause)
        pause *= 2
