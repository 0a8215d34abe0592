"""WebSockets and HTTP connections of thousands of clients in one process, which cost next to nothing.

All of them read into one buffer, the mask of a frame is 0, and nothing is decoded that nobody asks for.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections import deque
from typing import Any, Final

from tests.services.ports import LOOPBACK

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
HEAD_END: Final = b"\r\n\r\n"
ABNORMAL: Final = 1006
_READ: Final = memoryview(bytearray(1 << 16))


class Lost(Exception):
    """The connection ended while something was waited for, or the handshake was refused."""


class Link(asyncio.BufferedProtocol):
    """A TCP connection; a subclass has `read`."""

    def __init__(self) -> None:
        self.leaving = False
        """True when its end is our own doing."""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: Any = None
        self._rest = b""
        self._wanted: tuple[bytes, asyncio.Future[bytes]] | None = None

    async def connect(self, port: int) -> None:
        await asyncio.get_running_loop().create_connection(lambda: self, LOOPBACK, port)

    def abort(self) -> None:
        """Vanish."""
        self.leaving = True
        if self._transport is not None:
            self._transport.abort()

    def expect(self, needle: bytes) -> asyncio.Future[bytes]:
        """The next message that has these bytes in it; one is waited for at a time. Raises Lost."""
        assert self._wanted is None or self._wanted[1].done()
        found: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        if self.ended.done():
            found.set_exception(Lost("before anything was asked"))
        self._wanted = (needle, found)
        return found

    def answered(self, message: bytes) -> None:
        """A message that may be the one that is waited for."""
        if self._wanted is not None and self._wanted[0] in message:
            found = self._wanted[1]
            self._wanted = None
            if not found.done():
                found.set_result(message)

    def read(self, data: bytes) -> bytes:
        """Take bytes; what is not whole yet comes back."""
        raise NotImplementedError

    def lost(self) -> str:
        """Why the connection ended."""
        return "the connection ended"

    def connection_made(self, transport: Any) -> None:
        """asyncio's."""
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        """asyncio's: what is read is taken out of it before the next connection reads."""
        return _READ

    def buffer_updated(self, count: int) -> None:
        """asyncio's."""
        self._rest = self.read(self._rest + _READ[:count])

    def connection_lost(self, error: Exception | None) -> None:
        """asyncio's."""
        if self._wanted is not None and not self._wanted[1].done():
            self._wanted[1].set_exception(Lost(self.lost()))
        if not self.ended.done():
            self.ended.set_result(None)


class Socket(Link):
    """A WebSocket. A subclass may have `take`."""

    def __init__(self) -> None:
        super().__init__()
        self.code: int | None = None
        """Of the server's close frame."""
        self._is_open = False

    async def open(self, port: int, path: str, *first: str) -> None:
        """Shake hands, and send frames at once. Raises Lost when that is refused."""
        await self.connect(port)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {path} HTTP/1.1", f"Host: {LOOPBACK}:{port}", "Upgrade: websocket"]
        lines += ["Connection: Upgrade", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}", "", ""]
        accepted = self.expect(b"")
        self._transport.write("\r\n".join(lines).encode())
        head = await accepted
        if not head.startswith(b"HTTP/1.1 101 "):
            raise Lost(head.partition(b"\r\n")[0].decode())
        for text in first:
            self.send(text)

    def send(self, text: str) -> None:
        self._transport.write(_frame(TEXT, text.encode()))

    async def ask(self, text: str, needle: bytes) -> bytes:
        """Send, and wait for a frame with these bytes in it. Raises Lost."""
        found = self.expect(needle)
        self.send(text)
        return await found

    async def close(self) -> None:
        """Leave in order."""
        self.leaving = True
        if not self.ended.done():
            self._transport.write(_frame(CLOSE, (1000).to_bytes(2)))
        await self.ended

    def take(self, payload: bytes) -> None:
        """A text frame."""
        self.answered(payload)

    def lost(self) -> str:
        """With the code of the close."""
        return f"closed with {self.code or ABNORMAL}"

    def read(self, data: bytes) -> bytes:
        """The handshake's answer, then frames; a server of ours fragments none."""
        at = 0
        if not self._is_open:
            if (end := data.find(HEAD_END)) < 0:
                return data
            at = end + len(HEAD_END)
            self._is_open = True
            self.answered(data[:end])
        while len(data) - at >= 2:
            length, head = data[at + 1], 2
            if length >= 126:
                head = 4 if length == 126 else 10
                length = int.from_bytes(data[at + 2 : at + head])
            if len(data) - at < head + length:
                break
            self._take_frame(data[at] & 15, data[at + head : at + head + length])
            at += head + length
        return data[at:]

    def _take_frame(self, opcode: int, payload: bytes) -> None:
        if opcode == TEXT:
            self.take(payload)
        elif opcode == PING:
            self._transport.write(_frame(PONG, payload))
        elif opcode == CLOSE:
            self.code = int.from_bytes(payload[:2]) or None
            if not self.leaving:
                self._transport.write(_frame(CLOSE, payload[:2]))


class Exchange(Link):
    """HTTP requests over one connection, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self._turn = asyncio.Lock()

    async def ask(self, method: str, path: str, body: str = "", **headers: str) -> bytes:
        """The body of an answer with the status 200. Raises Lost."""
        data = body.encode()
        lines = [f"{method} {path} HTTP/1.1", f"Host: {LOOPBACK}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        lines += [f"Content-Length: {len(data)}"] if data else []
        async with self._turn:
            found = self.expect(b"")
            self._transport.write("\r\n".join([*lines, "", ""]).encode() + data)
            answer = await found
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise Lost(f"{method} {path}: {answer[:500]!r}")
        return answer.partition(HEAD_END)[2]

    def read(self, data: bytes) -> bytes:
        """One answer, whose length is in its head."""
        end = data.find(HEAD_END)
        if end < 0:
            return data
        _, _, length = data[:end].lower().partition(b"content-length:")
        size = end + len(HEAD_END) + int(length.partition(b"\r\n")[0])
        if len(data) < size:
            return data
        self.answered(data[:size])
        return data[size:]


class Calls:
    """HTTP requests, each over a connection that is free: the one that was not used for longest."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._free: deque[Exchange] = deque()

    async def json(self, method: str, path: str, body: Any, **headers: str) -> Any:
        """The body of an answer with the status 200, decoded. Raises Lost."""
        link = await self._connected()
        try:
            said = await link.ask(method, path, json.dumps(body), Content_Type="application/json", **headers)
        except BaseException:
            link.abort()
            raise
        self._free.append(link)
        return json.loads(said)

    def close(self) -> None:
        """Hang up."""
        while self._free:
            self._free.popleft().abort()

    async def _connected(self) -> Exchange:
        while self._free:
            if not (link := self._free.popleft()).ended.done():
                return link
        link = Exchange()
        await link.connect(self._port)
        return link


def _frame(opcode: int, payload: bytes) -> bytes:
    """A client's frame; the mask is 0, so that the payload is as it was."""
    length = len(payload)
    short = bytes([0x80 | length]) if length < 126 else b"\xfe" + length.to_bytes(2)
    return bytes([0x80 | opcode]) + short + bytes(4) + payload
