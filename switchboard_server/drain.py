"""A stop in order: refuse new sockets, close the open ones in batches, wait for the applications, exit 0."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Collection
from typing import Final, NoReturn, Protocol

from switchboard_server.lifespan import ApplicationLifespan
from switchboard_server.websocket import SocketState, WebSocket

logger = logging.getLogger("switchboard.drain")

BATCH: Final = 100
"""Sockets closed at once; a pause follows, so that their clients do not all come back in one moment."""
PAUSE: Final = 0.02
"""Seconds between batches."""
CODE: Final = 1012
REASON: Final = "service restart"
LAST_REQUESTS_SECONDS: Final = 0.5
"""Seconds after which a retiring worker closes its sockets at the earliest: requests may be on their way over
connections that it had accepted."""
FIRST_REQUEST_SECONDS: Final = 5.0
"""Longest wait of a retiring worker for the first request of a connection that it had accepted, and for the
answer to a handshake: the client could not know, and would see a failed connect."""
CANCEL_SECONDS: Final = 1.0
"""Seconds that applications get to end after they are cancelled at the limit."""
STOP_SECONDS: Final = 15.0
"""Longest time for the application to end its lifespan: it may write the streams that it keeps in memory."""


class DrainingServer(Protocol):
    """The server as its drain sees it."""

    @property
    def sockets(self) -> Collection[WebSocket]:
        """Sockets that are not lost."""

    @property
    def lifespan(self) -> ApplicationLifespan:
        """The application's."""

    @property
    def answering(self) -> bool:
        """Whether an HTTP request is under way."""

    @property
    def awaiting(self) -> bool:
        """Whether a connection has not sent its first request."""

    def applications(self) -> list[asyncio.Task[None]]:
        """Tasks of sockets and requests that have not ended."""

    def begin_draining(self, refuse: bool) -> None:
        """Tell the applications; with `refuse` answer new sockets with 503."""

    def stop_listening(self) -> None:
        """Accept no more connections."""

    def stop(self) -> None:
        """Return from `run`."""


def end_now() -> NoReturn:
    """A second signal: end the process without waiting for anything."""
    logger.warning("stopped at once by a second signal")
    os._exit(1)


class Drain:
    """One stop of a server, within `seconds`.

    A server that stops alone goes on accepting, so that /health is answered, and refuses new sockets. One
    that retires leaves accepting to other workers on the same listening socket, and refuses nobody.
    """

    def __init__(self, server: DrainingServer, seconds: float, retire: bool) -> None:
        self._server = server
        self._retire = retire
        self._loop = asyncio.get_event_loop()
        self._began = self._loop.time()
        self._deadline = self._began + seconds

    def start(self) -> None:
        """Begin; returns at once."""
        logger.info("draining %d sockets", len(self._server.sockets))
        self._server.begin_draining(refuse=not self._retire)
        if self._retire:
            self._server.stop_listening()
        self._task = self._loop.create_task(self._run())

    async def _run(self) -> None:
        try:
            if self._retire:
                await self._serve_the_last_clients()
            await self._close_connections()
            await self._wait_for_applications()
            await self._cancel_applications()
            await asyncio.wait_for(self._server.lifespan.shutdown(), STOP_SECONDS)
        except Exception:
            logger.exception("the drain was cut short")
        self._server.stop_listening()
        self._server.stop()

    async def _serve_the_last_clients(self) -> None:
        """Let clients in that had connected: once it is told of the drain, an application refuses them."""
        await asyncio.sleep(LAST_REQUESTS_SECONDS)
        while self._left() > 0 and (self._waits_for_first_requests() or self._waits_for_handshakes()):
            await asyncio.sleep(PAUSE)

    async def _close_connections(self) -> None:
        """First the application closes its connections with its own codes, then we close what is left."""
        try:
            await asyncio.wait_for(self._server.lifespan.drain(), self._left())
        except Exception:
            logger.exception("the application could not close its connections")
        for number, websocket in enumerate(list(self._server.sockets)):
            self._close(websocket)
            if number % BATCH == BATCH - 1:
                await asyncio.sleep(PAUSE)

    async def _wait_for_applications(self) -> None:
        server = self._server
        while self._left() > 0 and (
            server.sockets or server.applications() or server.answering or self._waits_for_first_requests()
        ):
            # Handshakes that were under way when the drain began have become sockets since.
            for websocket in list(self._server.sockets):
                self._close(websocket)
            await asyncio.sleep(PAUSE)

    def _waits_for_first_requests(self) -> bool:
        return self._retire and self._has_patience() and self._server.awaiting

    def _waits_for_handshakes(self) -> bool:
        return self._has_patience() and any(
            websocket.state is SocketState.HANDSHAKE for websocket in self._server.sockets
        )

    def _has_patience(self) -> bool:
        return self._loop.time() - self._began < FIRST_REQUEST_SECONDS

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
