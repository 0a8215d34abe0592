"""A server in the loop of a test, whose bytes the test writes."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

ALLOW = {"allow": True}
Serve = Callable[["Call"], Awaitable[None]]


class Call:
    """One question, and the connection that it came over."""

    def __init__(self, number: int, head: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        self.number = number
        """Of its connection, from 0."""
        self.head = head
        self.body = body
        self._writer = writer

    def header(self, name: str) -> str:
        return next(
            line.partition(": ")[2] for line in self.head.splitlines() if line.lower().startswith(name)
        )

    def write(self, text: str | bytes) -> None:
        self._writer.write(text.encode() if isinstance(text, str) else text)

    def answer(self, body: Any = ALLOW, status: str = "200 OK") -> None:
        text = json.dumps(body)
        self.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(text)}\r\n\r\n{text}")

    def close(self) -> None:
        self._writer.close()

    def reset(self) -> None:
        self._writer.transport.abort()


class Scripted:
    """Serves each question by `serve`, and keeps all of them."""

    url: str

    def __init__(self, serve: Serve) -> None:
        self.serve = serve
        self.calls: list[Call] = []
        self.connections = 0
        self.open: set[asyncio.Task[Any]] = set()

    async def client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.open.add(task)
        number, self.connections = self.connections, self.connections + 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                call = Call(number, head, b"", writer)
                call.body = await reader.readexactly(int(call.header("content-length")))
                self.calls.append(call)
                await self.serve(call)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open.discard(task)
            writer.close()


@asynccontextmanager
async def scripted(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[Scripted]:
    """The server, for the time of a context."""
    one = Scripted(serve)
    server = await asyncio.start_server(one.client, "127.0.0.1", 0, ssl=tls)
    one.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hooks?shop=7"
    try:
        yield one
    finally:
        server.close()
        tasks = list(one.open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
