"""One connection that speaks HTTP/1: requests one after another, each of which may become a WebSocket.

A request is parsed when the one before it is answered; until then its bytes wait, and reading pauses. An
application is started when a body is whole, when 64 KB of it have come, or when the client waits to be asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Protocol

from switchboard_server import handshake, request_id
from switchboard_server.asyncio_transport import (
    AsyncioSocketTransport,
    AsyncioTransport,
    acknowledged,
    half_close,
    reset,
)
from switchboard_server.chunks import ChunkReader
from switchboard_server.deflate import negotiate
from switchboard_server.handshake import HandshakeError
from switchboard_server.http_request import HIGH_WATER, HttpRequest
from switchboard_server.http_response import HttpResponse
from switchboard_server.proxy import Proxies
from switchboard_server.request_head import RequestHead, RequestRefused
from switchboard_server.scope import Peer
from switchboard_server.transport import Transport
from switchboard_server.upgrade import Upgrade
from switchboard_server.websocket import WebSocket

HEAD_END: Final = b"\r\n\r\n"
IDLE_SECONDS: Final = 75.0
"""Longest time between two requests. Most proxies have 60: these end a connection first, and lose none."""
HEAD_SECONDS: Final = 30.0
"""Longest time from the first byte of a head to its last."""
STALL_SECONDS: Final = 60.0
"""Longest time in which nothing of a body comes, or nothing of a response is read."""
LINGER_SECONDS: Final = 3.0
"""How long a client may go on sending what is thrown away, once the whole answer is with the kernel."""


class HttpServer(Protocol):
    """The server as its connections see it."""

    proxies: Proxies
    max_body_bytes: int
    """Largest body of a request."""
    refusing: bool
    """Whether new sockets are answered with 503."""
    compression: bool
    """Whether messages are compressed for clients that offer it."""
    http_timeout: float
    """Seconds that an application has for a response; 0 for no limit."""
    now: float
    """Time of the last heartbeat."""
    fixed_headers: Mapping[bytes, bytes]
    """`Server` and `Date` as lines, by lower-case name."""
    server_name: str
    """Value of `Server` in responses; empty for none."""
    action_logger: Any
    """The access log, if there is one."""
    http_connections: set[HttpConnection]

    @property
    def draining(self) -> bool:
        """Whether the server is stopping."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that it runs in."""

    def begin(self, request: HttpRequest) -> None:
        """Start an application for a request."""

    def open_websocket(self, upgrade: Upgrade) -> None:
        """Start an application for a valid handshake request."""

    def answered(self, request: HttpRequest) -> None:
        """The response has ended, or the client has gone."""


class HttpConnection(asyncio.Protocol):
    """See the head of this file."""

    __slots__ = (
        "_acknowledged",
        "_begun",
        "_body",
        "_chunks",
        "_ends",
        "_full",
        "_head",
        "_known",
        "_left",
        "_lingers",
        "_paused",
        "_request",
        "_rest",
        "_server",
        "_since",
        "_tail",
        "_unsent",
        "_websocket",
        "peer",
        "transport",
    )

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self.transport: Any = None
        self.peer: Peer | None = None
        self._head: RequestHead | None = None
        """The head that is being read."""
        self._known: tuple[bytes, RequestHead] | None = None
        """The last head and its bytes. A client that keeps its connection mostly sends the same again, and a
        comparison takes a tenth of the time that reading it takes."""
        self._tail = b""
        """Its last bytes so far: the end of it may come in two parts."""
        self._request: HttpRequest | None = None
        """The request that is not answered."""
        self._begun = False
        """Whether its application has been started."""
        self._left = 0
        """Bytes of its body that have not come, where it has a length."""
        self._chunks: ChunkReader | None = None
        """Reads its body where that comes in chunks."""
        self._body = 0
        """Bytes of its body that have come."""
        self._websocket: WebSocket | None = None
        """What it may become."""
        self._rest = b""
        """Bytes that have come behind it."""
        self._paused = self._lingers = self._ends = False
        self._full: asyncio.Event | None = None
        """Set when the transport has room; None while it has."""
        self._unsent = 0
        """Bytes that the transport held at the last look, which the kernel had no room for."""
        self._acknowledged = 0
        """Bytes that the client's kernel had taken then, if there were any of these."""
        self._since = server.now
        """Time of the last sign of life; while a head is read, of its first byte."""

    # --- asyncio's protocol ---------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        """asyncio: a client has connected."""
        self.transport = transport
        self._server.http_connections.add(self)

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes from the client."""
        if self._lingers:
            return
        if self._head is None:
            self._since = self._server.now
        try:
            self._read(data)
        except RequestRefused as error:
            self._refuse(error)

    def pause_writing(self) -> None:
        """asyncio: the transport is full."""
        self._since = self._server.now
        self._full = asyncio.Event()

    def resume_writing(self) -> None:
        """asyncio: the transport has room."""
        full, self._full = self._full, None
        if full is not None:
            full.set()
        if self._request is None and not self._lingers:
            self._serve_on()

    def eof_received(self) -> None:
        """asyncio: the client has ended its side; the connection ends.

        A client that has gone cannot be told from one that still reads: nginx and uvicorn take both as gone.
        """

    def connection_lost(self, error: Exception | None) -> None:
        """asyncio: the connection is gone."""
        self._server.http_connections.discard(self)
        request, self._request = self._request, None
        websocket, self._websocket = self._websocket, None
        self._head, self._known, self._rest = None, None, b""
        self._lingers = True
        self.resume_writing()
        if request is not None and not request.finished:
            request.disconnect()
            self._server.answered(request)
        if websocket is not None:
            websocket.connection_lost()
        self.transport = None

    # --- reading --------------------------------------------------------------------------------------

    def _read(self, data: bytes) -> None:
        """Take bytes, as far as they belong to a request that is not whole; keep what is behind it.

        No request is begun while the client leaves answers unread: these would pile up.
        """
        while data and not self._lingers:
            request = self._request
            if request is None and self._full is None:
                data = self._read_head(data)
            elif request is not None and not request.whole:
                data = self._read_body(request, data)
            else:
                self._keep(data)
                return

    def _read_head(self, data: bytes) -> bytes:
        """Take bytes of a head, and begin its request with the last of them; the bytes behind it."""
        head = self._head
        if head is None:
            data = data.lstrip(b"\r\n")  # old browsers send a line end behind a body
            if not data:
                return data
            if self._known is not None and data.startswith(self._known[0]):
                self._begin(self._known[1])
                return data[len(self._known[0]) :]
            head = self._head = RequestHead()
            end = data.find(HEAD_END)
            end = end + 4 if end >= 0 else len(data)
        else:
            # The end may be spread over two reads.
            end = (self._tail + data).find(HEAD_END)
            end = end + 4 - len(self._tail) if end >= 0 else len(data)
        head.feed(data[:end])
        if head.complete:
            # Known from its first byte to its last: the next one may be the same.
            self._known = None if self._tail else (data[:end], head)
            self._head, self._tail = None, b""
            self._begin(head)
        else:
            self._tail = (self._tail + data)[-3:]
        return data[end:]

    def _begin(self, head: RequestHead) -> None:
        if head.content_length > self._server.max_body_bytes:
            raise _too_large()
        if self.peer is None:
            self.peer = Peer(self.transport, self._server.proxies)
            if self.peer.client is None and self.peer.has_address:
                # Reset before it was accepted: without its address it would pass for a Unix socket's client.
                self._lingers = True
                self.transport.abort()
                return
        request = self._request = HttpRequest(self, self.peer, head, self._server.now)
        self._begun = False
        if request.whole:
            self._start(request)
            return
        self._body, self._left = 0, head.content_length
        self._chunks = ChunkReader() if head.chunked else None
        if request.waits_to_be_asked:
            self._start(request)

    def _read_body(self, request: HttpRequest, data: bytes) -> bytes:
        """Take bytes of a body; the bytes behind it."""
        if self._chunks is not None:
            part = self._chunks.feed(data)
            whole, rest = self._chunks.whole, self._chunks.rest
        else:
            part, rest = data[: self._left], data[self._left :]
            self._left -= len(part)
            whole = not self._left
        self._body += len(part)
        if self._body > self._server.max_body_bytes:
            raise _too_large()
        if not request.finished:
            request.feed(part, whole)
            if whole or request.buffered > HIGH_WATER:
                if not self._begun:
                    self._start(request)
                elif not whole:
                    self._pause()
        return rest

    def _start(self, request: HttpRequest) -> None:
        """Start the application of a request, or refuse its handshake."""
        self._begun = True
        head = request.head
        if not head.upgrades or not handshake.wants_websocket(head.headers):
            self._server.begin(request)
            return
        try:
            if head.has_body:
                raise HandshakeError(400, "A WebSocket handshake has no body", [(b"connection", b"close")])
            if self._server.refusing:
                raise HandshakeError(*handshake.STOPPING)
            key = handshake.check(head.method.encode(), f"HTTP/{head.version}".encode(), head.headers)
            deflate = negotiate(head.headers) if self._server.compression else None
        except HandshakeError as error:
            request.answer(error.status, error.reason, error.headers)
        else:
            server = self._server
            logs = server.action_logger is not None
            server.open_websocket(Upgrade(self, request, key, deflate, server.server_name, logs))

    def _keep(self, data: bytes) -> None:
        """Keep bytes behind a request that is not answered, and tell it that it is waited for."""
        self._rest += data
        self._pause()
        if self._request is not None:
            self._request.another_waits()

    def _pause(self) -> None:
        if not self._paused and self.transport is not None:
            self._paused = True
            self.transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and self.transport is not None:
            self._paused = False
            self.transport.resume_reading()

    # --- the request's view of it ---------------------------------------------------------------------

    @property
    def is_full(self) -> bool:
        """See RequestConnection."""
        return self._full is not None

    @property
    def ends(self) -> bool:
        """See RequestConnection."""
        return self._ends or self._server.draining

    @property
    def held(self) -> int:
        """See RequestConnection."""
        return self.transport.get_write_buffer_size() if self.transport is not None else 0

    @property
    def fixed_headers(self) -> Mapping[bytes, bytes]:
        """See RequestConnection."""
        return self._server.fixed_headers

    def write(self, data: bytes) -> None:
        """See RequestConnection."""
        if self.transport is not None:
            self.transport.write(data)

    async def drained(self) -> None:
        """See RequestConnection."""
        if self._full is not None:
            await self._full.wait()

    def resume_body(self) -> None:
        """See RequestConnection."""
        self._since = self._server.now  # until now it was not the client that was waited for
        if not self._rest:
            self._resume()

    def answered(self, request: HttpRequest) -> None:
        """See RequestConnection: go on with what has come behind it, or end."""
        if request is not self._request:
            return
        self._request = self._websocket = None
        self._since = self._server.now
        self._server.answered(request)
        if self.transport is None:
            return
        if request.broken:
            reset(self.transport)
        elif request.response.keep_alive:
            self._serve_on()
        elif self._rest or not request.whole:
            self._linger()
        else:
            self._ends = self._lingers = True
            self.transport.close()

    def _serve_on(self) -> None:
        if self._full is not None:
            self._pause()
            return
        rest, self._rest = self._rest, b""
        if rest:
            self.data_received(rest)
        if not self._rest and not self._lingers:
            self._resume()

    # --- the end --------------------------------------------------------------------------------------

    def _refuse(self, error: RequestRefused) -> None:
        """Answer what cannot be served, and end the connection."""
        self._ends = True
        request, self._head = self._request, None
        if request is None:
            response = HttpResponse("", "1.1", keep_alive=False)
            text = error.reason.encode("ascii", "replace") + b"\n"
            plain = [(b"content-type", b"text/plain; charset=utf-8")]
            response.start(error.status, plain, request_id.new())
            self.write(response.body(text, more=False, fixed=self.fixed_headers))
            self._linger()
        else:
            request.answer(error.status, error.reason)
            request.disconnect()

    def _linger(self) -> None:
        """Close, but read on without looking: a close with unread bytes would reset the answer away."""
        self._ends = self._lingers = True
        self._rest, self._since = b"", self._server.now
        if self.transport.can_write_eof():
            half_close(self.transport)
            self._resume()
        else:
            self.transport.close()

    @property
    def fresh(self) -> bool:
        """Whether its first request has not come, or not as a whole."""
        return self.peer is None and self.transport is not None and not self._lingers

    @property
    def busy(self) -> bool:
        """Whether a request is under way, or a part of an answer has not gone to the kernel."""
        return self.transport is not None and (
            self._request is not None or self.transport.get_write_buffer_size() > 0
        )

    def check(self, now: float) -> None:
        """End it when what it waits for has not come in time; called about once a second."""
        if self.transport is None:
            return
        if self._has_read():
            self._since = now
        request, waited = self._request, now - self._since
        if self._unsent or self._lingers:
            self._check_end(waited)
        elif request is None:
            self._check_idle(waited)
        elif not (request.whole or self._paused or request.waits_to_be_asked):
            if waited > STALL_SECONDS:
                self._refuse(RequestRefused(408, "The body of the request did not come in time"))
        elif self._websocket is None and 0 < self._server.http_timeout < now - request.began:
            request.answer(503, "The application did not answer in time")
            request.disconnect()

    def _has_read(self) -> bool:
        """Whether the client has read since the last look, however slowly, of an answer that was held then.

        The kernel asks for more when a third of its buffer is free: with 4 MB that takes long. Until then
        the client is seen to read only by what its own kernel acknowledges.
        """
        before = self._unsent, self._acknowledged
        self._unsent = self.transport.get_write_buffer_size()
        self._acknowledged = acknowledged(self.transport) if self._unsent else 0
        return before[0] > 0 and before != (self._unsent, self._acknowledged)

    def _check_end(self, waited: float) -> None:
        if self._unsent:
            if waited > STALL_SECONDS:
                reset(self.transport)
        elif waited > LINGER_SECONDS and self.transport.can_write_eof():  # with TLS asyncio counts by itself
            self.transport.abort()

    def _check_idle(self, waited: float) -> None:
        if self._head is not None:
            if waited > HEAD_SECONDS:
                self._refuse(RequestRefused(408, "The head of the request did not come in time"))
        elif waited > IDLE_SECONDS:
            self._ends = self._lingers = True
            self.transport.close()

    # --- WebSockets -----------------------------------------------------------------------------------

    def bind(self, websocket: WebSocket) -> None:
        """Tell the socket when the client goes away before the answer."""
        self._websocket = websocket

    def hand_over(self, websocket: WebSocket) -> tuple[Transport, bytes]:
        """Give the connection to a socket: its transport, and the bytes that came behind the request."""
        server, transport = self._server, self.transport
        assert self.peer is not None
        server.http_connections.discard(self)
        if transport.get_write_buffer_size() and not self.peer.secure:
            # The client has left answers unread for so long that the kernel has no room.
            transport.abort()
        adapter = (
            AsyncioTransport(transport, websocket)
            if self.peer.secure
            else AsyncioSocketTransport(transport, websocket, server.loop)
        )
        transport.set_protocol(adapter)
        self._resume()
        rest, self._rest = self._rest, b""
        self.transport = self._request = self._websocket = None
        return adapter, rest


def _too_large() -> RequestRefused:
    return RequestRefused(413, "The body of the request is too large")
