"""Answers to a WebSocket handshake: the subprotocol, or a refusal with an HTTP status.

ASGI's extension `websocket.http.response` carries the status; our server, uvicorn and Hypercorn offer it. A
plain Daphne does not, and says 403 to everybody it refuses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from routing_app.core.codes import FORBIDDEN, Advice, Close

EXTENSION: Final = "websocket.http.response"
RETRY_AFTER_SECONDS: Final = {Advice.LATER: 5, Advice.NOW: 1}
"""Seconds of `Retry-After` where a client shall come back."""

Header = tuple[bytes, bytes]


def first_offered(scope: Mapping[str, Any]) -> str | None:
    """The subprotocol that a client would like best; None where it offers none."""
    return next(iter(scope.get("subprotocols") or ()), None)


async def deny(
    scope: Mapping[str, Any],
    send: Any,
    status: int,
    body: bytes,
    headers: Iterable[Header] = (),
    code: int = FORBIDDEN.code,
) -> None:
    """Answer a handshake with a response; `code` is for a server that closes instead, which becomes a 403."""
    if EXTENSION not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": code})
        return
    fixed = [(b"content-length", str(len(body)).encode()), (b"cache-control", b"no-store")]
    await send({"type": f"{EXTENSION}.start", "status": status, "headers": [*fixed, *headers]})
    await send({"type": f"{EXTENSION}.body", "body": body})


async def send_away(scope: Mapping[str, Any], send: Any, close: Close, seconds: int = 0) -> None:
    """Refuse a handshake: the server's 403, or a status with `Retry-After` where the client shall come back:
    after so many `seconds`, or those of its advice.
    """
    if close.advice is Advice.STAY_AWAY:
        await send({"type": "websocket.close", "code": close.portable_code})
        return
    again = retry_after(close.advice, seconds)
    headers = [(b"content-type", b"text/plain; charset=utf-8"), again]
    await deny(scope, send, close.status, f"{close.reason}\n".encode(), headers, close.portable_code)


async def accept_and_close(scope: Mapping[str, Any], send: Any, close: Close) -> None:
    """Answer a handshake so that a browser, too, sees the code of a refusal."""
    await send({"type": "websocket.accept", "subprotocol": first_offered(scope)})
    await send({"type": "websocket.close", "code": close.portable_code, "reason": close.reason})


def retry_after(advice: Advice = Advice.LATER, seconds: int = 0) -> Header:
    """The header that says when to come back."""
    return b"retry-after", str(seconds or RETRY_AFTER_SECONDS[advice]).encode()
