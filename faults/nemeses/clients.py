"""Clients that behave badly: one that floods, and a hundred that do not read."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from typing import Final

from faults.nemeses.nemesis import Nemesis
from tests.services.ports import LOOPBACK

READERS: Final = 100
HANDSHAKE: Final = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
FRAME: Final = b"\x81\x8f\x00\x00\x00\x00nobody|0 flood "
"""A masked text frame of the tokens protocol, to a token that nobody has."""


class ClientFault(Nemesis):
    """A fault made by clients of one server."""

    def open(self, path: str) -> socket.socket:
        """A socket whose handshake is on its way. Raises OSError."""
        port = self.node.server.port
        client = socket.create_connection((LOOPBACK, port), timeout=5)
        client.sendall(HANDSHAKE.format(path=path, host=f"{LOOPBACK}:{port}").encode())
        return client


class Flood(ClientFault):
    """One client sends as fast as it can."""

    name = "flood"
    seconds = (0.0, 0.0)

    def begin(self) -> str:
        """For two seconds at most, and 20 MB."""
        sent = 0
        with suppress(OSError), self.open("/ws?RegisterToken=flood") as client:
            client.recv(4096)
            client.settimeout(0.5)
            until = time.monotonic() + 2
            while time.monotonic() < until and sent < 20_000_000:
                sent += client.send(FRAME * 500)
        return f"{sent} bytes to server {self.number()}"


class SlowReaders(ClientFault):
    """A hundred clients that read nothing of what the others of their address get."""

    name = "slow readers"
    seconds = (3.0, 15.0)

    def begin(self) -> str:
        """On the token that everybody publishes to."""
        self.clients: list[socket.socket] = []
        with suppress(OSError):
            for _ in range(READERS):
                self.clients.append(self.open(f"/ws?RegisterToken={self.world.prefix}"))
        return f"{len(self.clients)} at server {self.number()}"

    def heal(self) -> None:
        """They leave."""
        for client in self.clients:
            client.close()
