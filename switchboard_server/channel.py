"""One HTTP connection: Twisted's parser, opened for three things that it hides.

An application learns that another request waits behind its own, `100 Continue` is sent when the application
receives the body, and a WebSocket gets the bytes that came behind its handshake.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from twisted.web.http import HTTPChannel

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
LINGER_SECONDS: Final = 3.0
"""Time a client has to close after an answer that came before the end of its body."""


class Awaited(asyncio.Queue[dict[str, Any]]):
    """The `receive` of a request whose client waits for `100 Continue` (RFC 9110, 10.1.1).

    The first receive sends it, so that a client does not send a body that the application does not read.
    """

    def __init__(self, ask: Callable[[], None]) -> None:
        super().__init__()
        self._ask: Callable[[], None] | None = ask
        self.whole = False
        """True once the body has come."""

    async def get(self) -> dict[str, Any]:
        """The next message."""
        ask, self._ask = self._ask, None
        if ask is not None:
            ask()
        return await super().get()

    def put_nowait(self, item: dict[str, Any]) -> None:
        """Queue a message; the empty body that Daphne queues before the real one has come is left out."""
        if self.whole or item["type"] != "http.request":
            super().put_nowait(item)


class HttpChannel(HTTPChannel):
    """Twisted's connection; its requests are of `http.WebRequest`."""

    def _send100Continue(self) -> None:  # noqa: N802 - Twisted's name
        """Twisted: the head of a request is complete, whose client waits to be asked for the body."""
        if self.length != 0:
            self.requests[-1].begin(self._command, self._path, self._version)

    def rawDataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Twisted: a part of a body, or of what comes behind a request that is not answered yet."""
        super().rawDataReceived(data)
        self._look_behind()

    def allContentReceived(self) -> None:  # noqa: N802 - Twisted's name
        """Twisted: a request is complete; with its body something may have come behind it."""
        super().allContentReceived()
        self._look_behind()

    def _look_behind(self) -> None:
        if self._handlingRequest and self.requests and any(self._dataBuffer):
            self.requests[0].another_waits()

    def take_rest(self) -> bytes:
        """Take the bytes that have come behind the request that is being answered."""
        rest, self._dataBuffer = b"".join(self._dataBuffer), []
        return rest

    def loseConnection(self) -> None:  # noqa: N802 - Twisted's name
        """Twisted: close behind what has been written, also while a body still comes."""
        if self._transferDecoder is None:
            super().loseConnection()
        else:
            self.turn_away()

    def turn_away(self) -> None:
        """Close, but read on and discard: a reset for unread bytes could overtake the answer."""
        # Twisted itself stops a channel's reading by replacing this method.
        self.dataReceived = lambda data: None  # type: ignore[method-assign]
        self._networkProducer.unregisterProducer()
        transport: Any = self.transport
        if self.isSecure():
            transport.loseConnection()
        else:
            transport.loseWriteConnection()
            asyncio.get_running_loop().call_later(LINGER_SECONDS, transport.abortConnection)
