"""Load on the sessions protocol: REST at a rate or as fast as it goes, and players with sessions."""

from __future__ import annotations

import asyncio
import base64
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any, Final
from urllib.parse import urlsplit

import jwt

from tests.services.server import Server
from tests.sessions.http import Http, Reply

MASK: Final = b"\x00\x00\x00\x00"
PING: Final = b'"PING"'


@dataclass
class Timed:
    """Answers and how long they took, in seconds."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    failed: int = 0

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    def percentile(self, share: float) -> float:
        """Milliseconds within which this share of the answers came."""
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


Request = Callable[[int], Awaitable[Reply]]


def secret_of(server: Server) -> str:
    """The secret of the publisher `demo`, from the lines of the first run."""
    [line] = [line for line in server.log_text().splitlines() if line.startswith("its secret:")]
    return line.split()[-1]


class Customers:
    """Customers of the publisher `demo`, and what they ask for; `number` counts requests."""

    def __init__(self, http: Http, secret: str, customers: int) -> None:
        expires = int(time.time()) + 3600
        self._http = http
        self._tokens = [
            jwt.encode({"customerId": f"c{n}", "publisherId": "demo", "exp": expires}, secret, "HS256")
            for n in range(customers)
        ]
        self._held: dict[int, str] = {}

    async def create(self, number: int) -> Reply:
        """A session for an offer of its own."""
        body = {"sessionName": "TV", "offerId": f"offer{number}"}
        return await self._http.request("POST", "/sessions", body, self._token(number))

    async def take_over(self, number: int) -> Reply:
        """A session in place of the customer's last one; the first one is just created."""
        customer = number % len(self._tokens)
        victim = self._held.pop(customer, None)
        if victim is None:
            reply = await self.create(number)
        else:
            body = {"sessionName": "TV", "offerId": "offer", "sessionId": victim}
            reply = await self._http.request("POST", "/takeover", body, self._token(number))
        if reply.status == 200:
            self._held[customer] = reply.json["sessionId"]
        return reply

    def _token(self, number: int) -> str:
        return self._tokens[number % len(self._tokens)]


async def flood(request: Request, in_flight: int, seconds: float, numbers: Iterator[int]) -> Timed:
    """As fast as it goes, so many requests at a time."""
    timed, start = Timed(), time.perf_counter()

    async def client() -> None:
        while time.perf_counter() - start < seconds:
            await _one(request, next(numbers), timed)

    await asyncio.gather(*[client() for _ in range(in_flight)])
    timed.seconds = time.perf_counter() - start
    return timed


async def pace(request: Request, rate: float, seconds: float, numbers: Iterator[int]) -> Timed:
    """At a rate, whether answers have come or not."""
    timed, start, running = Timed(), time.perf_counter(), set()
    for turn in count():
        due = start + turn / rate
        if due - start > seconds:
            break
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        running.add(asyncio.ensure_future(_one(request, next(numbers), timed)))
    await asyncio.gather(*running)
    timed.seconds = time.perf_counter() - start
    return timed


async def _one(request: Request, number: int, timed: Timed) -> None:
    start = time.perf_counter()
    reply = await request(number)
    timed.latencies.append(time.perf_counter() - start)
    timed.failed += reply.status != 200


class Holder(asyncio.Protocol):
    """A player on a raw socket: REQUESTED, then a PONG for every PING. Thousands fit into one process."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = f"{parts.path}?{parts.query}"
        self._host = parts.netloc
        self.bound: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.pongs = 0
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        """asyncio: shake hands."""
        self._transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {self._target} HTTP/1.1", f"Host: {self._host}", "Upgrade: websocket"]
        lines += ["Connection: Upgrade", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}", "", ""]
        transport.write("\r\n".join(lines).encode())

    def data_received(self, data: bytes) -> None:
        """asyncio: frames of the server are short and come alone, so that it is enough to look for them."""
        if data.startswith(b"HTTP/1.1 101"):
            self._transport.write(_frame(b'{"action":"REQUESTED"}'))
        if b'"OK"' in data and not self.bound.done():
            self.bound.set_result(None)
        if PING in data:
            self.pongs += 1
            self._transport.write(_frame(b'{"action":"PONG"}'))
        if data == b"\x89\x00":
            self._transport.write(_frame(b"", 0x8A))

    def close(self) -> None:
        """Hang up."""
        self._transport.abort()


def _frame(payload: bytes, opcode: int = 0x81) -> bytes:
    return bytes([opcode, 0x80 | len(payload)]) + MASK + payload


async def hold(endpoints: list[str]) -> list[Holder]:
    """Bind a session to each endpoint; done when every player has received OK."""
    loop = asyncio.get_running_loop()
    holders = []
    for start in range(0, len(endpoints), 50):
        batch = []
        for url in endpoints[start : start + 50]:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port or 80
            _, holder = await loop.create_connection(partial(Holder, url), host, port)
            batch.append(holder)
        await asyncio.wait_for(asyncio.gather(*[holder.bound for holder in batch]), 30)
        holders += batch
    return holders
