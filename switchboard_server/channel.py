"""One HTTP connection: Twisted's parser, and what it would keep to itself.

An application is told that a further request waits behind its own, and asks itself for a body that the client
sends only when asked to; a socket gets the bytes that came behind its handshake.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from twisted.web.http import HTTPChannel

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
LINGER_SECONDS: Final = 3.0
"""How long a client may go on sending what nobody reads, after the answer."""


class Awaited(asyncio.Queue[dict[str, Any]]):
    """The `receive` of a request whose client waits for `100 Continue` (RFC 9110, 10.1.1).

    The first receive asks the client for its body, so that one that is not wanted is not sent.
    """

    def __init__(self, ask: Callable[[], None]) -> None:
        super().__init__()
        self._ask: Callable[[], None] | None = ask
        self.whole = False
        """Whether the body has come."""

    async def get(self) -> dict[str, Any]:
        """The next message."""
        ask, self._ask = self._ask, None
        if ask is not None:
            ask()
        return await super().get()

    def put_nowait(self, item: dict[str, Any]) -> None:
        """Queue a message; what Daphne takes for the body before it has come is left out."""
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
        """Close, and read on without looking: a close with unread bytes would reset the answer away."""
        # Twisted ends its own reading in this way, too.
        self.dataReceived = lambda data: None  # type: ignore[method-assign]
        self._networkProducer.unregisterProducer()
        transport: Any = self.transport
        if self.isSecure():
            transport.loseConnection()
        else:
            transport.loseWriteConnection()
            asyncio.get_running_loop().call_later(LINGER_SECONDS, transport.abortConnection)
