"""Tasks beside the sockets of a worker: rows after an outage, deleted and unused rooms, absent peers."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from django.conf import settings

from routing_app.core.delivery.publication import Publication
from routing_app.core.worker import Worker
from routing_app.rooms import records, wire
from routing_app.rooms.lobbies import lobbies_of
from routing_app.rooms.members import MemberRegistry, members_of
from routing_app.rooms.service import forget_room

logger = logging.getLogger(__name__)

EVICT: Final = "$rooms.evict"
"""Event of a publication that empties a room; its message is `[namespace, name]`."""
PERIOD_SECONDS: Final = 30.0


def restore(worker: Worker, mine: MemberRegistry) -> asyncio.Future[None]:
    """Write memberships again; those in lobbies have an order of their own, and follow."""
    entries = list(mine.entries())

    def restore_lobbies(done: asyncio.Future[None]) -> None:
        lobbies_of(worker).restore(entry for entry in mine.entries() if entry.room[0] == wire.LOBBY)

    done = records.restore(worker, [entry for entry in entries if entry.room[0] != wire.LOBBY])
    done.add_done_callback(restore_lobbies)
    return done


def evict(worker: Worker, mine: MemberRegistry, publication: Publication) -> int:
    """Empty a room; returns the number of its members here."""
    connections = worker.hub.members(publication.addresses[0], publication.published_at)
    members = [mine.find(connection) for connection in connections]
    namespace, name = publication.message
    for member in members:
        if member is not None:
            forget_room(member, (namespace, name))
    return len(members)


async def keep_on(worker: Worker) -> None:
    """Do the upkeep until the worker stops."""
    while True:
        await asyncio.sleep(PERIOD_SECONDS)
        await keep(worker)


async def keep(worker: Worker) -> None:
    """Write when rooms were used last, and delete those that nobody has needed for long. Never raises."""
    mine = members_of(worker)
    used, mine.used = mine.used, set()
    try:
        await records.touch(worker, used)
        if settings.ROOMS_KEEP_SECONDS:
            await records.forget_unused(worker, settings.ROOMS_KEEP_SECONDS)
    except Exception as error:
        logger.warning("rooms: upkeep failed: %s", type(error).__name__)
