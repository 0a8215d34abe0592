"""A running server of ours with the tests' applications, and clients that send nothing by themselves."""

from __future__ import annotations

import asyncio
import json
import os
import struct
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from tests.services.databases import REPOSITORY
from tests.services.ports import LOOPBACK, answers, free_port
from tests.services.process import Process

APPLICATION = "tests.server.apps:app"
PATIENT = {"PATIENCE": "600"}
"""Environment of a server whose clients may stand still for longer than it waits by itself (`apps.py`)."""


class Plain:
    """A running `python -m switchboard_server` with the tests' application.

    It pings nobody unless it is told to: on a slow machine a ping would come between what a test waits for.
    """

    def __init__(self, folder: Path, *arguments: str, environ: dict[str, str] | None = None) -> None:
        self.port = free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.process = Process(
            [
                sys.executable,
                "-m",
                "switchboard_server",
                *("-v0", "-p", str(self.port), "--ping-interval", "0"),
                *arguments,
                APPLICATION,
            ],
            log=folder / "log",
            env={**os.environ, **(environ or {})},
            cwd=REPOSITORY,
        )
        self.process.wait_until(lambda: answers(self.port))

    @property
    def pid(self) -> int:
        """Of the server."""
        return self.process.pid

    def open(self, path: str, **options: Any) -> connect:
        """Connect a well-behaved client; use as a context manager or await it."""
        given = {"max_size": None, "compression": None, "ping_interval": None, "open_timeout": 60} | options
        return connect(f"ws://{LOOPBACK}:{self.port}{path}", **given)

    async def raw(self, path: str, send: bytes = b"", **changes: Any) -> Raw:
        """Connect a client that sends nothing by itself; `send` follows its handshake request at once.

        `changes` are headers by their name with `_` for `-`; None leaves one out.
        """
        reader, writer = await asyncio.open_connection(LOOPBACK, self.port, limit=2**16)
        raw = Raw(reader, writer)
        await raw.request(handshake(path, **changes) + send)
        return raw

    def get(self, path: str = "/stats", **headers: str) -> Any:
        """The application's counters; also while draining, when it answers 503."""
        request = urllib.request.Request(self.url + path, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.load(response)
        except urllib.error.HTTPError as response:
            with response:
                return json.load(response)

    async def stats(self, path: str = "/stats", **headers: str) -> Any:
        """`get` for coroutines."""
        return await asyncio.to_thread(self.get, path, **headers)

    async def has_waiting(self, count: int = 1) -> bool:
        """True when this many requests and handshakes have come that an application takes its time with."""
        return bool((await self.stats())["waiting"] >= count)

    async def has_lost(self, codes: int) -> bool:
        """True when a client has gone without a close, after so many codes were remembered."""
        return 1006 in (await self.stats())["codes"][codes:]

    async def has_stopped_reading(self, raw: Raw) -> bool:
        """True when it has answered ten requests, and meanwhile read nothing of what waits in a client."""
        waits = raw.unsent
        for _ in range(10):
            await self.stats()
        return 0 < raw.unsent == waits

    async def peak(self) -> int:
        """The most resident bytes at any of fifty answers, behind each of which its loop has gone on."""
        most = 0
        for _ in range(50):
            await self.stats()
            most = max(most, self.memory())
        return most

    def memory(self) -> int:
        """Resident bytes of the server."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        return int(text.split("VmRSS:")[1].split()[0]) * 1024


class Raw:
    """Bytes to and from the server, without a WebSocket library that would answer by itself."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.head = b""

    async def request(self, request: bytes) -> None:
        """Send a request, and read the head of its answer into `head`."""
        self.writer.write(request)
        self.head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 60)

    @property
    def status(self) -> int:
        """Of the answer to the handshake."""
        return int(self.head.split()[1])

    @property
    def unsent(self) -> int:
        """Bytes that were written and that the kernel has no room for."""
        return self.writer.transport.get_write_buffer_size()

    def frame(self, opcode: int, payload: bytes = b"", final: bool = True) -> None:
        """Write a masked frame."""
        self.writer.write(client_frame(opcode, payload, final))

    async def read_frame(self) -> tuple[int, bytes]:
        """(opcode, payload) of the next frame of the server; IncompleteReadError at the end."""
        first, second = await asyncio.wait_for(self.reader.readexactly(2), 60)
        size = second & 0x7F
        if size > 125:
            size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8), "big")
        return first & 0x0F, await self.reader.readexactly(size)

    async def read_close(self, answer: bool = True) -> int:
        """Skip frames up to the close frame, whose code is returned; the connection then ends in order."""
        while True:
            opcode, payload = await self.read_frame()
            if opcode == 8:
                if answer:
                    self.frame(8, payload)
                assert await asyncio.wait_for(self.reader.read(), 60) == b""
                return int(struct.unpack("!H", payload[:2])[0])

    async def close(self) -> None:
        """Drop the TCP connection, without waiting for what the server does not read."""
        self.writer.transport.abort()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


async def begin_post(port: int, path: str) -> Raw:
    """A request whose body lacks its last byte. It is read before what comes over later connections."""
    raw = Raw(*await asyncio.open_connection(LOOPBACK, port))
    raw.writer.write(b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\na" % path.encode())
    await raw.writer.drain()
    return raw


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """End a connection, and wait until its transport is closed: unsent bytes would hold it open."""
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()


def handshake(path: str, **changes: str | None) -> bytes:
    """A handshake request; `changes` are headers by their name with `_` for `-`, None leaves one out."""
    headers: dict[str, str | None] = {
        "host": "test",
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        "sec-websocket-version": "13",
    }
    headers |= {name.replace("_", "-"): value for name, value in changes.items()}
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode("latin-1")


def client_frame(opcode: int, payload: bytes = b"", final: bool = True) -> bytes:
    """A frame masked with a key of zeros."""
    size = len(payload)
    head = bytes([opcode | (0x80 if final else 0)])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65536:
        head += b"\xfe" + size.to_bytes(2, "big")
    else:
        head += b"\xff" + size.to_bytes(8, "big")
    return head + bytes(4) + payload


async def closed_with(client: ClientConnection) -> int:
    """The code a well-behaved client was closed with."""
    await asyncio.wait_for(client.wait_closed(), 60)
    assert client.close_code is not None
    return client.close_code


PlainFactory = Callable[..., Plain]
