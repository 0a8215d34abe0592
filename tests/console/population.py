"""Clients of every protocol, and rows of every kind, whose names say whatever a test wants."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any, Final, Self
from urllib.parse import quote

from websockets.sync.client import ClientConnection, connect

from tests.events.client import log_in, register
from tests.hooks.backend import call
from tests.services.ports import LOOPBACK
from tests.services.server import Server
from tests.sessions.conftest import Broker

MARKUP: Final = "<b onmouseover=alert(1)>{}</b><img src=x onerror=alert(2)>"
"""A name of whatever the field is; it holds no character that an address or a header cannot."""


class Population:
    """A server that is in use. A context manager; what it opened is closed with it."""

    def __init__(self, server: Server, name: str = "{}") -> None:
        self.server = server
        self.name = name
        self.customer = self.named("customer")
        self._exit = ExitStack()
        self.sockets: dict[str, ClientConnection] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._exit.close()

    def named(self, what: str) -> str:
        """The name of something."""
        return self.name.format(what)

    def rest(self, method: str, path: str, body: Any = None) -> Any:
        """A call with the server's API key that is answered well."""
        status, answer = call(self.server, method, f"/api/{path}", body)
        assert status < 300, (path, status, answer)
        return answer

    def open(self, path: str, key: str = "", host: str = LOOPBACK, **headers: str) -> ClientConnection:
        """Connect from a network address of this machine; it is kept under `key` and closed in the end."""
        given = {"User-Agent": self.named("agent"), **headers}
        url = path if path.startswith("ws") else self.server.ws_url + path
        socket = self._exit.enter_context(
            connect(
                url,
                additional_headers=given,
                user_agent_header=None,
                proxy=None,
                max_queue=None,
                open_timeout=60,
                source_address=(host, 0),
            )
        )
        self.sockets[key or path] = socket
        return socket

    def clients(self) -> None:
        """One of each protocol, with a frame that came and one that was sent, or more."""
        self.tokens()
        self.rooms()
        self.events()
        self.requests()
        self.player()

    def tokens(self, what: str = "token") -> ClientConnection:
        """It has one frame back."""
        socket = self.open(f"/ws?RegisterToken={quote(self.named(what))}", "tokens")
        socket.send(f"Echo:{self.named('echo')}")
        socket.recv(timeout=60)
        return socket

    def rooms(self) -> ClientConnection:
        """It is alone in a room."""
        socket = self.open("/layout", "rooms")
        room = {"room": self.named("room")}
        socket.send(json.dumps(["JOIN", room | {"name": self.named("nickname")}]))
        socket.send(json.dumps(["CLIENTS", room]))
        socket.recv(timeout=60)
        return socket

    def events(self) -> ClientConnection:
        """It is a user in a channel."""
        account = log_in(self.server, register(self.server))
        path = f"/websocket?channel_id={quote(self.named('channel'))}"
        socket = self.open(path, "events", Authorization=f"Bearer {account.token}")
        socket.recv(timeout=60)
        socket.send(json.dumps({"type": "connection"}))
        socket.recv(timeout=60)
        return socket

    def requests(self) -> ClientConnection:
        """It is subscribed to the token of the tokens client."""
        socket = self.open(f"/connection?key={self.server.api_key}", "requests")
        request = {"direction": "REQUEST", "key": "1", "type": "subscribe"}
        socket.send(json.dumps({**request, "addresses": [f"token:{self.named('token')}"]}))
        socket.recv(timeout=60)
        return socket

    def player(self, **body: str) -> ClientConnection:
        """A device of the customer plays a film."""
        token = Broker(self.server).token(self.customer)
        wanted = {
            "offerId": self.named("film"),
            "sessionName": self.named("living room"),
            "deviceName": self.named("television"),
        } | body
        endpoint = self._create(token, wanted)["endpoint"]
        socket = self.open(endpoint, "sessions")
        socket.send(json.dumps({"action": "REQUESTED"}))
        socket.recv(timeout=60)
        return socket

    def _create(self, token: str, body: Any) -> Any:
        status, answer = call(self.server, "POST", "/sessions", body, token)
        assert status < 300, (status, answer)
        return answer

    def rows(self) -> None:
        """A webhook with a delivery, a hook, a stream, a scheduled message, and entries of the audit log."""
        url = "http://127.0.0.1:9/"
        webhook = {"name": self.named("webhook"), "url": url, "events": ["user.registered"]}
        made = self.rest("POST", "webhooks/", webhook)
        self.rest("POST", f"webhooks/{made['id']}/test")
        hook = {
            "protocol": "tokens",
            "on": "subscribe",
            "pattern": f"token:{self.named('never')}",
            "url": url,
        }
        self.rest("POST", "hooks/", {**hook, "timeout": 1000})
        address = f"token:{self.named('kept')}"
        self.rest("POST", "rules/", {"pattern": "token:*", "history_size": 100, "history_seconds": 600})
        for _ in range(3):
            self.rest("POST", "publish", {"addresses": [address], "message": {"says": self.named("message")}})
        later = {"addresses": [address], "message": self.named("later"), "delay": 3600, "id": "later"}
        self.rest("POST", "publish", later)
