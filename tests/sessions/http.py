"""A small HTTP client on asyncio streams: hundreds of requests at once, from one test."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Reply:
    """An answer: its status, its headers by lower-case name, its body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


class Http:
    """Requests to one server, each on a connection of its own unless one is kept free."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        token: str = "",
        content_type: str = "text/plain;charset=UTF-8",
        **headers: str,
    ) -> Reply:
        """Send; `body` goes as JSON, as text/plain like a stock player's, unless it is bytes."""
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._host}:{self._port}"]
        lines += [f"Content-Length: {len(data)}", f"Content-Type: {content_type}"]
        lines += [f"Authorization: Bearer {token}"] if token else []
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        reader, writer = self._free.pop() if self._free else await self._connect()
        writer.write("\r\n".join([*lines, "", ""]).encode() + data)
        try:
            reply = await _read(reader)
        except BaseException:
            writer.close()
            raise
        if reply.headers.get("connection", "").lower() == "close":
            writer.close()
        else:
            self._free.append((reader, writer))
        return reply

    async def close(self) -> None:
        """Close what is kept."""
        kept, self._free = self._free, []
        for _, writer in kept:
            writer.close()
        await asyncio.gather(*[writer.wait_closed() for _, writer in kept], return_exceptions=True)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self._host, self._port)


async def _read(reader: asyncio.StreamReader) -> Reply:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = [line.partition(":") for line in head[1:] if line]
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    length = int(headers.get("content-length", 0))
    body = await reader.readexactly(length) if length else b""
    return Reply(int(head[0].split()[1]), headers, body)
