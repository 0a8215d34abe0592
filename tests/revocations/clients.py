"""Clients of every protocol that carry names; each comes from an address of its own."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import count
from typing import Any, ClassVar
from urllib.parse import quote

import jwt
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.services.ports import LOOPBACK
from tests.services.server import Server

SECONDS = 60
"""How long anything may take on a busy machine; nothing is measured with it."""
REVOKED = 4008
_hosts = count(2)


def new_host() -> str:
    """An address of this machine that no other client has."""
    number = next(_hosts)
    return f"127.7.{number // 250}.{number % 250 + 1}"


def call(server: Server, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """One HTTP request from 127.0.0.1, with the server's key."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(server.url + path, data, method=method)
    given = {"X-API-Key": server.api_key, "Content-Type": "application/json", **headers}
    for name, value in given.items():
        request.add_header(name.replace("_", "-"), value)
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            text = answer.read()
            return answer.status, json.loads(text) if text else None
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


async def acall(server: Server, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """The same, beside the event loop."""
    return await asyncio.to_thread(call, server, method, path, body, **headers)


async def revoke(server: Server, **fields: Any) -> str:
    """Make a revocation; the path that lifts it."""
    status, made = await acall(server, "POST", "/api/revocations/", fields)
    assert status == 201, made
    return f"/api/revocations/{made['id']}/"


async def lift(server: Server, path: str) -> None:
    """Lift a revocation."""
    assert (await acall(server, "DELETE", path))[0] == 204


@dataclass
class Client:
    """What a client presents, and where it comes from."""

    server: Server
    stack: AsyncExitStack
    host: str = field(default_factory=new_host)
    path: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    where: ClassVar[str] = ""

    def __post_init__(self) -> None:
        self.path = self.path or self.where.format(self.token)

    def present(self, token: str) -> None:
        """Carry an access token from now on."""
        self.headers["Authorization"] = f"Bearer {token}"

    async def socket(self) -> ClientConnection:
        """An open WebSocket. Raises InvalidStatus."""
        opening = connect(
            self.server.ws_url + self.path,
            local_addr=(self.host, 0),
            additional_headers=self.headers,
            proxy=None,
            ping_interval=None,
            open_timeout=SECONDS,
        )
        return await self.stack.enter_async_context(opening)

    async def open(self) -> Any:
        """Connect; returns what `ended` waits for. Raises Refused."""
        try:
            return await self.socket()
        except InvalidStatus as error:
            raise Refused(error.response.status_code) from None

    async def ended(self, opened: Any) -> int:
        """The code of the close, when it has come."""
        try:
            async with asyncio.timeout(SECONDS):
                while True:
                    await opened.recv()
        except ConnectionClosed:
            return int(opened.close_code)


@dataclass(frozen=True)
class Issuer:
    """Signs access tokens for everything."""

    name: str
    secret: str

    def token(self, subject: str, **claims: Any) -> str:
        """An access token of a subject."""
        given = {"iss": self.name, "sub": subject, "exp": int(time.time()) + 900}
        allowed = {"subscribe": ["*"], "publish": ["*"]}
        return jwt.encode({**given, **allowed, **claims}, self.secret, "HS256")


class Refused(Exception):
    """A handshake was answered with a status, or a packet, that refuses."""

    def __init__(self, how: Any) -> None:
        super().__init__(str(how))
        self.how = how


class Tokens(Client):
    """`/ws`."""

    where = "/ws?RegisterToken={}"


class Plain(Client):
    """A plain socket of rooms."""

    where = "/bus"


class SocketIO(Client):
    """Socket.IO 4 over WebSocket, in the namespace `/bus`."""

    where = "/socket.io/?EIO=4&transport=websocket"
    auth: dict[str, str] | None = None

    def present(self, token: str) -> None:
        self.auth = {"token": token}

    async def open(self) -> Any:
        socket = await super().open()
        await socket.recv()
        auth = "" if self.auth is None else json.dumps(self.auth)
        await socket.send(f"40/bus,{auth}")
        answer = str(await socket.recv())
        if answer.startswith("44/bus,"):
            raise Refused(json.loads(answer.removeprefix("44/bus,")))
        assert answer.startswith("40/bus,"), answer
        return socket

    async def ended(self, opened: Any) -> int:
        """The close comes after the packet that has the client stay away."""
        async with asyncio.timeout(SECONDS):
            while (packet := await opened.recv()) != "41/bus,":
                assert packet == "2", packet
        return await super().ended(opened)


class Events(Client):
    """`/websocket`."""

    where = "/websocket?channel_id=lobby"


class Requests(Client):
    """`/connection`."""

    where = "/connection"


class Http(Client):
    """Requests over HTTP from an address of its own."""

    async def get(self, path: str, method: str = "GET", body: Any = None) -> tuple[int, str]:
        """Status and body of an answer."""
        reader, writer = await self.send(path, method, body)
        async with asyncio.timeout(SECONDS):
            answer = (await reader.read()).decode()
        writer.close()
        return int(answer.split(" ", 2)[1]), answer.partition("\r\n\r\n")[2]

    async def send(
        self, path: str, method: str = "GET", body: Any = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(LOOPBACK, self.server.port, local_addr=(self.host, 0))
        self.stack.callback(writer.close)
        text = "" if body is None else json.dumps(body)
        lines = [f"{method} {path} HTTP/1.1", f"Host: {LOOPBACK}:{self.server.port}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        lines += [f"Content-Length: {len(text)}"] if text else []
        writer.write("\r\n".join([*lines, "", text]).encode())
        return reader, writer


class Stream(Http):
    """`/api/stream`: it has no code, and ends."""

    async def open(self) -> Any:
        address = f"/api/stream?address={quote('channel:lobby')}"
        reader, _ = await self.send(address)
        async with asyncio.timeout(SECONDS):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        status = int(head.split(" ", 2)[1])
        if status != 200:
            raise Refused(status)
        return reader

    async def ended(self, opened: Any) -> int:
        async with asyncio.timeout(SECONDS):
            await opened.read()
        return REVOKED


class Polling(Http):
    """Engine.IO by polling: a session that is in no namespace."""

    async def open(self) -> Any:
        status, body = await self.get("/socket.io/?EIO=4&transport=polling")
        if status != 200:
            raise Refused(status)
        return json.loads(body[1:])["sid"]

    async def ended(self, opened: Any) -> int:
        """A poll gets the packet that ends the session, or the session is not there. A PING may be first."""
        while True:
            status, body = await self.get(f"/socket.io/?EIO=4&transport=polling&sid={opened}")
            if status in (400, 403) or "1" in body.split("\x1e"):
                return REVOKED
            assert (status, body) == (200, "2")


Kinds = type[Client]
Look = Callable[[], Awaitable[Any]]
EVERY_PROTOCOL: tuple[Kinds, ...] = (Tokens, Plain, SocketIO, Events, Requests, Stream, Polling)
