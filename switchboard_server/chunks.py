"""The chunked coding of a request's body (RFC 9112, section 7.1): bytes in, body out. No I/O.

llhttp reads on into the request behind a body and does not tell where that begins, and here a request waits
until the one before it is answered. So the few lines of this coding are read here, strictly.
"""

from __future__ import annotations

import re
from typing import Final

from switchboard_server.request_head import RequestRefused

MAX_LINE: Final = 4096
"""Bytes of a line with a chunk's size and extensions."""
MAX_TRAILERS: Final = 8192
"""Bytes of all trailers."""
SIZE_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?")
TRAILER: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*")


class ChunkReader:
    """Cuts one body from the stream. `whole` becomes true with its end; `rest` is what comes behind."""

    __slots__ = ("_data", "_ends", "_left", "_trailers", "rest", "whole")

    def __init__(self) -> None:
        self._data = b""
        """The beginning of a line that is not whole yet."""
        self._left = 0
        """Bytes of the chunk that have not come."""
        self._ends = False
        """Whether the CRLF behind a chunk is next."""
        self._trailers = -1
        """Bytes of trailers so far; -1 before the last chunk."""
        self.whole = False
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """Add bytes; the part of the body that they hold. Raises RequestRefused."""
        data = self._data + data
        at, body = 0, []
        while at < len(data) and not self.whole:
            if self._left:
                body.append(data[at : at + self._left])
                at += len(body[-1])
                self._left -= len(body[-1])
                self._ends = not self._left
            elif (line := self._line(data, at)) is not None:
                at += len(line) + 2
                self._take(line)
            else:
                break
        self._data, self.rest = (b"", data[at:]) if self.whole else (data[at:], b"")
        return b"".join(body)

    def _line(self, data: bytes, at: int) -> bytes | None:
        """The line that begins at `at`, without its CRLF; None until it is whole."""
        if self._ends and not b"\r\n".startswith(data[at : at + 2]):
            raise RequestRefused(400, "A chunk is longer than its size")
        end = data.find(b"\n", at)
        if (end if end >= 0 else len(data)) - at > MAX_LINE:
            raise RequestRefused(400, "A line of the chunked body is too long")
        if end < 0:
            return None
        if end == at or data[end - 1 : end] != b"\r":
            raise RequestRefused(400, "A line of the chunked body does not end with CRLF")
        return data[at : end - 1]

    def _take(self, line: bytes) -> None:
        if self._ends:
            self._ends = False
        elif self._trailers >= 0:
            self._take_trailer(line)
        elif (match := SIZE_LINE.fullmatch(line)) is None:
            raise RequestRefused(400, "The size of a chunk is not a hexadecimal number")
        elif size := int(match[1], 16):
            self._left = size
        else:
            self._trailers = 0

    def _take_trailer(self, line: bytes) -> None:
        """Check a trailer and drop it: ASGI has no place for it."""
        if not line:
            self.whole = True
            return
        self._trailers += len(line)
        if self._trailers > MAX_TRAILERS or not TRAILER.fullmatch(line):
            raise RequestRefused(400, "The trailers of the chunked body are malformed or too long")
