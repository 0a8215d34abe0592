"""Places to listen at: sockets that are bound, from descriptions in Twisted's words.

`tcp:8000:interface=127.0.0.1`, `ssl:443:privateKey=key.pem:certKey=cert.pem`, `unix:/run/socket:mode=660` and
`fd:fileno=3`; a colon in a value is written `\\:`.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from switchboard_server.tls import server_context

BACKLOG: Final = 4096
"""Handshakes the kernel queues: with Twisted's 50, 500 clients that arrive at once get 98 a second."""
POSITIONAL: Final = {"tcp": "port", "tcp6": "port", "ssl": "port", "unix": "address", "fd": "fileno"}
KNOWN: Final = frozenset(
    {"port", "interface", "backlog", "privateKey", "certKey", "address", "mode", "fileno", "domain"}
)


@dataclass(frozen=True)
class Listening:
    """A socket that listens."""

    socket: socket.socket
    tls: ssl.SSLContext | None = None
    path: str = ""
    """Of a Unix socket that ends with the server."""
    file: tuple[int, int] | None = None
    """Device and number of the file at that path."""

    def unlink(self) -> None:
        """Remove the file of a Unix socket; a successor may have put its own there, which stays."""
        with suppress(FileNotFoundError):
            if self.path and _identity(self.path) == self.file:
                Path(self.path).unlink()


def listen(description: str, silence: float = 0.0) -> Listening:
    """Listen where a description says.

    The kernel drops a peer that acknowledges nothing for `silence` seconds, also while reading is paused.
    Raises ValueError for a description that means nothing, OSError for a place where nobody can listen.
    """
    kind, values = _parse(description)
    try:
        if kind == "fd":
            inherited = socket.socket(fileno=int(values["fileno"]))
            inherited.listen(BACKLOG)  # it may only be bound
            return Listening(_tuned(inherited, silence))
        backlog = int(values.get("backlog", BACKLOG))
        if kind == "unix":
            return _unix(values["address"], int(values.get("mode", "666"), 8), backlog)
        tls = None
        if kind == "ssl":
            key = values.get("privateKey", "server.pem")
            tls = server_context(values.get("certKey", key), key)
        everywhere = "::" if kind == "tcp6" else "0.0.0.0"  # noqa: S104 - as told
        host = values.get("interface") or everywhere
        return Listening(_tcp(host, int(values["port"]), backlog, silence), tls)
    except KeyError as error:
        raise ValueError(f"endpoint {description}: {error.args[0]} is missing") from None


def descriptions(host: str | None, port: int | None, path: str | None, descriptor: int | None) -> list[str]:
    """Descriptions of what the options `--bind`, `--port`, `--unix-socket` and `--fd` name."""
    found = []
    if host and port is not None:
        bare = host.strip("[]").replace(":", r"\:")
        found.append(f"tcp:port={port}:interface={bare}")
    if path:
        found.append("unix:" + path.replace(":", r"\:"))
    if descriptor is not None:
        found.append(f"fd:fileno={descriptor}")
    return found


def _parse(description: str) -> tuple[str, dict[str, str]]:
    kind, *words = (word.replace("\\:", ":") for word in re.split(r"(?<!\\):", description))
    if kind not in POSITIONAL:
        raise ValueError(f"endpoint {description}: expected one of {', '.join(POSITIONAL)}, but got {kind!r}")
    pairs = (word.partition("=") if "=" in word else (POSITIONAL[kind], "", word) for word in words)
    values = {name: value for name, _, value in pairs}
    if unknown := values.keys() - KNOWN:
        raise ValueError(f"endpoint {description}: nothing is known of {', '.join(sorted(unknown))}")
    return kind, values


def _tcp(host: str, port: int, backlog: int, silence: float) -> socket.socket:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(backlog)
    except OSError:
        listening.close()
        raise
    return _tuned(listening, silence)


def _tuned(listening: socket.socket, silence: float) -> socket.socket:
    """Set what the kernel hands down to every connection that is accepted."""
    listening.setblocking(False)
    if listening.family in (socket.AF_INET, socket.AF_INET6):
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if silence > 0 and hasattr(socket, "TCP_USER_TIMEOUT"):
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(silence * 1000))
    return listening


def _unix(path: str, mode: int, backlog: int) -> Listening:
    file = Path(path)
    if file.exists() and stat.S_ISSOCK(file.stat().st_mode):
        file.unlink()  # a server that was killed leaves it
    listening = socket.socket(socket.AF_UNIX)
    try:
        listening.bind(path)
        identity = _identity(path)
        os.chmod(path, mode)  # noqa: PTH101
        listening.listen(backlog)
    except OSError:
        listening.close()
        raise
    return Listening(_tuned(listening, 0.0), path=path, file=identity)


def _identity(path: str) -> tuple[int, int]:
    """What tells a file from another one that was put in its place."""
    found = Path(path).stat()
    return found.st_dev, found.st_ino
