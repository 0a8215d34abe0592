"""The matrix: every client and how it connects; and the processes that hold the clients."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from tests.interop import puppet
from tests.interop.puppet import Client, Puppet

VERSIONS: Final = ("1.4", "1.7", "2.5", "3.1", "4.8")


@dataclass(frozen=True)
class Kind:
    """A client and how it connects."""

    name: str
    library: str
    options: dict[str, Any] = field(default_factory=dict)
    transport: str = "websocket"
    """The transport that it ends with."""

    def __str__(self) -> str:
        return self.name


JS_KINDS: Final = [
    *(Kind(f"{version}-default", f"socket.io-client-{version}") for version in VERSIONS),
    *(
        Kind(f"{version}-websocket", f"socket.io-client-{version}", {"transports": ["websocket"]})
        for version in VERSIONS
    ),
    *(
        Kind(f"{version}-polling", f"socket.io-client-{version}", {"transports": ["polling"]}, "polling")
        for version in VERSIONS
    ),
]
OLDEST_KINDS: Final = [
    Kind("1.0-default", "socket.io-client-1.0"),
    Kind("1.0-websocket", "socket.io-client-1.0", {"transports": ["websocket"]}),
    Kind("1.0-polling", "socket.io-client-1.0", {"transports": ["polling"]}, "polling"),
]
"""On Node they send text beyond ASCII wrongly over a WebSocket, and buffers on no version of Node that is
young enough for the others: a browser is where they are whole."""
WEBTRANSPORT: Final = Kind(
    "4.8-webtransport",
    "socket.io-client-4.8",
    {"transports": ["webtransport", "websocket", "polling"], "tryAllTransports": True},
)
"""Falls back to the next transport, as on a network without QUIC."""
KINDS: Final = [
    *JS_KINDS,
    *OLDEST_KINDS,
    WEBTRANSPORT,
    Kind("python-socketio-default", "python-socketio"),
    Kind("python-socketio-websocket", "python-socketio", {"transports": ["websocket"]}),
    Kind("python-socketio-polling", "python-socketio", {"transports": ["polling"]}, "polling"),
    Kind("socketio-client-2-default", "socketIO-client-2"),
    Kind("socketio-client-2-polling", "socketIO-client-2", {"transports": ["xhr-polling"]}, "polling"),
]


class Cast:
    """Clients of all kinds, in one process for each language and library; it starts with its first client.

    A context manager. `old_python` finds the interpreter of socketIO-client-2 when that is wanted.
    """

    def __init__(self, old_python: Callable[[], Path]) -> None:
        self._old_python = old_python
        self._processes: dict[str, Puppet] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    async def open(self, kind: Kind, name: str, url: str, **options: Any) -> Client:
        """A new client that has connected to a namespace; `name` is its alone."""
        process = self._processes.get(self._key(kind))
        if process is None:
            process = await self._stack.enter_async_context(self._puppet(kind))
            self._processes[self._key(kind)] = process
        return await process.open(name, kind.library, url, **kind.options, **options)

    @staticmethod
    def _key(kind: Kind) -> str:
        return "node" if kind.library.startswith("socket.io-client") else kind.library

    def _puppet(self, kind: Kind) -> Puppet:
        if kind.library == "python-socketio":
            return puppet.python_socketio()
        if kind.library == "socketIO-client-2":
            return puppet.socketio_client_2(self._old_python())
        return puppet.node()
