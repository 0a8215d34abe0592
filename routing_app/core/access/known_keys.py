"""API keys that this process has just checked, so that not every call asks the database.

A key is remembered for two seconds at most, and forgotten at once when a key is revoked or changed anywhere
(`revocation`). Only keys that were found are remembered: a wrong one is always looked up.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Final

from routing_app.core.access import keys
from routing_app.core.database import query
from routing_app.core.delivery.publication import Publication
from routing_app.core.models import ApiKey

REMEMBERED_SECONDS: Final = 2.0
MAX_KEYS: Final = 10_000


class KnownKeys:
    """The keys of one process, by the hash of what was presented."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._rows: dict[str, tuple[ApiKey, float]] = {}
        self._forgotten = 0

    async def find(self, plain: str) -> ApiKey | None:
        """The row of a key that is valid, or was two seconds ago; None for a wrong or revoked one."""
        digest = keys.digest(plain)
        row, until = self._rows.get(digest, (None, 0.0))
        if row is not None and self._clock() < until:
            return row
        before = self._forgotten
        row = await query(keys.find, plain)
        if before != self._forgotten:  # the row may have been read before the key was revoked
            return row
        if row is None:
            self._rows.pop(digest, None)
            return None
        if len(self._rows) >= MAX_KEYS:
            self._rows.clear()
        self._rows[digest] = (row, self._clock() + REMEMBERED_SECONDS)
        return row

    def forget(self, publication: Publication) -> int:
        """Forget everything: some key has changed. Handles `worker.KEYS_REVOKED`."""
        self._rows.clear()
        self._forgotten += 1
        return 0
