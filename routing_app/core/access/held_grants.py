"""Grants that open connections hold: checked again, brought up to date, and ended with what they stand on.

An access token ends by itself (`expiry`). A key can be revoked or changed, and a staff session ends without a
word to this process, so the database is asked for them every CHECK_SECONDS.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from routing_app.core.access import standing
from routing_app.core.access.expiry import Expiries
from routing_app.core.access.grants import Grant, GrantKind
from routing_app.core.codes import EXPIRED
from routing_app.core.database import query
from routing_app.core.delivery.connection import Connection, ConnectionState

logger = logging.getLogger(__name__)

CHECK_SECONDS: Final = 4.0
"""Between two checks: a connection whose key or session has ended is closed within five seconds."""

Changed = Callable[[], None]


class HeldGrants:
    """The grants of one worker's connections."""

    def __init__(self, expiries: Expiries) -> None:
        self._expiries = expiries
        self._held: dict[Connection, Changed | None] = {}
        """Connections with the grant of a key or a staff session."""

    def hold(self, connection: Connection, grant: Grant, changed: Changed | None = None) -> None:
        """Give a connection a grant in place of its former one.

        When that ends, the connection is closed with 4005; when it gives more or less than before, the
        connection has the new one, and `changed` is called.
        """
        connection.grant = grant
        self._expiries.watch(connection)
        if grant.kind in (GrantKind.KEY, GrantKind.STAFF):
            self._held[connection] = changed
        else:
            self._held.pop(connection, None)

    def forget(self, connection: Connection) -> None:
        """Let go of a connection that has left."""
        self._held.pop(connection, None)
        self._expiries.forget(connection)

    async def watch(self) -> None:
        """Check again and again, until the task is cancelled."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            try:
                await self.recheck()
            except Exception as error:
                logger.warning("keys and staff sessions cannot be checked: %s", type(error).__name__)

    async def recheck(self) -> None:
        """End connections whose key or staff session is not valid any more; bring the others up to date."""
        if not self._held:
            return
        checked = {connection: connection.grant for connection in self._held}
        valid = await query(standing.current, set(checked.values()))
        for connection, before in checked.items():
            # It may have left, or have presented something else, while the database was asked.
            if connection.grant is not before or connection not in self._held:
                continue
            now = valid.get(before)
            if now is None:
                connection.close(EXPIRED)
            elif now != before:
                changed = self._held[connection]
                self.hold(connection, now, changed)
                if changed is not None and connection.state is ConnectionState.OPEN:
                    changed()
