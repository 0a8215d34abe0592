"""A TCP proxy that fails on demand: between clients, workers, Redis and PostgreSQL.

It lives in a thread of its own, so that synchronous and asynchronous tests use it alike.
"""

from __future__ import annotations

import asyncio
import math
import socket
import struct
import threading
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from enum import Enum
from typing import Any, Final, Self, TypeVar

from tests.services.ports import LOOPBACK, free_port

CHUNK: Final = 16_384
RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER of zero seconds: the close is an RST."""

T = TypeVar("T")


class Way(Enum):
    """A direction through the proxy."""

    UP = "to the server"
    DOWN = "to the client"


BOTH: Final = frozenset(Way)


class Link:
    """One connection of a client, and ours to the server for it."""

    def __init__(self, proxy: Proxy, client: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._writers: list[asyncio.StreamWriter] = []
        self._deaf: set[Way] = set()

    async def run(self) -> None:
        """Carry bytes until both ends are through, one of them breaks, or `cut` is called."""
        try:
            client = await asyncio.open_connection(sock=self._client, limit=CHUNK)
            self._writers.append(client[1])
            server = await self._proxy.connect()
            self._writers.append(server[1])
            async with asyncio.TaskGroup() as group:
                group.create_task(self._carry(client[0], server[1], Way.UP))
                group.create_task(self._carry(server[0], client[1], Way.DOWN))
        except* OSError:
            self.cut()
        for writer in self._writers:
            writer.close()

    def cut(self) -> None:
        """Reset both ends."""
        for writer in self._writers:
            with suppress(OSError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()

    def end(self) -> None:
        """Called when `run` has ended, which it may have done before it began."""
        if not self._writers:
            self._client.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
        """Read at the speed that is allowed; a second task writes when the latency is over."""
        delayed: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=64)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._write(delayed, writer, way))
            while True:
                data = await reader.read(self._proxy.chunk)
                if await self._lost(way):
                    continue
                if way is Way.DOWN:
                    data = self._proxy.renamed(data)
                await asyncio.sleep(len(data) / self._proxy.bytes_per_second)
                await delayed.put((asyncio.get_running_loop().time() + self._proxy.latency, data))
                if not data:
                    return

    async def _lost(self, way: Way) -> bool:
        """True when the bytes just read are swallowed. A way that has lost some swallows all from then on."""
        if way in self._proxy.swallowed:
            self._deaf.add(way)
        if way in self._deaf:
            await asyncio.sleep(0.01)  # the end of a stream is read again and again
        return way in self._deaf

    async def _write(
        self, delayed: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter, way: Way
    ) -> None:
        while True:
            due, data = await delayed.get()
            await asyncio.sleep(due - asyncio.get_running_loop().time())
            await self._proxy.is_open[way].wait()
            if not data:
                writer.write_eof()
                return
            writer.write(data)
            await writer.drain()


class Proxy:
    """Listens on `port` and carries every connection to the loopback port `target`; a context manager.

    `receive_buffer` bounds what the kernel keeps of the server's bytes, so that a slow client is felt there.
    `names` has bytes that the server says, and what the client reads instead; only where they come in one
    read, as those of a short answer do.
    """

    def __init__(self, target: int, receive_buffer: int = 0, names: Mapping[bytes, bytes] = {}) -> None:
        self.port = free_port()
        self._target = target
        self._receive_buffer = receive_buffer
        self._names = names
        self._links: dict[Link, asyncio.Task[None]] = {}
        self._listener: socket.socket | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self.is_open = {way: asyncio.Event() for way in Way}
        self._clear()

    def _clear(self) -> None:
        """Set every fault to none, but for what `_call` sets."""
        self.latency = 0.0
        self.bytes_per_second = math.inf
        self.swallowed: frozenset[Way] = frozenset()

    @property
    def chunk(self) -> int:
        """Bytes read at once: a twentieth of a second's worth at most."""
        return max(1, int(min(CHUNK, self.bytes_per_second / 20)))

    def renamed(self, data: bytes) -> bytes:
        """What the client reads of what the server says."""
        for name, other in self._names.items():
            data = data.replace(name, other)
        return data

    @property
    def connections(self) -> int:
        """Connections that are open."""
        return len(self._links)

    # --- what tests do with it ---------------------------------------------------------------------------

    def slow(self, latency: float = 0.0, bytes_per_second: float = math.inf) -> None:
        """Delay everything by `latency` seconds, and let so many bytes through each way and second."""
        self.latency, self.bytes_per_second = latency, bytes_per_second

    def swallow(self, ways: frozenset[Way] = BOTH) -> None:
        """Half-open: connections stay, and new ones are taken, but nothing comes through these ways."""
        self.swallowed = ways

    def hold(self, ways: frozenset[Way] = BOTH) -> None:
        """Keep what comes through these ways until the proxy is healed: then it goes on, as TCP sends again
        what a network has dropped.
        """
        self._call(self._hold(ways))

    def cut(self) -> int:
        """Reset every connection; how many there were. New ones are taken."""
        return self._call(self._cut())

    def down(self) -> int:
        """Take no new connection, and reset every one; how many there were."""
        self._call(self._close_listener())
        return self.cut()

    def heal(self) -> None:
        """Back to normal. A connection that has lost bytes stays a black hole, as it would on any network."""
        self._clear()
        self._call(self._hold(frozenset()))
        self._call(self._listen())

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the server. Raises OSError."""
        to_server = socket.socket()
        if self._receive_buffer:
            to_server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        to_server.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(to_server, (LOOPBACK, self._target))
        except BaseException:  # also when the link is cut
            to_server.close()
            raise
        return await asyncio.open_connection(sock=to_server, limit=CHUNK)

    # --- its own loop -------------------------------------------------------------------------------------

    async def _cut(self) -> int:
        links = dict(self._links)
        for link, task in links.items():
            task.cancel()
            link.cut()
        await asyncio.gather(*links.values(), return_exceptions=True)
        return len(links)

    async def _hold(self, ways: frozenset[Way]) -> None:
        for way, is_open in self.is_open.items():
            if way in ways:
                is_open.clear()
            else:
                is_open.set()

    async def _listen(self) -> None:
        if self._listener is None:
            self._listener = socket.create_server((LOOPBACK, self.port), backlog=100)
            self._listener.setblocking(False)
            self._loop.add_reader(self._listener, self._accept, self._listener)

    async def _close_listener(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    def _accept(self, listener: socket.socket) -> None:
        """Take a connection. A server of asyncio would neither read nor close one that it has accepted in the
        moment of its own close (CPython 3.11).
        """
        try:
            client, _ = listener.accept()
        except OSError:
            return  # it is gone again
        client.setblocking(False)
        link = Link(self, client)
        task = self._links[link] = self._loop.create_task(link.run())
        task.add_done_callback(lambda _: self._ended(link))

    def _ended(self, link: Link) -> None:
        del self._links[link]
        link.end()

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    def __enter__(self) -> Self:
        self._thread.start()
        self.heal()
        return self

    def __exit__(self, *error: object) -> None:
        self.down()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
