"""HTTP requests, served by Daphne, and the handshake request that becomes a WebSocket."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable
from typing import Any, Protocol
from urllib.parse import unquote

import daphne.http_protocol
from daphne.utils import HEADER_NAME_RE, INVALID_HEADER_VALUE_BYTES
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IProtocolNegotiationFactory, ISSLTransport
from zope.interface import implementer

from switchboard_server import handshake
from switchboard_server.channel import CONTINUE, Awaited, HttpChannel
from switchboard_server.handshake import HandshakeError, Header
from switchboard_server.proxy import Proxies
from switchboard_server.transport import Transport
from switchboard_server.twisted_transport import TwistedSocketTransport, TwistedTransport
from switchboard_server.websocket import SocketLimits, WebSocket
from switchboard_server.writer import EXTENSION

logger = logging.getLogger("daphne.http")

ROOT_PATH = b"daphne-root-path"
TOO_LARGE = b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
MAX_HEAD_BYTES = 65536
"""Largest request line with headers, as in uvicorn. Twisted's own limit is 16 KB, and it drops a connection
that exceeds it without an answer."""
COMMON_NAMES = {
    name: name
    for name in (
        b"host connection upgrade origin cookie user-agent accept accept-encoding accept-language "
        b"cache-control pragma authorization sec-websocket-key sec-websocket-version "
        b"sec-websocket-extensions sec-websocket-protocol"
    ).split()
}
"""Header names of every handshake, kept once and not once per connection."""


class HttpServer(Protocol):
    """The server as its requests see it."""

    proxies: Proxies
    address_header: str
    """Header that holds the client's address, when a trusted proxy sends it."""
    port_header: str
    """Header that holds the client's port; empty for none."""
    max_body_bytes: int
    """Largest body of a request."""
    refusing: bool
    """True while new sockets are answered with 503."""
    limits: SocketLimits
    server_name: str
    root_path: str
    action_logger: Any

    @property
    def draining(self) -> bool:
        """True once the server is stopping."""

    def open_websocket(self, upgrade: Upgrade) -> None:
        """Start an application for a valid handshake request."""

    def protocol_disconnected(self, protocol: WebRequest) -> None:
        """The request is answered, or its connection serves it no more."""


class WebRequest(daphne.http_protocol.WebRequest):
    """One HTTP request: Daphne's, but for proxy headers, upgrades, its size, and the drain."""

    server: HttpServer
    client: Any
    _response_started: bool
    forwarded_scheme = ""

    def __init__(self, channel: Any, queued: Any = None) -> None:
        self.websocket: WebSocket | None = None
        self.awaited: Awaited | None = None
        """The receive queue of a request whose client sends its body only after `100 Continue`."""
        self._body_size = 0
        self._behind: Callable[[], object] | None = None
        self._another_waits = False
        self._came = asyncio.get_running_loop().time()
        # Django parses forms itself: without this Twisted would do it a second time.
        super().__init__(channel, parsePOSTFormSubmission=False)

    def begin(self, command: bytes, path: bytes, version: bytes) -> None:
        """Serve the request before its body has come: the client waits for `100 Continue`."""
        if handshake.wants_websocket(self.lowered_headers()):
            self._ask_for_body()
            return
        self.awaited = Awaited(self._ask_for_body)
        self.requestReceived(command, path, version)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:  # noqa: N802 - Twisted's
        """Twisted: the request is complete."""
        if self.awaited is None or self.application_queue is None:
            super().requestReceived(command, path, version)
            return
        self.awaited.whole = True
        self.content.seek(0)
        self.awaited.put_nowait({"type": "http.request", "body": self.content.read()})

    def _ask_for_body(self) -> None:
        if self.channel is not None:
            self.channel.transport.write(CONTINUE)

    def process(self) -> Any:
        """Twisted: the request can be served."""
        if self._too_large:
            return None
        self._read_proxy_headers()
        headers = self.lowered_headers()
        if not handshake.wants_websocket(headers):
            return super().process()
        try:
            self._check_characters(headers)
            if self.server.refusing:
                raise HandshakeError(503, "The server is stopping", [(b"retry-after", b"1")])
            key = handshake.check(self.method, self.clientproto, headers)
        except HandshakeError as error:
            self.answer(error.status, error.reason, error.headers)
        else:
            self.server.open_websocket(Upgrade(self, key, headers))
        return None

    def lowered_headers(self) -> list[Header]:
        """The headers as ASGI wants them; names with an underscore are left out (CVE-2015-0219)."""
        return [
            (COMMON_NAMES.get(lowered, lowered), value)
            for name, values in self.requestHeaders.getAllRawHeaders()
            if b"_" not in name
            for lowered in (name.lower(),)
            for value in values
        ]

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Twisted: a part of the body."""
        self._body_size += len(data)
        if not self._too_large:
            super().handleContentChunk(data)
        elif not self._response_started:
            self._response_started = True
            self._turn_away()

    @property
    def _too_large(self) -> bool:
        return self._body_size > self.server.max_body_bytes

    def _turn_away(self) -> None:
        """Answer 413 while the body still comes, and read on: see `HttpChannel.turn_away`."""
        self.channel.transport.write(TOO_LARGE)
        self.channel.turn_away()
        if self.awaited is not None:
            self.awaited.put_nowait({"type": "http.disconnect"})

    def on_another(self, call: Callable[[], object]) -> None:
        """Call once when a further request has come behind this one, which it has to wait for.

        Offered to applications as `scope["extensions"]["switchboard.pipeline"]`.
        """
        self._behind = call
        if self._another_waits:
            call()

    def another_waits(self) -> None:
        """Called by the channel: something has come behind this request."""
        if not self._another_waits:
            self._another_waits = True
            if self._behind is not None:
                self._behind()

    def answer(self, status: int, reason: str, headers: Iterable[Header] = ()) -> None:
        """Answer with `reason` as plain text."""
        if self._response_started:
            self.loseConnection()
            return
        body = reason.encode() + b"\n"
        fixed = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),
        ]
        self.handle_reply({"type": "http.response.start", "status": status, "headers": [*fixed, *headers]})
        self.handle_reply({"type": "http.response.body", "body": body})

    def handle_reply(self, message: dict[str, Any]) -> None:
        """Pass on a message of the application; while draining, and before the body has come, the connection
        ends with the answer."""
        last = self.server.draining or (self.awaited is not None and not self.awaited.whole)
        if last and message.get("type") == "http.response.start" and self.channel is not None:
            self.channel.persistent = False
            message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
        super().handle_reply(message)

    def connectionLost(self, reason: Any) -> None:  # noqa: N802 - Twisted's name
        """Twisted: the client has gone before its answer."""
        super().connectionLost(reason)
        if self.websocket is not None:
            self.websocket.connection_lost()

    def duration(self) -> float:
        """Seconds since the request came, by a clock that does not jump."""
        return asyncio.get_running_loop().time() - self._came

    def isSecure(self) -> bool:  # noqa: N802 - Twisted's name
        """True if the client's own connection is encrypted: by a trusted proxy's header, else by this one."""
        if self.forwarded_scheme:
            return self.forwarded_scheme in ("https", "wss")
        return bool(super().isSecure())

    def _read_proxy_headers(self) -> None:
        """Take the client's address and scheme from a trusted proxy; no other peer may set the root path."""
        peer = getattr(self.client, "host", "unix")
        if not self.server.proxies.trust(peer):
            self.requestHeaders.removeHeader(ROOT_PATH)
            return
        values = self.requestHeaders.getRawHeaders
        client = self.server.proxies.client(peer, values(self.server.address_header.encode(), []))
        if client != peer:
            name = self.server.port_header.encode()
            port = self.server.proxies.port(values(name, [])) if name else 0
            self.client = IPv4Address("TCP", client, port)
        self.forwarded_scheme = self.server.proxies.scheme(values(b"x-forwarded-proto", []))

    def _check_characters(self, headers: Iterable[Header]) -> None:
        for name, value in headers:
            if not HEADER_NAME_RE.fullmatch(name) or INVALID_HEADER_VALUE_BYTES.intersection(value):
                raise HandshakeError(400, "A header has characters that are not allowed")
        if not self.uri.isascii():
            raise HandshakeError(400, "The path is not ASCII")


@implementer(IProtocolNegotiationFactory)
class HttpFactory(daphne.http_protocol.HTTPFactory):
    """Daphne's factory with our connection and our request."""

    protocol = HttpChannel

    def buildProtocol(self, addr: Any) -> Any:  # noqa: N802 - Twisted's name
        """Twisted: a connection was accepted."""
        protocol = super().buildProtocol(addr)
        protocol.requestFactory = WebRequest
        protocol.MAX_LENGTH = protocol.totalHeadersSize = MAX_HEAD_BYTES
        return protocol


class Upgrade:
    """A checked handshake request that waits for the application's answer."""

    def __init__(self, request: WebRequest, key: bytes, headers: list[Header]) -> None:
        self._request = request
        self._key = key
        self._headers = headers
        self.secure = ISSLTransport(request.channel.transport, None) is not None
        """True if the transport encrypts, and so has no socket to write to directly."""

    def scope(self, websocket: WebSocket) -> dict[str, Any]:
        """The ASGI scope of the socket."""
        request = self._request
        return {
            "type": "websocket",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "wss" if request.isSecure() else "ws",
            "path": unquote(request.path.decode("ascii")),
            "raw_path": request.path,
            "root_path": self._root_path(),
            "query_string": request.uri.partition(b"?")[2],
            "headers": [header for header in self._headers if header[0] != ROOT_PATH],
            "client": _address(request.client),
            "server": _address(request.host),
            "subprotocols": handshake.subprotocols(self._headers),
            "extensions": {"websocket.http.response": {}, EXTENSION: websocket.writer},
        }

    def bind(self, websocket: WebSocket) -> None:
        """Call `connection_lost` of the socket if the client goes away before the answer."""
        self._request.websocket = websocket

    def answer(self, subprotocol: str | None, headers: Iterable[Header]) -> bytes:
        """The 101 response. Raises ValueError for a subprotocol that was not offered."""
        extra = [(bytes(name), bytes(value)) for name, value in headers]
        if subprotocol is not None:
            if subprotocol not in handshake.subprotocols(self._headers):
                raise ValueError(f"subprotocol {subprotocol!r} was not offered by the client")
            extra.append((b"Sec-WebSocket-Protocol", subprotocol.encode("latin-1")))
        if name := self._request.server.server_name:
            extra.append((b"Server", name.encode()))
        return handshake.answer(self._key, extra)

    def hand_over(self, websocket: WebSocket) -> tuple[Transport, bytes]:
        """Take the connection from HTTP and give it to the socket.

        Returns it, and the bytes that came behind the request.
        """
        request, channel = self._request, self._request.channel
        transport: Any = channel.transport
        transport.unregisterProducer()
        # Twisted has no public way to give a connection another protocol than it began with.
        connection: TwistedTransport
        if self.secure:
            connection = transport.wrappedProtocol = TwistedTransport(transport, websocket)
        else:
            connection = transport.protocol = TwistedSocketTransport(transport, websocket)
        self._limit_silence(transport, request.server.limits)
        transport.resumeProducing()
        request.websocket = None
        request.server.protocol_disconnected(request)
        # Both refer to each other, and would wait for the garbage collector.
        channel.requests.clear()
        request.channel = request.transport = None
        return connection, bytes(channel.take_rest())

    def deny(self, message: dict[str, Any]) -> None:
        """Answer with a part of a plain HTTP response."""
        self._request.websocket = None if message["type"] == "http.response.body" else self._request.websocket
        self._request.handle_reply(message)

    def refuse(self, status: int, reason: str, headers: Iterable[Header] = ()) -> None:
        """Answer with a short HTTP response."""
        self._request.websocket = None
        self._request.answer(status, reason, headers)

    def log_details(self) -> dict[str, Any] | None:
        """The fields of an access line, if there is an access log."""
        if not self._request.server.action_logger:
            return None
        client = _address(self._request.client)
        return {
            "path": self._request.path.decode("ascii"),
            "client": f"{client[0]}:{client[1]}" if client else None,
        }

    def _root_path(self) -> str:
        for name, value in self._headers:
            if name == ROOT_PATH and self._request.requestHeaders.hasHeader(ROOT_PATH):
                return unquote(value.decode("ascii", "replace"))
        return str(self._request.server.root_path)

    @staticmethod
    def _limit_silence(transport: Any, limits: SocketLimits) -> None:
        """Have the kernel give up on a peer that acknowledges nothing, also while reading is paused."""
        if limits.ping_interval <= 0 or not hasattr(socket, "TCP_USER_TIMEOUT"):
            return
        handle = getattr(transport, "transport", transport).getHandle()
        if handle.family in (socket.AF_INET, socket.AF_INET6):
            limit = int((limits.ping_interval + limits.ping_timeout) * 1000)
            handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limit)


def _address(address: Any) -> list[Any] | None:
    """[host, port] of a Twisted address; None for a Unix socket."""
    if hasattr(address, "host") and hasattr(address, "port"):
        return [str(address.host), address.port]
    return None
