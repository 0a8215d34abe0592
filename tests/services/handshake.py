"""The answer to one request as it stands on the wire: any Host, any headers, a WebSocket handshake or not."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from tests.services.ports import LOOPBACK

UPGRADE: Final = (
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
)
Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Head:
    """Status and headers of an answer, names in lower case."""

    status: int
    headers: dict[str, str]

    def header(self, name: str) -> str | None:
        """One header; None when it is missing."""
        return self.headers.get(name)


def shake(port: int, path: str, *headers: tuple[str, str], host: str = "") -> Head:
    """Ask for a WebSocket, and leave once it is answered."""
    with shaken(port, path, *headers, host=host) as head:
        return head


@contextmanager
def shaken(port: int, path: str, *headers: tuple[str, str], host: str = "") -> Iterator[Head]:
    """The same, staying until the end of the block."""
    with _answered(port, "GET", path, [*UPGRADE, *headers], "", host) as head:
        yield head


def ask(port: int, method: str, path: str, *headers: tuple[str, str], host: str = "", body: str = "") -> Head:
    """An HTTP request."""
    with _answered(port, method, path, headers, body, host) as head:
        return head


@contextmanager
def _answered(port: int, method: str, path: str, headers: Headers, body: str, host: str) -> Iterator[Head]:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host or f'{LOOPBACK}:{port}'}"]
    lines += [f"{name}: {value}" for name, value in headers]
    lines += [f"Content-Length: {len(body)}"] if body else []
    with socket.create_connection((LOOPBACK, port), timeout=60) as connection:
        connection.sendall("\r\n".join([*lines, "", body]).encode())
        yield _read_head(connection)


def _read_head(connection: socket.socket) -> Head:
    received = b""
    while b"\r\n\r\n" not in received:
        part = connection.recv(65536)
        assert part, f"no whole answer came: {received!r}"
        received += part
    status, *lines = received.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    return Head(int(status.split()[1]), headers)
