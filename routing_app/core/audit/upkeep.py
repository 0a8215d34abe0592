"""The audit log's work beside requests: old entries go, and counted refusals are written."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Final

from django.conf import settings
from django.db.models.functions import Now

from routing_app.core.audit.entries import keep
from routing_app.core.audit.refusals import FLUSH_SECONDS, REFUSALS
from routing_app.core.database import query
from routing_app.core.models import AuditEntry

logger = logging.getLogger(__name__)

PURGE_EVERY: Final = 60
"""Flushes between two purges."""
AT_ONCE: Final = 10_000
"""Entries that one statement deletes."""


async def keep_on() -> None:
    """Do it until the worker stops."""
    turn = 0
    try:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            keep(REFUSALS.counted())
            if turn % PURGE_EVERY == 0:
                await _try_purge()
            turn += 1
    finally:
        keep(REFUSALS.counted())


async def _try_purge() -> None:
    try:
        await purge()
    except Exception as error:
        logger.warning("audit: old entries stay for another hour: %s", type(error).__name__)


async def purge() -> None:
    """Delete what is older than AUDIT_DAYS; 0 keeps everything."""
    if settings.AUDIT_DAYS:
        while await query(purge_some) == AT_ONCE:
            await asyncio.sleep(0.1)


def purge_some() -> int:
    """Delete up to AT_ONCE old entries; how many there were."""
    old = AuditEntry.objects.filter(at__lt=Now() - timedelta(days=settings.AUDIT_DAYS))
    ids = list(old.order_by("at").values_list("pk", flat=True)[:AT_ONCE])
    return AuditEntry.objects.filter(pk__in=ids).delete()[0]
