"""Receives PostgreSQL's NOTIFY on a connection of its own, and connects again when that is lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import psycopg
from django.db import connection
from psycopg.conninfo import make_conninfo

logger = logging.getLogger(__name__)

CHANNEL: Final = "switchboard_outbox"
RETRY_SECONDS: Final = 1.0


class Listener:
    """Calls `told` whenever rows were committed, and once after it has connected: it may have missed some."""

    def __init__(self, told: Callable[[], None]) -> None:
        self._told = told
        self.listens = False

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            try:
                await self._listen()
            except (psycopg.Error, OSError) as error:
                logger.debug("notifications of the database do not come: %s", type(error).__name__)
            finally:
                self.listens = False
            await asyncio.sleep(RETRY_SECONDS)

    async def _listen(self) -> None:
        listening = await psycopg.AsyncConnection.connect(_conninfo(), autocommit=True)
        async with listening:
            await listening.execute(f"LISTEN {CHANNEL}")
            self.listens = True
            self._told()
            await self._receive(listening)

    async def _receive(self, listening: psycopg.AsyncConnection) -> None:
        """Not by `listening.notifies()`, which wakes up ten times a second when nothing comes."""
        server = listening.pgconn
        while True:
            server.consume_input()
            if server.notifies() is not None:
                while server.notifies() is not None:
                    pass  # one call is enough for all
                self._told()
            await _readable(server.socket)


async def _readable(descriptor: int) -> None:
    """Wait until there is something to read.

    The loop lets go of the descriptor before anything is read: libpq closes it by itself when it reads that
    the connection has ended, and the loop would take the next socket of that number for one that it knows,
    and never look at it.
    """
    loop = asyncio.get_running_loop()
    there_is = asyncio.Event()
    loop.add_reader(descriptor, there_is.set)
    try:
        await there_is.wait()
    finally:
        loop.remove_reader(descriptor)


def _conninfo() -> str:
    """The parameters of Django's connections that libpq takes."""
    known = {one.keyword.decode() for one in psycopg.pq.Conninfo.get_defaults()}
    parameters = connection.get_connection_params()
    return make_conninfo(**{name: value for name, value in parameters.items() if name in known})
