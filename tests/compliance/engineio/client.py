"""Raw Engine.IO: requests and frames as they are on the wire, nothing decoded, nothing done on its own."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Mapping
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from typing import Any, Final, Self
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.services.ports import LOOPBACK

SECONDS: Final = 60.0
"""A limit for what hangs, not a measure."""


@dataclass(frozen=True)
class Answer:
    """An HTTP response."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass(frozen=True)
class Site:
    """An Engine.IO endpoint of a server on loopback, for one version."""

    port: int
    version: int = 4
    path: str = "/engine.io/"

    def query(self, transport: str, sid: str = "", **more: str) -> str:
        fields = {"EIO": str(self.version), "transport": transport} | ({"sid": sid} if sid else {}) | more
        return f"{self.path}?{urlencode({name: text for name, text in fields.items() if text != '-'})}"

    async def get(self, sid: str = "", transport: str = "polling", **more: str) -> Answer:
        """A poll; a field that is `-` is left out of the query."""
        return await self.request("GET", self.query(transport, sid, **more))

    async def post(self, body: str | bytes, sid: str = "", **headers: str) -> Answer:
        """Packets to the server."""
        return await self.request("POST", self.query("polling", sid), body, headers)

    async def request(
        self, method: str, target: str, body: str | bytes = b"", headers: Mapping[str, str] = {}
    ) -> Answer:
        """Any request, on a connection of its own."""
        payload = body.encode() if isinstance(body, str) else body
        return await asyncio.to_thread(self._request, method, target, payload, headers)

    async def begin_poll(self, sid: str) -> asyncio.Task[Answer]:
        """A poll whose request has been sent: it is with the server before anything sent later."""
        return await self._begin("GET", sid)

    async def begin_post(self, body: str, sid: str) -> asyncio.Task[Answer]:
        """The same with packets to the server."""
        return await self._begin("POST", sid, body.encode())

    async def _begin(self, method: str, sid: str, body: bytes = b"") -> asyncio.Task[Answer]:
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=SECONDS)
        await asyncio.to_thread(connection.request, method, self.query("polling", sid), body)
        return asyncio.create_task(asyncio.to_thread(_answer, connection))

    def _request(self, method: str, target: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=SECONDS)
        dashed = {name.replace("_", "-"): text for name, text in headers.items()}
        connection.request(method, target, body, dashed)
        return _answer(connection)

    async def open(self, **more: str) -> str:
        """A new polling session; its id."""
        answer = await self.get(**more)
        assert answer.status == 200, answer
        return str(handshake(answer.text)["sid"])

    async def socket(self, stack: AsyncExitStack, sid: str = "", **more: str) -> Socket:
        """A WebSocket, of a new session or of one that polls."""
        url = f"ws://{LOOPBACK}:{self.port}{self.query('websocket', sid, **more)}"
        return Socket(
            await stack.enter_async_context(connect(url, proxy=None, max_queue=None, max_size=None))
        )

    async def refusal(self, sid: str = "", transport: str = "websocket", **more: str) -> int:
        """The status that refuses a WebSocket."""
        url = f"ws://{LOOPBACK}:{self.port}{self.query(transport, sid, **more)}"
        try:
            async with connect(url, proxy=None):
                return 101
        except InvalidStatus as error:
            return error.response.status_code


def _answer(connection: http.client.HTTPConnection) -> Answer:
    with closing(connection):
        response = connection.getresponse()
        lowered = {name.lower(): text for name, text in response.getheaders()}
        return Answer(response.status, response.read(), lowered)


class Socket:
    """One WebSocket."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, *frames: str | bytes) -> Self:
        """Frames, one after the other."""
        for frame in frames:
            await self.connection.send(frame)
        return self

    async def receive(self) -> Any:
        """The next frame."""
        return await asyncio.wait_for(self.connection.recv(), SECONDS)

    async def receive_but(self, *ignored: str) -> Any:
        """The next frame that is none of these."""
        while (frame := await self.receive()) in ignored:
            pass
        return frame

    async def closed(self) -> int | None:
        """Wait for the end; the code of the close frame, None without one."""
        try:
            while True:
                await self.receive()
        except ConnectionClosed as error:
            return error.rcvd.code if error.rcvd else None


def handshake(text: str) -> dict[str, Any]:
    """The JSON of the opening packet, in the string form of either version."""
    found: dict[str, Any] = json.loads(text[text.index("{") :])
    return found
