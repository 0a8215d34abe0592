"""Publications that other processes, or this one, will not get: each is counted once, and logged."""

from __future__ import annotations

import logging
from typing import Final

from routing_app.core import metrics
from routing_app.core.codes import Loss

logger = logging.getLogger(__name__)

LOST: Final = "$lost"
"""Event of a publication in place of others that were lost on their way to its addresses."""
ANYWHERE: Final = "anywhere"
"""The message of one that says: to any address."""


def count_layer_down(items: int) -> None:
    """Count publications that no other process will get."""
    if items:
        logger.warning("channel layer down, %d messages lost to other processes", items)
        metrics.LOST.labels(Loss.LAYER_DOWN).inc(items)


def count_backlog_full() -> None:
    """Count a publication that found no room in the backlog."""
    metrics.LOST.labels(Loss.LAYER_BACKLOG).inc()


def count_gap() -> None:
    """Count a gap whose clients were told."""
    metrics.LOST.labels(Loss.LAYER_GAP).inc()
    logger.warning("messages of other processes are missing: their clients are told")


def count_worker_died() -> None:
    """Count that a worker has died with what it had not sent yet."""
    metrics.LOST.labels(Loss.WORKER_DIED).inc()
    logger.warning("a worker has died: what it had taken and not sent yet is missing")


def count_store_down() -> None:
    """Count a publication that the store of streams did not take."""
    metrics.LOST.labels(Loss.STORE_DOWN).inc()
    logger.warning("the store of streams is out: a message is lost")
