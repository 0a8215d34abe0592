"""Peers whose worker has died: it cannot say LEFT any more, so every other worker says it to its own members.

A member whose worker's lease has lapsed counts as gone: presence is a lease. After an outage of the
database every lease has lapsed until it is renewed, so a member has to be missing in two looks.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from routing_app.core.presence import RENEW_SECONDS
from routing_app.core.publication import Publication
from routing_app.core.worker import Worker
from routing_app.rooms import records, wire
from routing_app.rooms.member import roll
from routing_app.rooms.models import address

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = RENEW_SECONDS
"""Between two looks: long enough for every living worker to renew its lease."""

Peer = tuple[str, str]
"""Lobby, and the id by which peers know a member."""


class Absences:
    """What the lobby members of one worker have been told about peers of dead workers."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._missing: set[Peer] = set()
        self._told: set[Peer] = set()

    async def watch(self) -> None:
        """Look until the worker stops."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Say LEFT for peers that are missing a second time, JOINED for those that are back. Never raises."""
        try:
            await self._compare()
        except Exception as error:
            logger.warning("rooms: cannot look for absent peers: %s", type(error).__name__)
            self._missing = set()

    async def _compare(self) -> None:
        lobbies = {name for namespace, name in roll(self._worker).rooms() if namespace == wire.LOBBY}
        self._told = {peer for peer in self._told if peer[0] in lobbies}
        missing = await records.lapsed_peers(lobbies, self._worker.id) if lobbies else set()
        for peer in (missing & self._missing) - self._told:
            self._tell("LEFT", peer)
            self._told.add(peer)
        self._missing = missing
        for peer in self._told - missing:
            self._told.discard(peer)
            if peer[1] in await records.nicknames((wire.LOBBY, peer[0])):
                self._tell("JOINED", peer)

    def _tell(self, event: str, peer: Peer) -> None:
        """To the members here alone: every worker looks for itself."""
        lobby, id = peer
        self._worker.hub.deliver(Publication((address(wire.LOBBY, lobby),), [id], event))
