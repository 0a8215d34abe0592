"""A peer of the requests protocol that knows frames only, and a caller of the HTTP side."""

from __future__ import annotations

import http.client
import json
from contextlib import ExitStack
from itertools import count
from typing import Any, Final

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.services.ports import LOOPBACK
from tests.services.server import Server

_keys: Final = count(1)

RECEIPTS: Final = Subprotocol("wyre.receipt")


class Peer:
    """One socket on `/connection`."""

    def __init__(self, server: Server, query: str = "", receipts: bool = False, **options: Any) -> None:
        self.server = server
        self._exit = ExitStack()
        options = {"proxy": None, "max_queue": None, "max_size": None, "open_timeout": 60, **options}
        if receipts:
            options["subprotocols"] = [RECEIPTS]
        self.socket = self._exit.enter_context(connect(f"{server.ws_url}/connection{query}", **options))

    def send(self, frame: dict[str, Any] | str | bytes) -> None:
        """Send one frame; a `dict` as JSON."""
        self.socket.send(json.dumps(frame) if isinstance(frame, dict) else frame)

    def next(self, timeout: float = 60) -> dict[str, Any]:
        """The next frame, waiting for it."""
        text = self.socket.recv(timeout=timeout)
        assert isinstance(text, str), "a frame of the server is text"
        decoded = json.loads(text)
        assert isinstance(decoded, dict)
        return decoded

    def ask(self, type: str, **fields: Any) -> dict[str, Any]:
        """Send a request and return the final answer; frames that come before it are dropped."""
        key = f"k{next(_keys)}"
        self.send({"direction": "REQUEST", "key": key, "type": type, **fields})
        while (frame := self.next()).get("key") != key or frame["direction"] == "PARTIAL":
            pass
        return {name: value for name, value in frame.items() if name != "key"}

    def silent(self) -> list[dict[str, Any]]:
        """All frames until the server has answered a request, hence has read all that was sent before."""
        key = f"marker {next(_keys)}"
        self.send({"direction": "REQUEST", "type": "whoami", "key": key})
        frames = []
        while (frame := self.next()).get("key") != key:
            frames.append(frame)
        return frames

    @property
    def id(self) -> str:
        """The connection's id at the server."""
        return str(self.ask("whoami")["id"])

    def close_code(self) -> tuple[int, str]:
        """Code and reason of the close, waiting for it; what comes before is dropped."""
        try:
            while True:
                self.socket.recv(timeout=60)
        except ConnectionClosed as closed:
            return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, "")

    def close(self) -> None:
        """Leave."""
        self._exit.close()


def call(server: Server, path: str, body: Any, key: str | None = None) -> tuple[int, Any]:
    """POST JSON with the server's API key: status and decoded body."""
    headers = {"Content-Type": "application/json", "X-API-Key": key or server.api_key}
    http_connection = http.client.HTTPConnection(LOOPBACK, server.port, timeout=60)
    try:
        http_connection.request("POST", path, json.dumps(body), headers)
        response = http_connection.getresponse()
        text = response.read().decode()
        return response.status, json.loads(text) if text else None
    finally:
        http_connection.close()
