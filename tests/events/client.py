"""A client of the events protocol on the `websockets` package, and its accounts over HTTP."""

from __future__ import annotations

import json
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlencode

import jwt
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import ClientConnection, connect

from tests.services.server import Server

PUBLIC = "n::000000000000000000000001"
PASSWORD = "tea and cakes at nine"
TOKEN_SECRET = "a key that the tests' servers sign login tokens with"
SECONDS = 60.0
"""How long a frame may take on a busy machine; nothing is measured with it."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """A response: status, decoded body (None when it is empty), headers."""

    status: int
    body: Any
    headers: Mapping[str, str]


def call(
    server: Server,
    method: str,
    path: str,
    body: Any = None,
    token: str = "",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """One HTTP request; `body` is bytes, or a value to send as JSON."""
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    request = urllib.request.Request(server.url + path, data=data, method=method, headers=dict(headers or {}))
    request.add_header("Content-Type", "application/json")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as response:
            return _answer(response.status, response.read(), response.headers)
    except urllib.error.HTTPError as error:
        with error:
            return _answer(error.code, error.read(), error.headers)


def _answer(status: int, raw: bytes, headers: Any) -> Answer:
    try:
        body = json.loads(raw) if raw else None
    except ValueError:
        body = raw.decode()
    return Answer(status, body, dict(headers.items()))


@dataclass(frozen=True)
class User:
    """A registered user with one valid token."""

    email: str
    root_id: str
    token: str
    id: str


def register(server: Server, email: str = "", password: str = PASSWORD) -> str:
    """Register somebody new; the e-mail address."""
    email = email or f"{secrets.token_hex(6)}@example.com"
    assert call(server, "POST", "/user/register", {"email": email, "password": password}).status == 201
    return email


def log_in(server: Server, email: str, password: str = PASSWORD) -> User:
    """Log in; the user with a token of this login."""
    answer = call(server, "POST", "/user/login", {"email": email, "password": password})
    assert answer.status == 200, answer
    user = answer.body["user"]
    return User(email, f"n::{user['root_id']}", answer.body["token"], user["id"])


def new_user(server: Server) -> User:
    """Somebody new, registered and logged in over HTTP."""
    return log_in(server, register(server))


def people(server: Server, number: int) -> list[User]:
    """Users with tokens, made by a walker of the tests' app."""
    return [make_user(server) for _ in range(number)]


def make_user(server: Server, named_by_address: bool = True) -> User:
    """Somebody new, made by a walker."""
    email = f"{secrets.token_hex(6)}@example.com"
    name = email if named_by_address else secrets.token_hex(6)
    body = {"name": name, "email": email, "password": PASSWORD}
    answer = call(server, "POST", "/walker/make_user", body)
    assert answer.status == 200, answer
    return User(*answer.body["reports"][0])


def ending_in(seconds: float, token: str) -> str:
    """The same token, but for its end: so many seconds from now."""
    claims = jwt.decode(token, options={"verify_signature": False})
    return jwt.encode(claims | {"exp": int(time.time() + seconds)}, TOKEN_SECRET, "HS256")


class Socket:
    """One socket; `hello` is the data of its first frame."""

    def __init__(
        self, server: Server, channel: str = "", token: str = "", auth: str = "", origin: str = ""
    ) -> None:
        query = urlencode({"channel_id": channel} | ({"auth": auth} if auth else {}))
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._open = connect(
            f"{server.ws_url}/websocket?{query}",
            additional_headers=headers | ({"Origin": origin} if origin else {}),
            open_timeout=SECONDS,
            max_size=None,
            compression=None,
        )
        self._socket: ClientConnection = self._open.__enter__()
        self.hello: Json = self.receive()["data"]

    @property
    def client_id(self) -> str:
        return str(self.hello["client_id"])

    @property
    def root_id(self) -> str:
        return str(self.hello["root_id"])

    @property
    def channel_id(self) -> str:
        return str(self.hello["channel_id"])

    def send(self, event: Any) -> None:
        """Send a value as JSON; text and bytes as they are."""
        self._socket.send(event if isinstance(event, str | bytes) else json.dumps(event))

    def receive(self) -> Any:
        """The next frame."""
        return json.loads(self._socket.recv(SECONDS))

    def text(self) -> str:
        """The next frame as it is."""
        text = self._socket.recv(SECONDS)
        assert isinstance(text, str)
        return text

    def ask(self, event: Any) -> Any:
        """Send, and return the next frame."""
        self.send(event)
        return self.receive()

    def walk(self, name: str, context: Json | None = None, **extra: Any) -> Any:
        """Run a walker and return the next frame."""
        event = {"type": "walker", "walker": name, "response": True, "context": context or {}}
        return self.ask(event | extra)

    def pending(self) -> list[Any]:
        """All that arrived before the answer to a `connection` event, which comes after what went before."""
        self.send({"type": "connection"})
        frames = []
        while (frame := self.receive()).get("type") != "connection":
            frames.append(frame)
        self.hello = frame["data"]
        return frames

    def change_user(self, token: str | None) -> str:
        """Become the user of a token; the root id that the server answers."""
        self.hello = self.ask({"type": "change_user", "token": token})["data"]
        return self.root_id

    def close_code(self) -> int | None:
        """Wait for the server's close; its code."""
        with suppress(ConnectionClosedError):
            for _ in self._socket:
                pass
        return self._socket.close_code

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def last_line(frame: Json) -> str:
    """The last line of an error."""
    return str(frame["error"][-1])
