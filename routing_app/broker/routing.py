"""The routing of ASGI scopes to the applications that serve them; a socket path without one is refused.

Layers that only choose are plain functions, which return the coroutine of the one they chose. As coroutines
they would be on the stack of every connection, for as long as it lives.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote

from routing_app.core import metrics
from routing_app.core.access import handshake, hosts
from routing_app.core.access.admission import peer_of
from routing_app.core.access.handshake import retry_after
from routing_app.core.audit import calls
from routing_app.core.codes import FORBIDDEN, Refusal
from routing_app.core.rest.fast import FastRequest
from routing_app.core.rest.middleware import BACKING_SERVICES
from routing_app.core.revocations.known import Revocations
from routing_app.core.worker import current_worker
from switchboard_server.handshake import NO_UPGRADE, UPGRADE

logger = logging.getLogger(__name__)

Scope = dict[str, Any]
Application = Callable[[Scope, Any, Any], Awaitable[None]]

PLAIN: Final = ((b"content-type", b"text/plain; charset=utf-8"),)
PATHS: Final = 4096
"""Paths that are remembered with what serves them."""
ABSOLUTE: Final = re.compile(rb"https?://(?:[^/?#@]*@)?([^/?#@]*)", re.IGNORECASE)
"""The part before the path where the target of a request is a whole URL; the group is its host."""


class Sockets:
    """Dispatches WebSockets by exact path; an unknown one is closed before accept, which becomes a 403.

    A project with sockets of its own has an application for `others`.
    """

    def __init__(self, table: Mapping[str, Application], others: Application | None = None) -> None:
        self._table = {path: Hosts(application) for path, application in table.items()}
        self._others = others or Hosts(self._refuse)

    def __call__(self, scope: Scope, receive: Any, send: Any) -> Awaitable[None]:
        """Run the application of the scope's path, below the server's root path."""
        application = find(self._table, below_root(scope)) or self._others
        return application(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Any, send: Any) -> None:
        metrics.REFUSED.labels("none", Refusal.PATH).inc()
        await receive()
        paths = ", ".join(sorted(self._table))
        body = f"There is no WebSocket at this path; there are: {paths}\n".encode()
        await handshake.deny(scope, send, FORBIDDEN.status, body, PLAIN, FORBIDDEN.code)


class Polling:
    """Serves HTTP requests of exact paths straight from ASGI, and gives the rest to Django.

    A poll waits for seconds: it must not hold a thread, and should not pay for Django's middleware. A
    request that meant to open a WebSocket, but lost its Upgrade on the way, is answered 426.
    """

    def __init__(self, django: Any, table: Mapping[str, Any], sockets: Collection[str]) -> None:
        self._django = django
        self._table = table
        self._sockets = dict.fromkeys(sockets, True)
        self._sockets_alone = {path: True for path in sockets if path != "/" and path not in table}
        self._route = lru_cache(PATHS)(self._find_route)

    def __call__(self, scope: Scope, receive: Any, send: Any) -> Awaitable[None]:
        """Run the application of the scope's path, below the server's root path."""
        is_socket, is_socket_alone, application = self._route(below_root(scope))
        if is_socket and (is_socket_alone or _is_handshake(scope)):
            return _ask_for_upgrade(send)
        return application(scope, receive, send)

    def _find_route(self, path: str) -> tuple[bool, bool, Application]:
        """Whether a path is a socket's, and of nothing else; and the application of its HTTP requests."""
        application = find(self._table, path) or self._django
        return bool(find(self._sockets, path)), bool(find(self._sockets_alone, path)), application


class ByType:
    """Dispatches scopes by their type."""

    def __init__(self, table: Mapping[str, Application]) -> None:
        self._table = table

    def __call__(self, scope: Scope, receive: Any, send: Any) -> Awaitable[None]:
        """Serve one scope. Raises ValueError for a type that has no application."""
        application = self._table.get(scope["type"])
        if application is None:
            raise ValueError(f"no application for the scope type {scope['type']!r}")
        return application(scope, receive, send)


class OriginForm:
    """Turns a target that is a whole URL into its path, and its host into Host (RFC 9112, 3.2.2)."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def __call__(self, scope: Scope, receive: Any, send: Any) -> Awaitable[None]:
        """Serve one scope of any type."""
        return self._application(_origin_form(scope), receive, send)


def _origin_form(scope: Scope) -> Scope:
    if scope.get("path", "/").startswith("/"):
        return scope
    raw: bytes = (scope.get("raw_path") or scope["path"].encode()).partition(b"?")[0]
    url = ABSOLUTE.match(raw)
    if url is None:
        return scope
    path = raw[url.end() :] or b"/"
    headers = [header for header in scope["headers"] if header[0] != b"host"]
    return {
        **scope,
        "path": unquote(path.decode("ascii", "replace")),
        "raw_path": path,
        "headers": [(b"host", url[1]), *headers],
    }


def find(table: Mapping[str, Any], path: str) -> Any:
    """The entry of a table for a path, with or without its last slash; None for nothing."""
    bare = path.rstrip("/")
    return table.get(path) or table.get(bare or "/") or table.get(f"{bare}/")


class Hosts:
    """Refuses HTTP requests and WebSockets whose Host header names none of ALLOWED_HOSTS.

    Django does the same for its own views; this holds for what is served without it as well.
    """

    def __init__(self, application: Application) -> None:
        self._application = application

    def __call__(self, scope: Scope, receive: Any, send: Any) -> Awaitable[None]:
        """Serve one ASGI scope, or answer 400."""
        application = self._application if hosts.allowed(scope) else self._refuse
        return application(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Any, send: Any) -> None:
        metrics.REFUSED.labels("none", Refusal.HOST).inc()
        body = b"The Host header names none of ALLOWED_HOSTS.\n"
        headers = list(PLAIN)
        if scope["type"] == "websocket":
            await receive()
            await handshake.deny(scope, send, 400, body, headers, FORBIDDEN.code)
            return
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": 400, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class Networks:
    """Refuses HTTP requests from revoked networks; the admin, where revocations are lifted, stays open.

    WebSockets are refused where a protocol admits them.
    """

    SPARED: Final = ("/admin/", "/static/")

    def __init__(self, application: Application) -> None:
        self._application = application

    def __call__(self, scope: Scope, receive: Any, send: Any) -> Awaitable[None]:
        """Serve one HTTP scope, or answer 403."""
        revocations = current_worker().revocations
        if revocations and not below_root(scope).startswith(self.SPARED):
            return self._check(revocations, scope, receive, send)
        return self._application(scope, receive, send)

    async def _check(self, revocations: Revocations, scope: Scope, receive: Any, send: Any) -> None:
        try:
            revoked = await revocations.concern_peer(peer_of(scope))
        except BACKING_SERVICES as error:
            logger.warning("revocations: the database does not answer: %s", type(error).__name__)
            await _answer(
                send, 503, b'{"detail": "A backing service is down, try again later."}', retry_after()
            )
            return
        if not revoked:
            await self._application(scope, receive, send)
            return
        metrics.REFUSED.labels("none", Refusal.REVOKED).inc()
        if calls.is_of_operators(below_root(scope)):
            await calls.finish_on_loop(FastRequest(dict(scope), b""), None, 403)
        await _answer(send, 403, b'{"detail": "This network is revoked."}')


async def _answer(send: Any, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    fixed = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*fixed, *headers]})
    await send({"type": "http.response.body", "body": body})


def below_root(scope: Scope) -> str:
    """The path of a scope below the server's root path."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _is_handshake(scope: Scope) -> bool:
    """True for an HTTP request with a header that only the client of a WebSocket sends (RFC 6455, 4.1)."""
    return any(name == b"sec-websocket-key" for name, _ in scope["headers"])


async def _ask_for_upgrade(send: Any) -> None:
    metrics.REFUSED.labels("none", Refusal.MALFORMED).inc()
    text = f"{NO_UPGRADE}\n".encode()
    headers = [*PLAIN, (b"content-length", str(len(text)).encode()), *UPGRADE]
    await send({"type": "http.response.start", "status": 426, "headers": headers})
    await send({"type": "http.response.body", "body": text})


def Switchboard(  # noqa: N802 - reads as a class
    http: Any, sockets: Mapping[str, Any], others: Application | None = None
) -> OriginForm:
    """The whole server as one ASGI application; `others` are WebSockets of paths that no protocol has."""
    return OriginForm(ByType({"http": http, "websocket": Sockets(sockets, others)}))
