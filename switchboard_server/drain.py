"""Stopping in order: say so, refuse, close in batches, let every application clean up, exit 0."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Any, Final

from twisted.internet import reactor as _reactor

from switchboard_server.websocket import SocketState, WebSocket

if TYPE_CHECKING:
    from switchboard_server.server import Server

logger = logging.getLogger("switchboard.drain")
reactor: Any = _reactor  # a module that Twisted replaces by an object

BATCH: Final = 100
"""Sockets closed at once, so that their clients do not come back all in the same moment."""
PAUSE: Final = 0.02
"""Seconds between batches."""
CODE: Final = 1012
REASON: Final = "service restart"
LAST_STEP: Final = 0.5
"""Seconds a retiring worker leaves for the requests of connections that it had accepted."""
CANCEL_SECONDS: Final = 1.0
"""Seconds that applications get to end after they are cancelled at the limit."""
STOP_SECONDS: Final = 2.0
"""Seconds for the application to end its lifespan."""


class Drain:
    """One stop of a server.

    A server that stops alone goes on accepting, so that /health is answered, and refuses new sockets. One
    that retires leaves accepting to other workers on the same listening socket, and refuses nobody.
    """

    def __init__(self, server: Server, retire: bool) -> None:
        self._server = server
        self._retire = retire
        self._loop = asyncio.get_event_loop()
        self._deadline = self._loop.time() + server.options.drain_seconds

    def start(self) -> None:
        """Begin; returns at once."""
        logger.info("draining %d sockets", len(self._server.sockets))
        self._server.state["draining"] = True
        if self._retire:
            self._stop_listening()
        else:
            self._server.refusing = True
        self._task = self._loop.create_task(self._run())

    def hurry(self) -> None:
        """A second signal: end at once."""
        logger.warning("stopped at once by a second signal")
        os._exit(1)

    async def _run(self) -> None:
        try:
            if self._retire:
                await asyncio.sleep(LAST_STEP)
            await self._close_connections()
            await self._wait_for_applications()
            await self._cancel_applications()
            await asyncio.wait_for(self._server.lifespan.shutdown(), STOP_SECONDS)
        except Exception:
            logger.exception("the drain was cut short")
        self._stop_listening()
        reactor.stop()

    async def _close_connections(self) -> None:
        """First the application closes its connections in its own words, then we close what is left."""
        try:
            await asyncio.wait_for(self._server.lifespan.drain(), self._left())
        except Exception:
            logger.exception("the application could not close its connections")
        for number, websocket in enumerate(list(self._server.sockets)):
            self._close(websocket)
            if number % BATCH == BATCH - 1:
                await asyncio.sleep(PAUSE)

    async def _wait_for_applications(self) -> None:
        while self._left() > 0 and (self._server.sockets or self._server.applications()):
            # Handshakes that were under way become sockets meanwhile.
            for websocket in list(self._server.sockets):
                self._close(websocket)
            await asyncio.sleep(PAUSE)

    @staticmethod
    def _close(websocket: WebSocket) -> None:
        if websocket.state is SocketState.OPEN:
            websocket.close(CODE, REASON)

    async def _cancel_applications(self) -> None:
        tasks = self._server.applications()
        if tasks:
            logger.warning("%d handlers did not end within the limit and are cancelled", len(tasks))
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=CANCEL_SECONDS)

    def _left(self) -> float:
        return max(0.0, self._deadline - self._loop.time())

    def _stop_listening(self) -> None:
        ports, self._server.ports = self._server.ports, []
        for port in ports:
            port.stopListening()
