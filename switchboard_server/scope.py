"""ASGI scopes of requests: what the connection, the head, and a trusted proxy say about the client."""

from __future__ import annotations

import socket
from typing import Any, Final
from urllib.parse import unquote

from switchboard_server.handshake import Header
from switchboard_server.proxy import UNIX, Proxies
from switchboard_server.request_head import RequestHead

ROOT_PATH: Final = b"daphne-root-path"
"""Header in which a trusted proxy says the root path, under Daphne's name for it."""
PROTO: Final = b"x-forwarded-proto"

Address = list[Any]


class Peer:
    """Both ends of one connection."""

    __slots__ = ("client", "has_address", "secure", "server", "trusted")

    def __init__(self, transport: Any, proxies: Proxies) -> None:
        own = transport.get_extra_info("socket")
        self.has_address = own is not None and own.family in (socket.AF_INET, socket.AF_INET6)
        """Whether clients of this kind of socket have an address."""
        self.client = self._address(transport, "peername")
        """[host, port]; None for a Unix socket, and for a client that had gone before it was accepted."""
        self.server = self._address(transport, "sockname")
        self.secure = transport.get_extra_info("sslcontext") is not None
        """Whether the connection encrypts."""
        self.trusted = proxies.trust(self.client[0] if self.client else UNIX)
        """Whether the client is a proxy whose headers are read."""

    def _address(self, transport: Any, end: str) -> Address | None:
        found = transport.get_extra_info(end) if self.has_address else None
        return [found[0], found[1]] if found else None


class Scopes:
    """Makes the part of scopes that HTTP and WebSockets share.

    `address_header` and `port_header` (empty for none) hold the client's address where a trusted proxy sends
    them.
    """

    def __init__(self, proxies: Proxies, address_header: str, port_header: str, root_path: str) -> None:
        self._proxies = proxies
        self._address = address_header.lower().encode()
        self._port = port_header.lower().encode()
        self._root_path = root_path

    def scope(self, kind: str, head: RequestHead, peer: Peer) -> dict[str, Any]:
        """A scope without `extensions`."""
        path, _, query = head.target.partition(b"?")
        decoded = path.decode("ascii")
        scope = {
            "type": kind,
            "asgi": {"version": "3.0"},
            "http_version": head.version,
            "scheme": "https" if peer.secure else "http",
            "path": unquote(decoded) if "%" in decoded else decoded,
            "raw_path": path,
            "root_path": self._root_path,
            "query_string": query,
            "headers": head.headers.copy(),  # the head may serve again, and applications change lists
            "client": peer.client,
            "server": peer.server,
        }
        if kind == "http":
            scope["method"] = head.method
        if peer.trusted:
            self._read_proxy_headers(scope, peer)
        elif any(name == ROOT_PATH for name, _ in head.headers):
            scope["headers"] = _without_root_path(head.headers)
        if kind == "websocket":
            scope["scheme"] = "wss" if scope["scheme"] in ("https", "wss") else "ws"
        elif scope["scheme"] in ("ws", "wss"):
            scope["scheme"] = "https" if scope["scheme"] == "wss" else "http"
        return scope

    def _read_proxy_headers(self, scope: dict[str, Any], peer: Peer) -> None:
        headers: list[Header] = scope["headers"]

        def values(name: bytes) -> list[bytes]:
            return [value for key, value in headers if key == name]

        host = peer.client[0] if peer.client else UNIX
        client = self._proxies.client(host, values(self._address))
        if client != host:
            scope["client"] = [client, self._proxies.port(values(self._port)) if self._port else 0]
        scope["scheme"] = self._proxies.scheme(values(PROTO)) or scope["scheme"]
        for value in values(ROOT_PATH):
            scope["root_path"] = unquote(value.decode("ascii", "replace"))
            scope["headers"] = _without_root_path(headers)


def text(client: Address | None) -> str | None:
    """A client as the access log writes it."""
    return f"{client[0]}:{client[1]}" if client else None


def _without_root_path(headers: list[Header]) -> list[Header]:
    return [header for header in headers if header[0] != ROOT_PATH]
