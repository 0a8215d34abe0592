"""Accepts connections of a listening socket that does not encrypt."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from typing import Final

from switchboard_server.plain_socket import PlainSocket

logger = logging.getLogger("switchboard.server")

AT_ONCE: Final = 100
"""Connections accepted before those that are there get a turn."""
RETRY_SECONDS: Final = 1.0
"""Pause when the process or the system has no descriptor or memory left for a connection."""
EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Acceptor:
    """Makes a `PlainSocket` for each connection, with a protocol of `protocol`, until `close`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listening: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
    ) -> None:
        self._loop = loop
        self._listening = listening
        self._protocol = protocol
        self._retry: asyncio.TimerHandle | None = None
        self._begin()

    def close(self) -> None:
        """Accept no more, and listen no more."""
        if self._retry is not None:
            self._retry.cancel()
        self._loop.remove_reader(self._listening.fileno())
        self._listening.close()

    def _begin(self) -> None:
        self._retry = None
        self._loop.add_reader(self._listening.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            try:
                own, address = self._listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:  # the client has gone again
                continue
            except OSError as error:
                if error.errno not in EXHAUSTED:
                    raise
                logger.warning("no connection can be accepted for %g s: %s", RETRY_SECONDS, error)
                self._loop.remove_reader(self._listening.fileno())
                self._retry = self._loop.call_later(RETRY_SECONDS, self._begin)
                return
            own.setblocking(False)
            PlainSocket(self._loop, own, address, self._protocol())
