"""A backend of the tests: answers hooks as it is told, and keeps what it was asked."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any, Final, NamedTuple

from tests.services.server import Server

ALLOW: Final = {"allow": True}
_numbers: Final = count(1)


class Asked(NamedTuple):
    """One question: the headers in lower case, and the body as it came."""

    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


class Raw(NamedTuple):
    """An answer that is not the usual one."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = {}


class Reset(Exception):
    """Have the connection reset in place of an answer."""


class Silent(Exception):
    """Give no answer until the test has ended."""


class Route:
    """What is asked at one path; `answer` may be changed."""

    def __init__(self, url: str, answer: Any) -> None:
        self.url = url
        self.answer: Any = answer
        """An object of JSON, Raw, an exception, or a function of what was asked that gives one of them."""
        self.asked: list[Asked] = []
        self.connections: set[int] = set()
        """Ports of the other end from which questions came."""

    @property
    def bodies(self) -> list[Any]:
        return [one.body for one in self.asked]


class Backend:
    """One HTTP server, with a path for each test."""

    def __init__(self) -> None:
        self.routes: dict[str, Route] = {}
        self.ended = threading.Event()
        backend = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                backend.serve(self)

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *arguments: None  # type: ignore[method-assign]
        threading.Thread(target=self._server.serve_forever, args=[0.05], daemon=True).start()

    def route(self, answer: Any = ALLOW) -> Route:
        path = f"/{next(_numbers)}"
        route = self.routes[path] = Route(f"http://127.0.0.1:{self._server.server_port}{path}", answer)
        return route

    def close(self) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        route = self.routes[handler.path]
        raw = handler.rfile.read(int(handler.headers["Content-Length"]))
        asked = Asked({name.lower(): value for name, value in handler.headers.items()}, raw)
        route.connections.add(handler.client_address[1])
        route.asked.append(asked)
        try:
            answer = route.answer(asked) if callable(route.answer) else route.answer
            if isinstance(answer, Exception):
                raise answer
        except Reset:
            linger = struct.pack("ii", 1, 0)
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            handler.close_connection = True
            handler.connection.close()
            return
        except Silent:
            self.ended.wait(60)
            handler.close_connection = True
            return
        if not isinstance(answer, Raw):
            answer = Raw(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})
        handler.send_response(answer.status)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(answer.body)))
        handler.end_headers()
        handler.wfile.write(answer.body)


class Hooks:
    """Hooks of a server that answer at a backend."""

    def __init__(self, server: Server, backend: Backend) -> None:
        self._server = server
        self._backend = backend

    @contextmanager
    def hook(
        self, protocol: str, on: str, pattern: str, answer: Any = ALLOW, **fields: Any
    ) -> Iterator[Route]:
        """A hook for the time of a context. It holds in the process that answers."""
        route = self._backend.route(answer)
        row = {"protocol": protocol, "on": on, "pattern": pattern, "url": route.url, "timeout": 60_000}
        made = self.call("POST", "/api/hooks/", {**row, **fields})
        try:
            yield route
        finally:
            self.call("DELETE", f"/api/hooks/{made['id']}/")

    def call(self, method: str, path: str, body: Any = None) -> Any:
        status, answer = call(self._server, method, path, body)
        assert status < 300, (status, answer)
        return answer


def call(server: Server, method: str, path: str, body: Any = None, key: str = "") -> tuple[int, Any]:
    """Status and body of a call of the REST API."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key or server.api_key}"}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        text = response.read().decode()
        return response.status, json.loads(text) if text else None
    finally:
        connection.close()
