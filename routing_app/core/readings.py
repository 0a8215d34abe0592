"""Gauges that a worker reads while it serves: how late its loop is, what waits, what it is connected to."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from django.db import connections

from routing_app.core import metrics
from routing_app.core.durations import publish_all

if TYPE_CHECKING:
    from routing_app.core.cluster.spread import AnyRelay
    from routing_app.core.delivery.connection import Connection
    from routing_app.core.delivery.hub import Hub

LAG_SECONDS: Final = 0.25
"""Between two looks at how late the event loop is."""
PAUSE_SECONDS: Final = 1.0
"""Between two readings of the rest, where they take little."""
SHARE: Final = 500
"""Pauses are at least so many times as long as the reading before took: 0.2 % of a core."""
SLICE: Final = 1000
"""Outboxes looked at before other callbacks of the loop get a turn."""


class Readings:
    """The gauges of one worker."""

    def __init__(self, hub: Hub, relay: AnyRelay) -> None:
        self._hub = hub
        self._relay = relay
        self._worst_lag = 0.0
        self.outbox_bytes = 0
        """Bytes that waited for clients at the last reading."""
        self.pool: dict[str, int] = {}
        """Connections of the database's pool by state at the last reading; empty without one."""

    def take_worst_lag(self) -> float:
        """By how much the event loop was late at most, in seconds, since the last call."""
        worst, self._worst_lag = self._worst_lag, 0.0
        return worst

    async def time_loop(self) -> None:
        """Observe how late the event loop is, without end."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_SECONDS
            await asyncio.sleep(LAG_SECONDS)
            late = max(0.0, loop.time() - due)
            metrics.LOOP_LAG.observe(late)
            self._worst_lag = max(self._worst_lag, late)

    async def read_all(self) -> None:
        """Set the gauges and show other processes what was observed, without end."""
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            metrics.TASKS.set(len(asyncio.all_tasks()))
            if self._relay.reaches_others:
                metrics.REDIS_UP.set(self._relay.answers)
            self.pool = _read_pool()
            publish_all()
            took = loop.time() - begun + await self._read_outboxes()
            await asyncio.sleep(max(PAUSE_SECONDS, SHARE * took))

    async def _read_outboxes(self) -> float:
        """Add up what waits in outboxes and at the server; returns the seconds that it took."""
        loop = asyncio.get_running_loop()
        total, took = 0, 0.0
        connections = self._hub.connections()
        for start in range(0, len(connections), SLICE):
            begun = loop.time()
            total += sum(map(_waiting, connections[start : start + SLICE]))
            took += loop.time() - begun
            await asyncio.sleep(0)
        metrics.OUTBOX_BYTES.set(total)
        self.outbox_bytes = total
        return took


def _waiting(connection: Connection) -> int:
    return connection.outbox.size + connection.writer.held_bytes()


def _read_pool() -> dict[str, int]:
    """Read psycopg's pool; SQLite has none."""
    database = connections["default"]
    if database.vendor != "postgresql" or (pool := getattr(database, "pool", None)) is None:
        return {}
    stats = {} if pool.closed else pool.get_stats()  # one that is not open yet counts what it will have
    size, idle = stats.get("pool_size", 0), stats.get("pool_available", 0)
    states = {"used": size - idle, "idle": idle, "waiting": stats.get("requests_waiting", 0)}
    for state, count in states.items():
        metrics.DATABASE_POOL.labels(state).set(count)
    return states
