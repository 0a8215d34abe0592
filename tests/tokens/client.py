"""A client of the tokens protocol and a caller of its HTTP side, for servers that the tests started."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from typing import Any, Final
from urllib.parse import urlencode

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.services.ports import LOOPBACK
from tests.services.server import Server

_markers: Final = count(1)


class Client:
    """One socket on `/ws`; `token` None sends no query string."""

    def __init__(self, server: Server, token: str | None = None, **options: Any) -> None:
        query = "" if token is None else "?" + urlencode({"RegisterToken": token})
        self._compat = server.env.get("TOKENS_WIRE_COMPAT") == "yes"
        self._exit = ExitStack()
        # No bound on what is received and not read yet: the close frame is behind it.
        options = {"proxy": None, "max_queue": None, "open_timeout": 60, **options}
        self.socket = self._exit.enter_context(connect(f"{server.ws_url}/ws{query}", **options))

    @property
    def peer(self) -> str:
        """Our `ip:port`, as the server sees it."""
        host, port = self.socket.local_address[:2]
        return f"{host}:{port}"

    def send(self, message: str | bytes) -> None:
        """Send one frame, text or binary."""
        self.socket.send(message)

    def received(self) -> list[str | bytes]:
        """All frames until the server has answered an echo, hence has handled all that was sent here."""
        marker = f"marker {next(_markers)}"
        self.send(f"Echo:{marker}")
        last = f'"{marker}"\n' if self._compat else marker
        frames = []
        while (frame := self.socket.recv(timeout=60)) != last:
            frames.append(frame)
        return frames

    def next_frame(self) -> str | bytes:
        """The next frame, waiting for it."""
        return self.socket.recv(timeout=60)

    def close_code(self) -> int | None:
        """The code of the close frame, waiting for it; what comes before is dropped."""
        try:
            while True:
                self.socket.recv(timeout=60)
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None

    def close(self) -> None:
        """Leave."""
        self._exit.close()


def refusal(server: Server, token: str | None = None, **options: Any) -> int:
    """The status that a refused handshake is answered with."""
    try:
        Client(server, token, **options).close()
    except InvalidStatus as error:
        return error.response.status_code
    return 101


@dataclass(frozen=True)
class Reply:
    """An HTTP response."""

    status: int
    headers: Mapping[str, str]
    text: str

    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.text)


def call(
    server: Server, method: str, path: str, body: Any = None, *, seconds: float = 60, **headers: str
) -> Reply:
    """One HTTP request with the server's API key; a `dict` goes as JSON, `_` in header names is `-`."""
    named = {"X-API-Key": server.api_key} | {name.replace("_", "-"): value for name, value in headers.items()}
    if isinstance(body, dict):
        body = json.dumps(body)
        named["Content-Type"] = "application/json"
    connection = http.client.HTTPConnection(LOOPBACK, server.port, timeout=seconds)
    try:
        connection.request(method, path, body, named)
        response = connection.getresponse()
        return Reply(response.status, dict(response.headers), response.read().decode())
    finally:
        connection.close()


def form(server: Server, method: str, **fields: str) -> Reply:
    """One call of the form API, as a form."""
    body = urlencode({"method": method, **fields})
    return call(server, "POST", "/", body, Content_Type="application/x-www-form-urlencoded")
