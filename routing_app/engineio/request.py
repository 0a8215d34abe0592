"""A request to the endpoint (version, transport, session), and how it is answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

from routing_app.core.access import cors
from routing_app.engineio.jsonp import callback_of
from routing_app.engineio.session import Fault, RequestRefused
from routing_app.engineio.wire import TEXT_TYPE

Header = tuple[bytes, bytes]

MAX_FIELDS: Final = 64
"""Fields of a query string that are read."""
MESSAGES: Final = {
    Fault.UNKNOWN_TRANSPORT: "Transport unknown",
    Fault.UNKNOWN_SID: "Session ID unknown",
    Fault.BAD_METHOD: "Bad handshake method",
    Fault.BAD_REQUEST: "Bad request",
    Fault.FORBIDDEN: "Forbidden",
    Fault.UNSUPPORTED_VERSION: "Unsupported protocol version",
}
"""The messages of the original servers."""


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """The query of one request, checked."""

    version: int
    transport: str
    sid: str
    query: Mapping[str, str]

    @property
    def encodes_twice(self) -> bool:
        """True for a client that encodes strings a second time in frames, too: socket.io-client 1.0."""
        return self.query.get("EIO") == "2"

    @property
    def callback(self) -> str:
        """The callback of a JSONP request; "" for any other."""
        return callback_of(self.query.get("j", "")) if self.transport == "polling" else ""


def read_request(scope: Mapping[str, Any], versions: Mapping[str, int]) -> EngineRequest:
    """Check the query of a scope; `versions` as in EngineOptions. Raises RequestRefused."""
    try:
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), True, max_num_fields=MAX_FIELDS))
    except ValueError:
        raise RequestRefused(Fault.BAD_REQUEST) from None
    transport = query.get("transport", "")
    if transport not in ("polling", "websocket"):
        raise RequestRefused(Fault.UNKNOWN_TRANSPORT)
    version = versions.get(query.get("EIO", ""))
    if version is None:
        raise RequestRefused(Fault.UNSUPPORTED_VERSION)
    if (transport == "polling") != (scope["type"] == "http"):
        raise RequestRefused(Fault.BAD_REQUEST)
    request = EngineRequest(version, transport, query.get("sid", ""), query)
    if transport == "polling" and "j" in query and not request.callback:
        raise RequestRefused(Fault.BAD_REQUEST)
    return request


def header(scope: Mapping[str, Any], name: bytes) -> str | None:
    """The last header of a name; None when there is none."""
    values = [value for key, value in scope["headers"] if key == name]
    return values[-1].decode("latin-1") if values else None


def cross_origin(scope: Mapping[str, Any]) -> list[Header]:
    """CORS as the original servers do it: an Origin is reflected, with credentials; without one, `*`.

    The endpoint refuses a foreign origin before it answers anything else.
    """
    origin = header(scope, b"origin")
    if origin is None:
        return _encoded(cors.readable_by("*"))
    return [*_encoded(cors.readable_by(origin, credentials=True)), (b"vary", b"Origin")]


def preflight(scope: Mapping[str, Any]) -> list[Header]:
    """The headers of a preflight's answer, beside those of `cross_origin`."""
    wanted = header(scope, b"access-control-request-headers") or "Content-Type, Authorization"
    return _encoded(cors.preflight("GET,POST,OPTIONS", wanted, 600))


def _encoded(headers: Mapping[str, str]) -> list[Header]:
    return [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]


async def respond(
    send: Any, status: int, body: bytes, headers: Iterable[Header], content_type: bytes = TEXT_TYPE
) -> None:
    """A whole HTTP response."""
    all_headers = [
        (b"content-type", content_type),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *headers,
    ]
    await send({"type": "http.response.start", "status": status, "headers": all_headers})
    await send({"type": "http.response.body", "body": body})
