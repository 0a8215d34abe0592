"""The end of tasks: they are cancelled until they have ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Any, Final

logger = logging.getLogger(__name__)

AGAIN_SECONDS: Final = (0.5, 0.5, 1.0, 1.0, 1.0)
"""Waits for tasks, each after they are cancelled."""


async def end_tasks(tasks: Iterable[asyncio.Task[Any]], waits: Sequence[float] = AGAIN_SECONDS) -> None:
    """Cancel tasks, and wait until they have ended; one that goes on after the last of `waits` is left.

    Once is not enough: before Python 3.12 `asyncio.wait_for`, through which redis-py sends, returns a result
    that comes in the same turn of the loop, and the cancellation is lost (python/cpython#86296); and an error
    on the way out may take its place.
    """
    left = set(tasks)
    for seconds in waits:
        for task in left:
            task.cancel()
        if left:
            ended, left = await asyncio.wait(left, timeout=seconds)
            await asyncio.gather(*ended, return_exceptions=True)
    for task in left:
        logger.error("a task does not end: %r", task)
