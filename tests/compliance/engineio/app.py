"""The application that the conformance suites of Engine.IO and Socket.IO expect, on our own endpoint.

`/engine.io/` echoes every message. `/socket.io/` has the namespaces `/` and `/custom`: a client that connects
is sent `auth` with what it brought, `message` comes back as `message-back`, `message-with-ack` as its ack.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import django
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "broker_project.settings")
django.setup()

from routing_app.core.codes import Close  # noqa: E402
from routing_app.core.delivery.publication import Publication  # noqa: E402
from routing_app.core.delivery.writer import EXTENSION  # noqa: E402
from routing_app.core.protocol import Protocol, register  # noqa: E402
from routing_app.core.worker import Worker, current_worker  # noqa: E402
from routing_app.engineio.endpoint import Endpoint  # noqa: E402
from routing_app.engineio.session import EngineOptions, EngineSession  # noqa: E402
from routing_app.engineio.socketio.client import SocketClient  # noqa: E402
from routing_app.engineio.socketio.socket import Ack, NamespaceSocket  # noqa: E402
from routing_app.engineio.wire import MESSAGE, VERSIONS, Packet  # noqa: E402


class Echo:
    """Sends every message back."""

    def __init__(self, session: EngineSession) -> None:
        self._session = session

    async def opened(self) -> None:
        """Nothing to say."""

    async def received(self, message: Packet) -> None:
        self._session.send(message if isinstance(message, bytes) else MESSAGE + message)

    def closed(self, close: Close) -> None:
        """Nothing to clean up."""


class NoEncoder:
    """Nothing is published to the echo namespaces."""

    per_address = False

    def __call__(self, publication: Publication, address: str) -> str | None:
        return None


class EchoNamespace:
    """`auth`, `message`, `message-with-ack`."""

    encoder = NoEncoder()

    def handler(self, socket: NamespaceSocket) -> EchoHandler:
        return EchoHandler(socket)


class EchoHandler:
    """One socket of it."""

    def __init__(self, socket: NamespaceSocket) -> None:
        self._socket = socket

    async def opened(self) -> None:
        self._socket.emit("auth", self._socket.payload)

    async def received(self, name: Any, arguments: list[Any], ack: Ack) -> None:
        if name == "message":
            self._socket.emit("message-back", *arguments)
        elif name == "message-with-ack":
            ack(*arguments)

    received_binary = received

    def grant_changed(self) -> None:
        """Nothing is bounded."""

    def closed(self) -> None:
        """Nothing to clean up."""


def _served(protocol: str, endpoint: Endpoint) -> Endpoint:
    """Have every worker keep what the endpoint needs."""

    class EndpointProtocol(Protocol):
        name = protocol

        def __init__(self, worker: Worker) -> None:
            super().__init__(worker)
            self.engineio = endpoint.new_state(worker)

    register(EndpointProtocol)
    settings.ORIGINS[protocol] = ["*"]
    return endpoint


class Application:
    """Both endpoints as one ASGI application."""

    def __init__(self, options: EngineOptions, connect_seconds: float, pace: float) -> None:
        self._pace = pace
        namespaces = {"/": EchoNamespace(), "/custom": EchoNamespace()}

        def client(session: EngineSession) -> SocketClient:
            return SocketClient(session, current_worker(), "socketio", namespaces, connect_seconds)

        self._endpoints = {
            "/engine.io/": _served("engineio", Endpoint("engineio", Echo, options)),
            "/socket.io/": _served("socketio", Endpoint("socketio", client, options)),
        }

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        if scope["type"] == "websocket" and self._pace and b"sid=" not in scope["query_string"]:
            scope, send = _apart(scope, send, self._pace)
        endpoint = self._endpoints.get(scope["path"])
        if endpoint is not None:
            await endpoint(scope, receive, send)
        elif scope["type"] == "http":
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        else:
            await send({"type": "websocket.close"})


def _apart(scope: Any, send: Any, seconds: float) -> tuple[Any, Any]:
    """Sends frames one by one, at least `seconds` apart.

    The public suites wait for one message at a time, and miss the second of two that arrive in one read.
    """
    extensions = {name: value for name, value in scope.get("extensions", {}).items() if name != EXTENSION}
    time = asyncio.get_running_loop().time
    free_at = 0.0

    async def pace(message: Any) -> None:
        nonlocal free_at
        await asyncio.sleep(max(0.0, free_at - time()))
        free_at = time() + seconds
        await send(message)

    return {**scope, "extensions": extensions}, pace


TIMES = "SWITCHBOARD_COMPLIANCE"
"""Variable that holds ping interval, ping timeout, connect timeout and pace in milliseconds, with commas."""
ONLY_4 = "SWITCHBOARD_COMPLIANCE_ONLY_4"
"""Variable that is `yes` where clients before protocol 4 are refused, as the original does by default."""


def _application() -> Application:
    times = os.environ.get(TIMES, "300,200,1000,0").split(",")
    interval, timeout, connect, pace = (int(text) / 1000 for text in times)
    versions = {"4": 4} if os.environ.get(ONLY_4) == "yes" else VERSIONS
    options = EngineOptions(interval, {3: timeout, 4: timeout}, versions=versions)
    return Application(options, connect, pace)


application = _application()
