"""The opening handshake of RFC 6455, section 4.2, as pure functions over one request's headers."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from hashlib import sha1
from typing import Final

GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
VERSION: Final = b"13"
Header = tuple[bytes, bytes]
STOPPING: Final[tuple[int, str, list[Header]]] = (503, "The server is stopping", [(b"retry-after", b"1")])
"""Status, reason and headers of an answer to what a server that stops does not serve any more."""
UPGRADE: Final[list[Header]] = [
    (b"upgrade", b"websocket"),
    (b"connection", b"Upgrade"),
    (b"sec-websocket-version", VERSION),
]
"""Headers of every 426 (RFC 9110, 15.5.22; RFC 6455, 4.4)."""
NO_UPGRADE: Final = (
    "Here is a WebSocket, and this request does not ask for one: a proxy in between has to speak HTTP/1.1"
    " and pass on the headers Upgrade and Connection"
)


class HandshakeError(Exception):
    """A request that is not a WebSocket handshake: the HTTP answer it gets."""

    def __init__(self, status: int, reason: str, headers: Sequence[Header] = ()) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = list(headers)


def tokens(headers: Iterable[Header], name: bytes) -> list[bytes]:
    """The comma-separated words of a header, over all its values, in order."""
    values = [value for key, value in headers if key == name]
    if not values:  # most are not there, and this is asked several times for each handshake
        return values
    return [word for word in map(bytes.strip, b",".join(values).split(b",")) if word]


def wants_websocket(headers: Iterable[Header]) -> bool:
    """True for a request whose lower-cased headers ask to become a WebSocket."""
    return any(word.lower() == b"websocket" for word in tokens(headers, b"upgrade"))


def check(method: bytes, version: bytes, headers: Sequence[Header]) -> bytes:
    """The Sec-WebSocket-Key of a request that may be upgraded; `headers` lower-cased.

    Raises HandshakeError (section 4.2.1, 4.4 for the version).
    """
    if method != b"GET":
        raise HandshakeError(405, "A WebSocket handshake is a GET", [(b"allow", b"GET")])
    if version != b"HTTP/1.1" or b"upgrade" not in map(bytes.lower, tokens(headers, b"connection")):
        raise HandshakeError(426, NO_UPGRADE, UPGRADE)
    if tokens(headers, b"sec-websocket-version") != [VERSION]:
        raise HandshakeError(426, "Only WebSocket version 13", UPGRADE)
    if len(tokens(headers, b"host")) != 1:
        raise HandshakeError(400, "One Host header is needed")
    return _key(tokens(headers, b"sec-websocket-key"))


def _key(keys: list[bytes]) -> bytes:
    try:
        if len(keys) == 1 and len(b64decode(keys[0], validate=True)) == 16:
            return keys[0]
    except binascii.Error:
        pass
    raise HandshakeError(400, "Sec-WebSocket-Key is not 16 bytes in base64")


def subprotocols(headers: Iterable[Header]) -> list[str]:
    """The subprotocols the client offers, in its order."""
    return [word.decode("latin-1") for word in tokens(headers, b"sec-websocket-protocol")]


def answer(key: bytes, headers: Iterable[Header] = ()) -> bytes:
    """The whole 101 response. Raises ValueError for a header with a line break or NUL in it."""
    accept = b64encode(sha1(key + GUID, usedforsecurity=False).digest())
    lines = [
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: " + accept,
    ]
    for name, value in headers:
        if any(character in name + value for character in b"\r\n\0"):
            raise ValueError(f"control character in the response header {name!r}")
        lines.append(name + b": " + value)
    return b"\r\n".join(lines) + b"\r\n\r\n"
