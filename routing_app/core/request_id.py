"""The `X-Request-ID` of the request that this code serves: in its answer, in log lines and in the audit log.

Our own server takes or makes it, answers with it, and tells it by an ASGI extension. `RequestIds` does the
same on other servers. A socket goes by the id of its handshake.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, Final

from switchboard_server import REQUEST_ID, request_id
from switchboard_server.request_id import HEADER

Scope = dict[str, Any]
Application = Callable[[Scope, Any, Any], Awaitable[None]]

CURRENT: Final[ContextVar[str]] = ContextVar("request_id", default="")
"""The id; "" outside of requests."""


class RequestIds:
    """ASGI middleware of all scopes; it runs in the task of the request.

    It only chooses, and returns the coroutine of the application: as a coroutine function it would be on the
    stack of every connection.
    """

    def __init__(self, application: Application) -> None:
        self._application = application

    def __call__(self, scope: Scope, receive: Any, send: Any) -> Awaitable[None]:
        """Serve one ASGI scope."""
        known: str | None = (scope.get("extensions") or {}).get(REQUEST_ID)
        if known is None:
            known = _taken(scope) or request_id.new()
            if scope["type"] == "http":
                send = _Answer(send, known)
        CURRENT.set(known)
        return self._application(scope, receive, send)


class _Answer:
    """A `send` that adds the header."""

    __slots__ = ("_header", "_send")

    def __init__(self, send: Any, id: str) -> None:
        self._send = send
        self._header = HEADER, id.encode("ascii")

    def __call__(self, message: dict[str, Any]) -> Any:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), self._header]}
        return self._send(message)


def _taken(scope: Scope) -> str:
    return next((request_id.taken(value) for name, value in scope.get("headers", ()) if name == HEADER), "")


class WithRequestId(logging.Filter):
    """Puts the id into each record: `request_id`, and `request`, which is ` [id]` or empty."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        id = CURRENT.get()
        record.request_id = id
        record.request = f" [{id}]" if id else ""
        return True
