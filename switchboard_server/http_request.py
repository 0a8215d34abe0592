"""One HTTP request between its connection and its application: ASGI's `receive` and `send`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol

from switchboard_server import request_id
from switchboard_server.handshake import Header
from switchboard_server.http_response import HttpResponse
from switchboard_server.request_head import RequestHead
from switchboard_server.scope import Address, Peer

HIGH_WATER: Final = 64 * 1024
"""Bytes of a body that the application has not received above which reading pauses."""
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

USER: Final = re.compile(rb"^([A-Za-z]+://)[^/]*@")
"""User and password of a target that is a whole URL."""

Message = dict[str, Any]


class RequestConnection(Protocol):
    """The connection as its requests see it."""

    @property
    def is_full(self) -> bool:
        """Whether the client does not read as fast as the application sends."""

    @property
    def ends(self) -> bool:
        """Whether no further request is served on it."""

    @property
    def held(self) -> int:
        """Bytes that the kernel has not taken."""

    @property
    def fixed_headers(self) -> Mapping[bytes, bytes]:
        """`Server` and `Date` as lines, by lower-case name."""

    def write(self, data: bytes) -> None:
        """Send bytes."""

    async def drained(self) -> None:
        """Return when it is not full any more, or lost."""

    def resume_body(self) -> None:
        """Read on: the application has received what was there."""

    def answered(self, request: HttpRequest) -> None:
        """The response has ended."""


class HttpRequest:
    """One request: its body towards the application, and the response towards the client."""

    __slots__ = (
        "_another_waits",
        "_asks",
        "_behind",
        "_body",
        "_connection",
        "_event",
        "_told",
        "began",
        "broken",
        "buffered",
        "client",
        "finished",
        "gone",
        "head",
        "id",
        "peer",
        "response",
        "task",
        "whole",
    )

    def __init__(self, connection: RequestConnection, peer: Peer, head: RequestHead, began: float) -> None:
        self._connection = connection
        self.peer = peer
        self.head = head
        self.id = head.request_id or request_id.new()
        """Its `X-Request-ID`."""
        self.client: Address | None = peer.client
        """[host, port] as the scope has it."""
        self.began = began
        """Time of the loop."""
        self.task: asyncio.Task[None] | None = None
        self.response = HttpResponse(head.method, head.version, head.keep_alive)
        self.finished = self.broken = False
        """Whether the response has ended, and whether before its end."""
        self._body: list[bytes] = []
        self.buffered = 0
        """Bytes of the body that wait for the application."""
        self.whole = not head.has_body
        """Whether the body has come to its end."""
        self._told = False
        """Whether the application knows that."""
        self._asks = head.expects_continue and head.has_body
        """Whether the client waits to be asked for the body."""
        self._event: asyncio.Event | None = None
        self.gone = False
        """Whether the client has gone."""
        self._behind: Callable[[], object] | None = None
        self._another_waits = False

    @property
    def path(self) -> str:
        """The path for a log: a query string may hold a token, and the host of a whole URL a password."""
        return USER.sub(rb"\1", self.head.target.partition(b"?")[0]).decode("ascii")

    # --- the body of the request ----------------------------------------------------------------------

    @property
    def waits_to_be_asked(self) -> bool:
        """Whether the client sends its body only when it is asked to (`Expect: 100-continue`)."""
        return self._asks

    def feed(self, data: bytes, whole: bool) -> None:
        """A part of the body has come; `whole` with the last one."""
        self._asks = False
        if data:
            self._body.append(data)
            self.buffered += len(data)
        self.whole = whole
        if self._event is not None:
            self._event.set()

    def disconnect(self) -> None:
        """The client has gone, or its body will not come."""
        self.gone = True
        self._behind = None
        if self._event is not None:
            self._event.set()

    async def receive(self) -> Message:
        """The application's next message."""
        if self._asks and not (self.gone or self.finished):
            self._asks = False
            if not self.response.status:  # nothing may come between the parts of an answer
                self._connection.write(CONTINUE)
            self._connection.resume_body()
        while not self._body and (self._told or not self.whole) and not (self.gone or self.finished):
            # Made only where it is needed: most requests have come in whole.
            self._event = self._event or asyncio.Event()
            self._event.clear()
            await self._event.wait()
        if not self._body and (self._told or not self.whole):
            return {"type": "http.disconnect"}
        body = b"".join(self._body)
        self._body.clear()
        if self.buffered > HIGH_WATER:
            self._connection.resume_body()
        self.buffered = 0
        self._told = self.whole
        return {"type": "http.request", "body": body, "more_body": not self.whole}

    def on_another(self, call: Callable[[], object]) -> None:
        """Call once when a further request has come behind this one, which it has to wait for.

        Offered to applications as `scope["extensions"]["switchboard.pipeline"]`.
        """
        self._behind = call
        if self._another_waits:
            call()

    def another_waits(self) -> None:
        """Bytes have come behind this request."""
        if not self._another_waits:
            self._another_waits = True
            if self._behind is not None:
                self._behind()

    # --- the response ---------------------------------------------------------------------------------

    async def send(self, message: Message) -> None:
        """Take a message of the application; waits while the client is far behind.

        Raises ValueError for a message that is wrong at this time; after the end messages are dropped.
        """
        self.reply(message)
        if self._connection.is_full and not (self.gone or self.finished):
            await self._connection.drained()

    def reply(self, message: Message) -> None:
        """Take a message of the application. Raises ValueError."""
        if self.gone or self.finished:
            return
        kind, response = message["type"], self.response
        if kind == "http.response.start":
            if response.status:
                raise ValueError("http.response.start after the start of the response")
            response.start(message["status"], message.get("headers") or (), self.id)
        elif kind == "http.response.body":
            if not response.status:
                raise ValueError("http.response.body before http.response.start")
            # Nothing can be read behind a body that has not come, or may not come.
            response.keep_alive &= self.whole and not self._connection.ends
            more = message.get("more_body", False)
            data = response.body(message.get("body", b""), more, self._connection.fixed_headers)
            if data:
                self._connection.write(data)
            if not more:
                self.broken = not response.whole
                self._finish()
        else:
            raise ValueError(f"unexpected message {kind!r} for a response")

    def answer(self, status: int, reason: str, headers: Iterable[Header] = ()) -> None:
        """A whole response of one line of text; where another one has begun, the connection ends."""
        if self.response.status:
            self.broken = True
            self._finish()
            return
        body = reason.encode() + b"\n"
        plain = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),
        ]
        self.reply({"type": "http.response.start", "status": status, "headers": [*plain, *headers]})
        self.reply({"type": "http.response.body", "body": body})

    # The next four are offered as `switchboard.response`.

    def write(self, data: bytes) -> None:
        """Send a part of the body now, whatever the client has read."""
        self.reply({"type": "http.response.body", "body": data, "more_body": True})

    def end(self) -> None:
        """Send the end of the body."""
        self.reply({"type": "http.response.body"})

    def held(self) -> int:
        """Bytes that the kernel has not taken."""
        return self._connection.held

    def abort(self) -> None:
        """Reset the connection in the middle of the response."""
        if not (self.gone or self.finished):
            self.broken = True
            self._finish()

    def _finish(self) -> None:
        self.finished = True
        self._behind = None  # an application's, which has this request
        if self._event is not None:
            self._event.set()
        self._connection.answered(self)
