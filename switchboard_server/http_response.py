"""HTTP responses as bytes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Final

from switchboard_server.handshake import Header
from switchboard_server.request_id import HEADER

NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
NO_CONTENT: Final = 204
WITHOUT_BODY: Final = frozenset({NO_CONTENT, 304})
CONTROL: Final = re.compile(rb"[\r\n\0]")
LINES_KEPT: Final = 1024
"""Headers whose lines are remembered: those of most responses are the same."""
SHORT: Final = 80
"""Bytes of a value that is remembered: longer ones are cookies and the like."""


class HttpResponse:
    """One response as bytes: the application's messages in, what goes to the client out. No I/O.

    The body is framed here: by the length that the application announces, by that of a body that comes in one
    message, else in chunks, and for HTTP/1.0 by the end of the connection.
    """

    __slots__ = (
        "_chunked",
        "_head",
        "_left",
        "_method",
        "_names",
        "_version",
        "keep_alive",
        "size",
        "status",
    )

    def __init__(self, method: str, version: str, keep_alive: bool) -> None:
        self._method = method
        self._version = version
        self.keep_alive = keep_alive
        """Whether the connection serves on afterwards."""
        self.status = 0
        """0 until `start`."""
        self.size = 0
        """Bytes of the body so far."""
        self._head: list[bytes] | None = None
        """Lines of the head, until it is sent with the first part of the body."""
        self._names: set[bytes] = set()
        self._left = -1
        """Bytes of the body that are missing; -1 where no length was announced."""
        self._chunked = False

    def start(self, status: int, headers: Iterable[Header], request_id: str) -> None:
        """Take status and headers. Raises ValueError for a header that would break out of its line.

        The head has `X-Request-ID` with `request_id` where the application answers none of its own.
        """
        lines = [STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status]
        length, closes = -1, False
        for name, value in headers:
            if name == b"content-length":  # differs each time
                length = int(value)
                continue
            make = _known_line if len(value) <= SHORT else _line
            lowered, line = make(bytes(name), bytes(value))
            if lowered == b"content-length":
                length = int(value)
            elif lowered == b"connection" and b"close" in value.lower():
                closes = True
            elif lowered != b"transfer-encoding":
                self._names.add(lowered)
                lines.append(line)
        if HEADER not in self._names:
            lines.append(b"X-Request-ID: %b\r\n" % request_id.encode("ascii"))
        self.status, self._head, self._left = status, lines, length
        self.keep_alive &= not closes

    @property
    def whole(self) -> bool:
        """Whether no byte of an announced body is missing."""
        return self._left <= 0 or self._is_bodiless

    def body(self, body: bytes, more: bool, fixed: Mapping[bytes, bytes]) -> bytes:
        """A part of the body, as it goes to the client; behind the head, if it is the first.

        `fixed` are lines of headers for a head that has none of these lower-case names. Raises ValueError for
        more than was announced.
        """
        data = b""
        if self._head is not None:
            self._frame(len(body), more)
            self._head += [line for name, line in fixed.items() if name not in self._names]
            data, self._head = b"".join(self._head) + b"\r\n", None
        self.size += len(body)
        if self._is_bodiless:
            return data
        if self._chunked:
            data += b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            return data + (b"" if more else b"0\r\n\r\n")
        if self._left >= 0:
            self._left -= len(body)
            if self._left < 0:
                raise ValueError("the body of the response is longer than its Content-Length")
        return data + body

    @property
    def _is_bodiless(self) -> bool:
        return self._method == "HEAD" or self.status in WITHOUT_BODY or self.status < 200

    def _frame(self, size: int, more: bool) -> None:
        """Add the lines that say where the body ends, and whether the connection does with it."""
        assert self._head is not None
        if self._left < 0 and not more and not self._is_bodiless:
            self._left = size
        if self._left >= 0:
            if self.status != NO_CONTENT:
                self._head.append(b"Content-Length: %d\r\n" % self._left)
        elif not self._is_bodiless:
            self._chunked = self._version == "1.1"
            self.keep_alive &= self._chunked
        if self._chunked:
            self._head.append(b"Transfer-Encoding: chunked\r\n")
        if not self.keep_alive:
            self._head.insert(1, b"Connection: close\r\n")
        elif self._version == "1.0":
            self._head.insert(1, b"Connection: keep-alive\r\n")


def fixed_headers(server_name: str, now: float) -> dict[bytes, bytes]:
    """`Server` and `Date` as lines, by lower-case name, for responses that have none of their own."""
    date = b"Date: " + formatdate(now, usegmt=True).encode() + b"\r\n"
    server = {b"server": f"Server: {server_name}\r\n".encode()} if server_name else {}
    return {**server, b"date": date}


def _line(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """(lower-case name, its line). Each word has a capital, as old clients look for it. Raises ValueError."""
    if not NAME.fullmatch(name):
        raise ValueError(f"not a header name: {name!r}")
    if CONTROL.search(value):
        raise ValueError("a control character in a header of the response")
    lowered = name.lower()
    spelled = b"-".join(word.capitalize() for word in lowered.split(b"-"))
    return lowered, b"%b: %b\r\n" % (spelled, value)


_known_line = lru_cache(LINES_KEPT)(_line)
