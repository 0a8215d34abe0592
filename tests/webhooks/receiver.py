"""A receiver in a thread of its own: each path of its URL behaves in its own way."""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from socket import SO_LINGER, SOL_SOCKET
from threading import Event, Lock, Thread
from typing import Any, Self

HUGE = 8 * 1024 * 1024


@dataclass
class Call:
    """A request as it came; names of headers are in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes
    id: str = field(init=False)

    def __post_init__(self) -> None:
        self.id = self.headers.get("webhook-id", "")


class Receiver:
    """Listens on 127.0.0.1. `/ok` and the like answer at once; `/hold` when it is told to."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._ready, self._release = Event(), Event()
        self._lock = Lock()
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._on_their_way: Counter[str] = Counter()
        self._of_path: Counter[str] = Counter()
        self._writers: set[asyncio.StreamWriter] = set()
        self.calls: list[Call] = []
        self.twice_at_once: list[str] = []
        """Ids that came while they were here already."""
        self.most_at_once: Counter[str] = Counter()
        """The most calls that were here at once, by path."""
        self.statuses: defaultdict[str, list[str]] = defaultdict(list)
        """Answers to give first, by path: a status and header lines."""
        self.port = 0

    def __enter__(self) -> Self:
        self._thread = Thread(target=self._loop.run_until_complete, args=(self._run(),), daemon=True)
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, *error: object) -> None:
        self.release()
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(30)
        self._loop.close()

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://{host}:{self.port}{path}"

    def release(self) -> None:
        """Answer what `/hold` holds, now and later."""
        self._release.set()

    def hold(self) -> None:
        """Hold them again, from now on."""
        self._release.clear()

    def of(self, path: str) -> list[Call]:
        return [call for call in list(self.calls) if call.path == path]

    def ids(self, path: str) -> list[str]:
        return [call.id for call in self.of(path)]

    # --- in the thread ----------------------------------------------------------------------------------

    async def _run(self) -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopping.wait()
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0.01)  # asyncio lets go of sockets a turn or two later

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with suppress(asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            while True:
                call = await _read(reader)
                if not await self._answer(call, writer):
                    break
        writer.close()

    async def _answer(self, call: Call, writer: asyncio.StreamWriter) -> bool:
        with self._lock:
            self.calls.append(call)
            if self._on_their_way[call.id]:
                self.twice_at_once.append(call.id)
            self._on_their_way[call.id] += 1
            self._of_path[call.path] += 1
            self.most_at_once[call.path] = max(self.most_at_once[call.path], self._of_path[call.path])
        try:
            behave: Callable[..., Any] = getattr(self, f"_{call.path.strip('/')}", self._ok)
            goes_on: bool = await behave(call, writer)
            await writer.drain()
            return goes_on
        finally:
            with self._lock:
                self._on_their_way[call.id] -= 1
                self._of_path[call.path] -= 1

    async def _ok(self, call: Call, writer: asyncio.StreamWriter) -> bool:
        line = self.statuses[call.path].pop(0) if self.statuses[call.path] else "204 No Content"
        length = "" if line.startswith("204") else "content-length: 2\r\n\r\nno"
        writer.write(f"HTTP/1.1 {line}\r\n{length or chr(13) + chr(10)}".encode())
        return True

    async def _fail(self, call: Call, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy")
        return True

    async def _gone(self, call: Call, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n")
        return True

    async def _twofold(self, call: Call, writer: asyncio.StreamWriter) -> bool:
        """An answer, and one that nobody has asked for."""
        end = b"content-length: 0\r\n\r\n"
        writer.write(b"HTTP/1.1 200 OK\r\n" + end + b"HTTP/1.1 410 Gone\r\n" + end)
        return True

    async def _redirect(self, call: Call, writer: asyncio.StreamWriter) -> bool:
        head = f"HTTP/1.1 307 There\r\nlocation: {self.url('/target')}\r\ncontent-length: 0\r\n\r\n"
        writer.write(head.encode())
        return True

    async def _hold(self, call: Call, writer: asyncio.StreamWriter) -> bool:
        while not self._release.is_set():
            await asyncio.sleep(0.01)
        return await self._ok(call, writer)

    async def _silent(self, call: Call, writer: asyncio.StreamWriter) -> bool:
        await self._stopping.wait()
        return False

    async def _trickle(self, call: Call, writer: asyncio.StreamWriter) -> bool:
        """Always something, never an end."""
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
        while True:
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(0.02)

    async def _huge(self, call: Call, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % HUGE)
        for _ in range(HUGE // 65536):
            writer.write(b"x" * 65536)
            await writer.drain()
        return True

    async def _reset(self, call: Call, writer: asyncio.StreamWriter) -> bool:
        writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        return False

    async def _cookie(self, call: Call, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nset-cookie: a=b; path=/\r\ncontent-length: 0\r\n\r\n")
        return True


async def _read(reader: asyncio.StreamReader) -> Call:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Call(first.split(" ")[1], headers, body)
