"""A handshake request that waits for the application's answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from switchboard_server import handshake
from switchboard_server.deflate import Deflate
from switchboard_server.handshake import Header
from switchboard_server.http_request import HttpRequest
from switchboard_server.scope import text
from switchboard_server.transport import Transport
from switchboard_server.websocket import WebSocket


class UpgradedConnection(Protocol):
    """The connection as a handshake request sees it."""

    def bind(self, websocket: WebSocket) -> None:
        """Tell the socket when the client goes away before the answer."""

    def hand_over(self, websocket: WebSocket) -> tuple[Transport, bytes]:
        """Give the connection to a socket: its transport, and the bytes that came behind the request."""


class Upgrade:
    """A checked handshake request, as `websocket.UpgradeRequest` has it."""

    __slots__ = ("_connection", "_key", "_logs", "_server_name", "deflate", "request")

    def __init__(
        self,
        connection: UpgradedConnection,
        request: HttpRequest,
        key: bytes,
        deflate: Deflate | None,
        server_name: str,
        logs: bool,
    ) -> None:
        self._connection = connection
        self._key = key
        self._server_name = server_name
        self._logs = logs
        self.deflate = deflate
        """How messages are compressed; None: they are not."""
        self.request = request

    @property
    def secure(self) -> bool:
        """Whether the transport encrypts, and so has no socket to write to directly."""
        return self.request.peer.secure

    def bind(self, websocket: WebSocket) -> None:
        """Tell the socket when the client goes away before the answer."""
        self._connection.bind(websocket)

    def subprotocols(self) -> list[str]:
        """The subprotocols that the client offers, in its order."""
        return handshake.subprotocols(self.request.head.headers)

    def answer(self, subprotocol: str | None, headers: Iterable[Header]) -> bytes:
        """The 101 response. Raises ValueError for a subprotocol that was not offered."""
        extra = [(bytes(name), bytes(value)) for name, value in headers]
        extra.append((b"X-Request-ID", self.request.id.encode("ascii")))
        if subprotocol is not None:
            if subprotocol not in self.subprotocols():
                raise ValueError(f"subprotocol {subprotocol!r} was not offered by the client")
            extra.append((b"Sec-WebSocket-Protocol", subprotocol.encode("latin-1")))
        if self.deflate is not None:
            extra.append((b"Sec-WebSocket-Extensions", self.deflate.answer))
        if self._server_name:
            extra.append((b"Server", self._server_name.encode()))
        return handshake.answer(self._key, extra)

    def hand_over(self, websocket: WebSocket) -> tuple[Transport, bytes]:
        """Take the connection from HTTP and give it to the socket."""
        return self._connection.hand_over(websocket)

    def deny(self, message: dict[str, Any]) -> None:
        """Answer with a part of a plain HTTP response."""
        self.request.reply(message)

    def refuse(self, status: int, reason: str, headers: Iterable[Header] = ()) -> None:
        """Answer with a short HTTP response."""
        self.request.answer(status, reason, headers)

    def log_details(self) -> dict[str, Any] | None:
        """The fields of an access line, if there is an access log."""
        if not self._logs:
            return None
        return {"path": self.request.path, "client": text(self.request.client)}
