"""Clients at network addresses of their own, and what `/metrics` counts of them."""

from __future__ import annotations

import urllib.error
import urllib.request
from contextlib import ExitStack
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.services.server import Server

SECONDS = 60


def refusals(server: Server, protocol: str) -> float:
    """What `/metrics` counts as refused by a rate."""
    headers = {"X-API-Key": server.api_key}
    with urllib.request.urlopen(urllib.request.Request(f"{server.url}/metrics", headers=headers)) as answer:
        lines = answer.read().decode().splitlines()
    wanted = f'switchboard_refused_total{{protocol="{protocol}",reason="rate"}} '
    return sum(float(line.removeprefix(wanted)) for line in lines if line.startswith(wanted))


class Socket:
    """A WebSocket of a client at an address."""

    def __init__(self, server: Server, path: str, host: str, keyed: bool = True) -> None:
        headers = {"X-Forwarded-For": host, **({"X-API-Key": server.api_key} if keyed else {})}
        self._exit = ExitStack()
        options: dict[str, Any] = {"proxy": None, "max_queue": None, "open_timeout": SECONDS}
        self.socket: ClientConnection = self._exit.enter_context(
            connect(server.ws_url + path, additional_headers=headers, **options)
        )

    def send(self, *texts: str) -> None:
        for text in texts:
            self.socket.send(text)

    def texts(self, last: str) -> list[str]:
        """All frames until one that contains `last`."""
        found: list[str] = []
        while not found or last not in found[-1]:
            found.append(str(self.socket.recv(timeout=SECONDS)))
        return found

    def close_code(self) -> int | None:
        try:
            while True:
                self.socket.recv(timeout=SECONDS)
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None

    def close(self) -> None:
        self._exit.close()


def get(server: Server, path: str, host: str, key: str = "", **headers: str) -> tuple[int, str, Any]:
    """Status, Retry-After and body of a request; the body is not waited for where it has no end."""
    given = {"X-Forwarded-For": host, **({"X-API-Key": key} if key else {}), **headers}
    request = urllib.request.Request(server.url + path, headers=given)
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            is_stream = answer.headers["Content-Type"] == "text/event-stream"
            return answer.status, "", answer.fp.readline() if is_stream else answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Retry-After"] or "", error.read()
