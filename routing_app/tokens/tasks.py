"""The table at TOKENS_URL: imported when a worker starts, and again every TOKENS_REFRESH_SECONDS."""

from __future__ import annotations

import asyncio
import logging
from random import uniform
from typing import Final

from django.conf import settings

from routing_app.core.codes import TOKEN_UNREGISTERED
from routing_app.core.database import query
from routing_app.core.worker import Worker
from routing_app.tokens import imports, wire

logger = logging.getLogger(__name__)

MAX_LINES: Final = 20
"""Skipped entries of one import that are logged each; the others are counted."""


async def keep_refreshing(worker: Worker) -> None:
    """Import until the worker stops. Workers differ by up to a fifth, so that they do not all ask at once."""
    while True:
        await asyncio.sleep(settings.TOKENS_REFRESH_SECONDS * uniform(0.9, 1.1))  # noqa: S311 - jitter
        await refresh(worker)


async def refresh(worker: Worker) -> None:
    """Import TOKENS_URL once. A failure is one line in the log, and the last good table stays."""
    where = imports.location(settings.TOKENS_URL)
    try:
        rows = await asyncio.to_thread(imports.read, settings.TOKENS_URL)
        outcome = await query(imports.store, rows)
    except Exception as error:
        logger.warning("tokens: import from %s failed, the last table stays: %s", where, error)
        return
    logger.info("tokens: import from %s: %s", where, outcome)
    for skipped in outcome.skipped[:MAX_LINES]:
        logger.warning("tokens: import from %s skipped %s", where, skipped)
    if not settings.TOKENS_ALLOW_UNREGISTERED:
        for token in outcome.revoked:
            await worker.hub.close(wire.own_address(token), TOKEN_UNREGISTERED)
