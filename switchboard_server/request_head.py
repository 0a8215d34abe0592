"""The head of an HTTP/1 request: llhttp parses it, and what two servers could read differently is refused.

llhttp without its lenient flags refuses most of that itself (bare LF and CR, folded lines, spaces before a
colon, control characters, two lengths, a length beside `Transfer-Encoding`). `RequestHead` refuses the rest.
"""

from __future__ import annotations

import re
from typing import ClassVar, Final

import httptools

from switchboard_server import request_id
from switchboard_server.handshake import Header

MAX_HEAD_BYTES: Final = 65536
"""Bytes of request line and headers, as uvicorn has it."""
MAX_FIELDS: Final = 200
"""Headers of one request: thousands of small ones take longer than their bytes do."""
WHOLE_URL: Final = re.compile(rb"https?://[^/?#]", re.IGNORECASE)
COMMON_NAMES: Final = {
    name: name
    for name in (
        b"host connection upgrade origin cookie user-agent accept accept-encoding accept-language "
        b"cache-control pragma authorization content-length content-type sec-websocket-key "
        b"sec-websocket-version sec-websocket-extensions sec-websocket-protocol x-api-key"
    ).split()
}
"""Names of headers that nearly every request has: kept once instead of once per connection."""


class RequestRefused(Exception):
    """A request that is not served: its status and one line that says why. The connection ends with it."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class RequestHead:
    """Request line and headers of one request, fed as they come and never beyond their end."""

    __slots__ = (
        "_fields",
        "_parser",
        "_size",
        "chunked",
        "complete",
        "content_length",
        "expects_continue",
        "headers",
        "host",
        "keep_alive",
        "method",
        "request_id",
        "target",
        "upgrades",
        "version",
    )

    def __init__(self) -> None:
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        """None once the head is complete: each would keep the other."""
        self._size = self._fields = 0
        self.complete = False
        self.target = b""
        """As it was sent, without a fragment."""
        self.headers: list[Header] = []
        """Names in lower case. Names with an underscore are left out: CGI cannot tell them from those with a
        hyphen (CVE-2015-0219)."""
        self.method = self.version = ""
        self.host: bytes | None = None
        self.request_id = ""
        """That of the client, where it has sent one that is acceptable."""
        self.content_length = 0
        self.chunked = self.keep_alive = self.expects_continue = False
        self.upgrades = False
        """Whether there is an `Upgrade` header."""

    def feed(self, data: bytes) -> None:
        """Add bytes of the head. Raises RequestRefused."""
        self._size += len(data)
        if self._size > MAX_HEAD_BYTES:
            raise RequestRefused(431, "The head of the request is too large")
        assert self._parser is not None, "the head is complete"
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError as error:
            if isinstance(refused := error.__context__, RequestRefused):
                raise refused from None
            raise RequestRefused(400, f"Not HTTP: {error}") from None
        if self.complete:
            parser, self._parser = self._parser, None
            self.method = parser.get_method().decode("ascii")
            self.version = parser.get_http_version()
            self._check()

    @property
    def has_body(self) -> bool:
        """Whether a body follows."""
        return self.chunked or self.content_length > 0

    # --- called by the parser -------------------------------------------------------------------------

    def on_url(self, url: bytes) -> None:
        """Take the target, or a part of it."""
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header. Raises RequestRefused."""
        self._fields += 1
        if self._fields > MAX_FIELDS:
            raise RequestRefused(431, f"The request has more than {MAX_FIELDS} headers")
        if b"_" not in name:
            name = name.lower()
            self.headers.append((COMMON_NAMES.get(name, name), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        """Note that the head has ended. The parser forgets `Connection` when its message ends."""
        assert self._parser is not None
        self.complete = True
        self.keep_alive = self._parser.should_keep_alive()

    # --------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        if self.version not in ("1.1", "1.0"):
            raise RequestRefused(505, "Served are HTTP/1.0 and HTTP/1.1")
        self.target = self.target.partition(b"#")[0]
        if not self.target.startswith(b"/"):
            self._check_target()
        for name, value in self.headers:
            if (check := self._CHECKS.get(name)) is not None:
                check(self, value)

    def _check_target(self) -> None:
        if self.method == "CONNECT":
            raise RequestRefused(405, "This is not a proxy")
        if not WHOLE_URL.match(self.target) and (self.target, self.method) != (b"*", "OPTIONS"):
            raise RequestRefused(400, "The target is neither a path nor a URL of HTTP")

    def _check_coding(self, value: bytes) -> None:
        if self.version == "1.0":
            raise RequestRefused(400, "HTTP/1.0 knows no Transfer-Encoding")
        if value.lower() != b"chunked":
            raise RequestRefused(501, "The only Transfer-Encoding is chunked")
        self.chunked = True

    def _check_host(self, value: bytes) -> None:
        if self.host is not None:
            raise RequestRefused(400, "One Host header is allowed")
        self.host = value

    def _take_length(self, value: bytes) -> None:
        self.content_length = int(value)

    def _take_expect(self, value: bytes) -> None:
        self.expects_continue = self.version == "1.1" and value.lower() == b"100-continue"

    def _take_upgrade(self, value: bytes) -> None:
        self.upgrades = True

    def _take_request_id(self, value: bytes) -> None:
        self.request_id = request_id.taken(value)

    _CHECKS: ClassVar = {
        b"host": _check_host,
        b"content-length": _take_length,
        b"transfer-encoding": _check_coding,
        b"expect": _take_expect,
        b"upgrade": _take_upgrade,
        request_id.HEADER: _take_request_id,
    }
