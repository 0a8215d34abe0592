"""One sweep for all sockets: deadlines and pings, without a timer per connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from switchboard_server.websocket import SocketLimits, SocketState, WebSocket


class Heartbeat:
    """Looks at every socket a few times per ping interval, at least once a second (0.2 µs a socket).

    `on_tick(now)` is called before each sweep with the time of the loop.

    The process, or its whole machine, may have stood still: that time counts for nobody.
    """

    def __init__(
        self, sockets: Collection[WebSocket], limits: SocketLimits, on_tick: Callable[[float], object]
    ) -> None:
        self._sockets = sockets
        self._limits = limits
        self._on_tick = on_tick
        waits = [wait for wait in (limits.ping_interval, limits.ping_timeout) if wait > 0]
        self._period = min([1.0, *(wait / 4 for wait in waits)])

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin, and go on until the loop ends."""
        self._beat(loop, loop.time())

    def _beat(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        now = loop.time()
        loop.call_later(self._period, self._beat, loop, now + self._period)
        if (late := now - due) > self._period:
            for websocket in self._sockets:
                websocket.excuse(late)
        self.sweep(now)

    def sweep(self, now: float) -> None:
        """Do what is due at this time."""
        self._on_tick(now)
        limits = self._limits
        silent_since = now - limits.ping_interval if limits.ping_interval > 0 else -1.0
        oldest = now - limits.lifetime if limits.lifetime >= 0 else -1.0
        for websocket in list(self._sockets):
            if websocket.deadline:
                if now >= websocket.deadline:
                    websocket.deadline_passed()
            elif websocket.state is SocketState.OPEN:
                if websocket.received_at <= silent_since:
                    websocket.check_alive(now, limits.ping_timeout)
                if websocket.opened_at <= oldest:
                    websocket.close(1000)
