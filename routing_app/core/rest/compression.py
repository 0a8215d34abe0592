"""Answers in gzip, for clients that accept it: an ASGI middleware, so that polls and all views have it.

The length of an answer in gzip tells, over many requests, of a secret that stands in it beside something
that the attacker chooses (BREACH). So an answer that depends on a cookie, which a browser sends with the
requests of any page, is not compressed. All others have up to 100 random bytes more (Django's
`compress_string`).
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final

from django.utils.text import compress_string

SMALLEST: Final = 1024
"""Bytes of the smallest answer that is compressed, as in engine.io: below, it fits one packet anyway."""
LARGEST: Final = 4 * 2**20
"""Bytes of the largest one; a larger one is passed on as it comes."""
IN_PLACE: Final = 32 * 1024
"""Bytes that are compressed at once, which takes 0.5 ms; more are compressed in a thread."""
RANDOM_BYTES: Final = 100
COMPRESSIBLE: Final = re.compile(
    rb"text/(?!event-stream)|image/svg\+xml"
    rb"|application/(json|javascript|xml|octet-stream|vnd\.oai\.openapi|[a-z0-9.-]+\+(json|xml))"
)
"""Types of answers that become shorter; `octet-stream` is that of polls with binary data."""
NO_WEIGHT: Final = re.compile(rb";\s*q=0(\.0*)?\s*\Z")
BODILESS: Final = frozenset({204, 206, 304})
"""Statuses without a body, and that of a part of one, whose bytes are counted as they are."""

Headers = list[tuple[bytes, bytes]]


class Gzip:
    """Compresses the answers that name their length; streams, which do not, are passed on as they come."""

    def __init__(self, application: Any) -> None:
        self._application = application

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Serve one ASGI HTTP scope."""
        answer = send if scope["method"] == "HEAD" else _Answer(scope["headers"], send)
        await self._application(scope, receive, answer)


class _Answer:
    """A `send` that keeps back an answer which may be compressed until it is whole."""

    def __init__(self, request: Headers, send: Any) -> None:
        self._request = request
        self._send = send
        self._start: dict[str, Any] | None = None
        self._parts: list[bytes] = []

    async def __call__(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start" and _may_shrink(message):
            self._start = message
        elif self._start is None or message["type"] != "http.response.body":
            await self._send(message)
        else:
            self._parts.append(message.get("body", b""))
            if not message.get("more_body"):
                await self._end(self._start, b"".join(self._parts))

    async def _end(self, start: dict[str, Any], body: bytes) -> None:
        headers: Headers = [*start["headers"], (b"vary", b"Accept-Encoding")]
        if accepts_gzip(self._request):
            shrunk = _shrunk(body) if len(body) <= IN_PLACE else await asyncio.to_thread(_shrunk, body)
            if len(shrunk) < len(body):
                headers, body = _encoded(headers, len(shrunk)), shrunk
        await self._send({**start, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


def accepts_gzip(request: Headers) -> bool:
    """True where the lower-cased headers of a request accept gzip (RFC 9110, 12.5.3)."""
    accepted: dict[bytes, bool] = {}
    for name, value in request:
        if name == b"accept-encoding":
            for word in value.lower().split(b","):
                accepted[word.partition(b";")[0].strip()] = NO_WEIGHT.search(word) is None
    return accepted.get(b"gzip", accepted.get(b"*", False))


def _shrunk(body: bytes) -> bytes:
    return compress_string(body, max_random_bytes=RANDOM_BYTES)


def _may_shrink(start: dict[str, Any]) -> bool:
    """True for an answer of a known length between the bounds, of a type that becomes shorter."""
    said = [(name.lower(), value) for name, value in start.get("headers", ())]
    headers = dict(said)
    length = headers.get(b"content-length", b"")
    varies = b",".join(value.lower() for name, value in said if name == b"vary")
    return (
        start["status"] not in BODILESS
        and length.isdigit()
        and SMALLEST < int(length[:20]) <= LARGEST
        and COMPRESSIBLE.match(headers.get(b"content-type", b"").lower()) is not None
        and b"content-encoding" not in headers
        and b"cookie" not in varies
        and b"no-transform" not in headers.get(b"cache-control", b"")
    )


def _encoded(headers: Headers, size: int) -> Headers:
    """The headers of the same answer in gzip. A strong ETag is one of other bytes (RFC 9110, 8.8.1)."""
    kept = [
        (name, b"W/" + value if name.lower() == b"etag" and value.startswith(b'"') else value)
        for name, value in headers
        if name.lower() != b"content-length"
    ]
    return [*kept, (b"content-length", str(size).encode()), (b"content-encoding", b"gzip")]
