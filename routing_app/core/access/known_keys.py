"""API keys that this process has just checked, so that not every call asks the database.

A key is remembered for two seconds at most, never after it has expired, and forgotten at once when a key is
revoked or changed anywhere (`key_changes`). Only keys that were found are remembered: a wrong one is always
looked up.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, time
from typing import Final

from routing_app.core.access import keys
from routing_app.core.access.grants import Grant
from routing_app.core.database import query
from routing_app.core.delivery.publication import Publication

REMEMBERED_SECONDS: Final = 2.0
MAX_KEYS: Final = 10_000


class KnownKeys:
    """What the keys of one process allow, by the hash of what was presented."""

    def __init__(self, clock: Callable[[], float] = monotonic, wall: Callable[[], float] = time) -> None:
        self._clock = clock
        self._wall = wall
        self._grants: dict[str, tuple[Grant, float]] = {}
        self._forgotten = 0

    async def find(self, plain: str) -> Grant | None:
        """The rights of a key that is valid, or was two seconds ago; None for a wrong, revoked or expired
        one.
        """
        digest = keys.digest(plain)
        known, until = self._grants.get(digest, (None, 0.0))
        if known is not None and self._clock() < until and self._wall() < known.expires_at:
            return known
        before = self._forgotten
        grant = await query(_look_up, plain)
        if before != self._forgotten:  # the row may have been read before the key was revoked
            return grant
        if grant is None:
            self._grants.pop(digest, None)
            return None
        if len(self._grants) >= MAX_KEYS:
            self._grants.clear()
        self._grants[digest] = (grant, self._clock() + REMEMBERED_SECONDS)
        return grant

    def forget(self, publication: Publication) -> int:
        """Forget everything: some key has changed. Handles `worker.KEYS_REVOKED`."""
        self.clear()
        return 0

    def clear(self) -> None:
        """Forget everything, also what is being asked."""
        self._grants.clear()
        self._forgotten += 1


def _look_up(plain: str) -> Grant | None:
    row = keys.find(plain)
    return None if row is None else keys.grant_of(row)
