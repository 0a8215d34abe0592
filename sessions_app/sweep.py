"""Periodic work of every serving process: end what is over, and repair what a crash or outage left.

Slots do not wait for it: a create ends what is over by itself. The sweep makes endings visible in time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import UTC
from time import monotonic
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db.models.functions import TruncDay

from routing_app.core.codes import TERMINATED
from routing_app.core.database import query
from sessions_app.commands import End, Sweep, Unbind
from sessions_app.coordinator import Coordinator
from sessions_app.models import EventKind, Session, SessionEvent, seconds_ago
from sessions_app.store import SERVER, AccountKey
from sessions_app.wire import TERMINATE

logger = logging.getLogger(__name__)

SWEEP_SECONDS: Final = 5.0
RECONCILE_SECONDS: Final = 5.0
PURGE_SECONDS: Final = 3600.0
MOMENT_SECONDS: Final = 0.5
"""A message that stops a player, and says why, comes so soon after its row has gone."""
ACCOUNTS: Final = 1000
"""Accounts of one sweep."""
ACCOUNTS_AT_ONCE: Final = 50
"""Accounts in one transaction: a create in between waits for no more than that."""
EVENTS_AT_ONCE: Final = 10_000


async def run_periodically(coordinator: Coordinator) -> None:
    """Run each job at its interval, until the process ends."""
    due: dict[Callable[[Coordinator], Awaitable[None]], tuple[float, float]] = {
        end_lapsed: (SWEEP_SECONDS, 0.0),
        reconcile: (RECONCILE_SECONDS, 0.0),
        purge: (PURGE_SECONDS, 0.0),
    }
    try:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            for job, (every, last) in due.items():
                if monotonic() - last >= every:
                    due[job] = (every, monotonic())
                    await _try(job, coordinator)
    finally:
        await coordinator.writes.settled()


async def _try(job: Callable[[Coordinator], Awaitable[None]], coordinator: Coordinator) -> None:
    try:
        await job(coordinator)
    except Exception as error:
        logger.warning("sessions: %s failed and is tried again: %s", job.__name__, type(error).__name__)


async def end_lapsed(coordinator: Coordinator) -> None:
    """End sessions whose deadline has passed, or whose worker's lease and grace are over."""
    keys = await query(_lapsed_accounts)
    for start in range(0, len(keys), ACCOUNTS_AT_ONCE):
        await asyncio.gather(
            *[coordinator.submit(Sweep(key)) for key in keys[start : start + ACCOUNTS_AT_ONCE]]
        )


def _lapsed_accounts() -> list[AccountKey]:
    rows = Session.objects.lapsed().values_list("account__publisher__name", "account__customer").distinct()
    return [AccountKey(*row) for row in rows[:ACCOUNTS]]


async def reconcile(coordinator: Coordinator) -> None:
    """Make sockets and rows agree, whatever message or write was lost.

    A row bound to a connection that this process does not have is unbound, or ends if its player was stopped.
    A socket whose session is gone, or bound elsewhere, is told to stop: its slot may have been given away.
    """
    # Sockets first, rows second: a socket is bound after its row is committed. One that was bound before the
    # read and has no row in it has lost the row.
    bound = {id: one.bound_to for id, one in coordinator.sockets.items() if one.bound_to is not None}
    stopped = frozenset(coordinator.stopped)
    stored = await query(_bound_to, coordinator.worker.id)
    lost = [session for id, session in stored.items() if id not in coordinator.sockets]
    if lost:
        commands = await query(_repairs, lost, frozenset(coordinator.stopped))
        await asyncio.gather(*[coordinator.submit(command) for command in commands])
    # Of those that were stopped before the read: one that was bound and stopped since may have a row.
    coordinator.stopped -= stopped - stored.keys()
    if without_row := {id: session for id, session in bound.items() if id not in stored}:
        await _stop_players(coordinator, without_row)


async def _stop_players(coordinator: Coordinator, bound: Mapping[str, UUID]) -> None:
    """Tell connections to stop that are still bound to sessions without having their rows.

    Mostly a TAKE_OVER, which names who has taken over, is on its way to them.
    """
    await asyncio.sleep(MOMENT_SECONDS)
    stored = await query(_bound_to, coordinator.worker.id)
    for id, session in bound.items():
        socket = coordinator.sockets.get(id)
        if socket is not None and socket.bound_to == session and id not in stored:
            socket.end(TERMINATE, TERMINATED)


def _bound_to(worker_id: str) -> dict[str, UUID]:
    return dict(Session.objects.filter(worker=worker_id).values_list("connection_id", "pk"))


def _repairs(sessions: list[UUID], stopped: Collection[str]) -> list[Unbind | End]:
    """A command for each session that is still bound: it ends if its connection is one of `stopped`."""
    rows = Session.objects.filter(pk__in=sessions).exclude(connection_id="")
    commands: list[Unbind | End] = []
    for row in rows.select_related("account__publisher"):
        key, connection = AccountKey(row.account.publisher.name, row.account.customer), row.connection_id
        if connection in stopped:
            why = "its worker lost the database"
            commands.append(End(key, row.pk, EventKind.EXPIRED, SERVER, why, connection))
        else:
            commands.append(Unbind(key, row.pk, connection))
    return commands


async def purge(coordinator: Coordinator) -> None:
    """Forget history that is older than SESSIONS_HISTORY_DAYS; 0 keeps it."""
    if settings.SESSIONS_HISTORY_DAYS:
        while await query(_purge_some) == EVENTS_AT_ONCE:
            await asyncio.sleep(0.1)


def _purge_some() -> int:
    # Days of UTC go as a whole, so that usage has the whole day in which the history begins.
    oldest = TruncDay(seconds_ago(settings.SESSIONS_HISTORY_DAYS * 86400), tzinfo=UTC)
    old = SessionEvent.objects.filter(at__lt=oldest)
    ids = list(old.order_by("at").values_list("pk", flat=True)[:EVENTS_AT_ONCE])
    return SessionEvent.objects.filter(pk__in=ids).delete()[0]
