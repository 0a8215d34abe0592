"""Moves messages whose time has come into the table of the outbox, whose sender publishes them.

That is one transaction: from its commit on a message can be withdrawn no more, and is published by whichever
worker lives. The time is that of the database, so a clock that is set in one process makes nothing early or
late.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from time import monotonic
from typing import Any, Final

from django.db import connection, transaction
from django.db.models.functions import Now

from routing_app.core.database import query
from routing_app.core.models.outbox_messages import TABLE
from routing_app.core.models.scheduled_messages import ScheduledMessage
from routing_app.core.scheduled.expired import forget_sent
from routing_app.core.transactional.listener import CHANNEL

logger = logging.getLogger(__name__)

CHUNK: Final = 1000
"""Messages that are moved in one transaction."""
LOOK_SECONDS: Final = 0.5
"""Longest time between two looks while a message waits: the clock of the database may be set."""
IDLE_SECONDS: Final = 5.0
"""The same while none waits and PostgreSQL tells of new ones."""
BUSY_SECONDS: Final = 0.05
"""Until another look while another worker moves."""
RETRY_SECONDS: Final = 1.0
"""After a failure."""
FORGET_SECONDS: Final = 60.0
"""Between two looks for ids that are known no longer."""
FROZEN_SECONDS: Final = 2
"""PostgreSQL ends the transaction of a worker that has stopped in the middle of it."""
LOCK: Final = 0x5377_4C61_7465_7221
"""Name of the advisory lock of the worker that moves, so that messages keep the order of their times."""
MOVE: Final = (
    f"INSERT INTO {TABLE} (id, addresses, message, sender, caller, publish_id)"  # noqa: S608 - constants
    " SELECT name, addresses, message, sender, CASE WHEN publish_id = '' THEN '' ELSE caller END, publish_id"
    f" FROM {ScheduledMessage._meta.db_table} WHERE number IN (%s) ORDER BY at, number"
    " ON CONFLICT DO NOTHING"
)

Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class Mover:
    """Moves for one worker, as long as it lives; `moved` is called when something is in the outbox."""

    def __init__(self, spawn: Spawn, listens: Callable[[], bool], moved: Callable[[], None]) -> None:
        self._spawn = spawn
        self._listens = listens
        self._moved = moved
        self._work = asyncio.Event()

    def start(self) -> None:
        """Look into the table from now on."""
        self._spawn(self._run())

    def wake(self) -> None:
        """There may be a message that is due before the next look."""
        self._work.set()

    async def _run(self) -> None:
        forgotten_at = -FORGET_SECONDS
        while True:
            self._work.clear()
            try:
                if monotonic() - forgotten_at > FORGET_SECONDS:
                    forgotten_at = monotonic()
                    await query(forget_sent)
                pause = await self._move_all()
            except Exception as error:
                logger.warning("scheduled messages wait: %s", type(error).__name__)
                pause = RETRY_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._work.wait()

    async def _move_all(self) -> float:
        """Move what is due; how long to sleep."""
        while (due := await query(_seconds_to_next)) is not None and due <= 0:
            if not await query(move_due):
                return BUSY_SECONDS
            self._moved()
        if due is not None:
            return min(due, LOOK_SECONDS)
        return IDLE_SECONDS if self._listens() else LOOK_SECONDS


def _seconds_to_next() -> float | None:
    """Until the next message is due; None when none waits."""
    waiting = ScheduledMessage.objects.waiting().order_by("at", "number")
    first = waiting.annotate(now=Now()).values_list("at", "now").first()
    return None if first is None else (first[0] - first[1]).total_seconds()


def move_due() -> int:
    """Move the oldest messages that are due; how many. 0, too, while another worker moves them."""
    with transaction.atomic():
        due = ScheduledMessage.objects.waiting().filter(at__lte=Now()).order_by("at", "number")
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL idle_in_transaction_session_timeout = '{FROZEN_SECONDS}s'")
                cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK])
                if not cursor.fetchone()[0]:
                    return 0
            # A row that is locked is just being withdrawn.
            due = due.select_for_update(skip_locked=True)
        numbers = list(due.values_list("number", flat=True)[:CHUNK])
        if not numbers:
            return 0
        moved = ScheduledMessage.objects.filter(number__in=numbers)
        with connection.cursor() as cursor:
            cursor.execute(MOVE % ", ".join(["%s"] * len(numbers)), numbers)
        moved.exclude(publish_id="").update(sent_at=Now(), addresses=[], message=None, sender="")
        moved.filter(publish_id="").delete()
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(f"NOTIFY {CHANNEL}")
    return len(numbers)
