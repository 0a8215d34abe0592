"""Sends an ASGI scope to the application that serves it; a socket path nobody serves is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from channels.routing import ProtocolTypeRouter

from routing_app.core import handshake, hosts, metrics
from routing_app.core.codes import FORBIDDEN, Refusal

Scope = dict[str, Any]


class Sockets:
    """Dispatches WebSockets by exact path; an unknown one is closed before accept, which becomes a 403."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        self._table = table

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Run the application of the scope's path, below the server's root path."""
        path = _below_root(scope)
        application = self._table.get(path) or self._table.get(path.rstrip("/") or "/")
        if application is None:
            metrics.REFUSED.labels("none", Refusal.PATH).inc()
            await send({"type": "websocket.close", "code": 4004})
            return
        await application(scope, receive, send)


class Polling:
    """Serves HTTP requests of exact paths straight from ASGI, and gives the rest to Django.

    A poll waits for seconds: it must not hold a thread, and should not pay for Django's middleware.
    """

    def __init__(self, django: Any, table: Mapping[str, Any]) -> None:
        self._django = django
        self._table = table

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Run the application of the scope's path, below the server's root path."""
        application = self._table.get(_below_root(scope), self._django)
        await application(scope, receive, send)


class Hosts:
    """Refuses HTTP requests and WebSockets whose Host header names none of ALLOWED_HOSTS.

    Django does the same for its own views; this holds for what is served without it as well.
    """

    def __init__(self, application: Any) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Serve one ASGI scope, or answer 400."""
        if hosts.allowed(scope):
            await self._application(scope, receive, send)
            return
        metrics.REFUSED.labels("none", Refusal.HOST).inc()
        body = b"The Host header names none of ALLOWED_HOSTS.\n"
        headers = [(b"content-type", b"text/plain; charset=utf-8")]
        if scope["type"] == "websocket":
            await receive()
            await handshake.deny(scope, send, 400, body, headers, FORBIDDEN.code)
            return
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": 400, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _below_root(scope: Scope) -> str:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def Switchboard(http: Any, sockets: Mapping[str, Any]) -> ProtocolTypeRouter:  # noqa: N802 - reads as a class
    """The whole server as one ASGI application."""
    return ProtocolTypeRouter({"http": http, "websocket": Hosts(Sockets(sockets))})
