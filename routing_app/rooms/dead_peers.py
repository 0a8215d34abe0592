"""Peers whose worker has died: it cannot say LEFT any more, so another worker takes them out of their lobby.

A member whose worker's lease has lapsed counts as gone: presence is a lease. After an outage of the
database every lease has lapsed until it is renewed, so a member has to be missing in two looks. A worker that
was not dead finds that its members are gone, and brings them back.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from routing_app.core.leases.presence import RENEW_SECONDS
from routing_app.core.worker import Worker
from routing_app.rooms.lobbies import lobbies_of
from routing_app.rooms.lobby_changes import ChangeKind
from routing_app.rooms.members import RoomKey

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = RENEW_SECONDS
"""Between two looks: long enough for every living worker to renew its lease."""


class DeadPeers:
    """Looks at the lobbies that have a member here."""

    def __init__(self, worker: Worker) -> None:
        self._lobbies = lobbies_of(worker)
        self._missing: set[tuple[RoomKey, str]] = set()

    async def watch(self) -> None:
        """Look until the worker stops; what was asked for by then is written."""
        try:
            while True:
                await asyncio.sleep(LOOK_SECONDS)
                await self.look()
        finally:
            await self._lobbies.writes.settled()

    async def look(self) -> None:
        """Compare the replicas here with the rows, and end members that are missing twice. Never raises."""
        try:
            states = await self._lobbies.look()
        except Exception as error:
            logger.warning("rooms: cannot look for absent peers: %s", type(error).__name__)
            self._missing = set()
            return
        lapsed = {(e.room, e.connection): e for state in states.values() for e in state.lapsed}
        # REAP looks at the lease once more in its transaction: a worker that has renewed since keeps its
        # members.
        for peer in lapsed.keys() & self._missing:
            self._lobbies.submit(ChangeKind.REAP, lapsed[peer])
        self._missing = set(lapsed)
