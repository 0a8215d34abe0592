"""Real server processes with a proxy on each of their connections, and clients that keep their messages."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Self
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import ConnectionClosed

from tests.faults.proxy import Proxy
from tests.services.ports import LOOPBACK
from tests.services.process import children
from tests.services.sentinel import SentinelSet, sentinel_url
from tests.services.server import Server
from tests.services.waiting import SECONDS, until
from tests.tokens.client import Reply, call

HEALTH_SECONDS: Final = 5.0
"""Longer than a worker takes to answer that a service does not."""
GAP: Final = 4200
"""The close that says: messages may have been lost, come back now."""


@dataclass(eq=False)
class Node:
    """One `serve` process, and a proxy that its clients go by."""

    server: Server
    clients: Proxy

    @property
    def links(self) -> Mapping[str, tuple[Proxy, ...]]:
        """Proxies by what they lead to, or whom they are for."""
        return {"clients": (self.clients,)}

    def call(self, method: str, path: str, body: Any = None) -> Reply:
        """One HTTP request with the server's key, past the proxy."""
        return call(self.server, method, path, body)

    def is_ready(self) -> bool:
        """True when `/health/ready` says so."""
        try:
            return self._health().status == 200
        except (OSError, http.client.HTTPException):
            return False

    def readiness(self) -> str:
        """What `/health/ready` says, or why it says nothing."""
        try:
            answer = self._health()
            return f"{answer.status} {answer.text}"
        except (OSError, http.client.HTTPException) as error:
            return repr(error)

    def _health(self) -> Reply:
        """Asked again soon where no answer comes: another worker may take the next connection."""
        return call(self.server, "GET", "/health/ready", seconds=HEALTH_SECONDS)

    def workers(self) -> set[int]:
        """Process ids of its workers. Raises OSError when the server is gone."""
        return children(self.server.pid) or {self.server.pid}

    def metric(self, *names: str) -> float:
        """The sum of metrics, each with the labels that are given, or over all."""
        return read_metric(self.server, *names)

    def clients_listed(self) -> dict[str, int]:
        """The number of clients of each worker, as the REST API lists them."""
        counts: dict[str, int] = {}
        for client in listed(self.server):
            counts[client["worker"]] = counts.get(client["worker"], 0) + 1
        return counts


@dataclass(eq=False)
class Member(Node):
    """One of several: what it is given as Redis and PostgreSQL are proxies, too."""

    redis: Proxy
    postgres: Proxy
    replicas: tuple[Proxy, ...] = ()
    """Of the Redis that may take the place of the first."""

    @property
    def links(self) -> Mapping[str, tuple[Proxy, ...]]:
        """Those of every server, and of this one to what it needs."""
        return {**super().links, "redis": (self.redis, *self.replicas), "postgres": (self.postgres,)}

    @property
    def proxies(self) -> tuple[Proxy, ...]:
        return sum(self.links.values(), ())


def read_metric(server: Server, *names: str) -> float:
    """The sum of metrics, each with the labels that are given, or over all."""
    lines = call(server, "GET", "/metrics").text.splitlines()
    begins = tuple(name + end for name in names for end in (" ", "{"))
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(begins))


def listing_count(server: Server) -> int:
    """The number of clients that are present."""
    return int(call(server, "GET", "/api/clients/").json()["count"])


def listed(server: Server) -> list[dict[str, Any]]:
    """All present clients; fails unless they are on one page."""
    reply = call(server, "GET", "/api/clients/?page_size=1000")
    assert reply.status == 200, reply
    page = reply.json()
    assert page["next"] is None
    return list(page["results"])


class Pair:
    """Two members that share one PostgreSQL and one Redis."""

    def __init__(self, one: Member, two: Member) -> None:
        self.one, self.two = one, two

    def __iter__(self) -> Any:
        return iter((self.one, self.two))

    def heal(self) -> None:
        """Every proxy back to normal. A connection that has lost bytes stays a black hole."""
        for member in self:
            for proxy in member.proxies:
                proxy.heal()

    def is_ready(self) -> bool:
        return all(member.is_ready() for member in self)


class Cluster:
    """Starts members, all at once; a context manager that ends them.

    With `sentinels` their master and its replica are the Redis of the members, which the sentinels name to
    each member by its own proxies.
    """

    def __init__(
        self,
        server: Callable[..., Server],
        redis_port: int,
        postgres_port: int,
        sentinels: SentinelSet | None = None,
    ) -> None:
        self._server = server
        self._redis_port, self._postgres_port = redis_port, postgres_port
        self._sentinels = sentinels
        self._exit = ExitStack()

    def pair(self, database_url: str, each: Sequence[Mapping[str, str]] = ({}, {}), **options: str) -> Pair:
        """Two `serve` processes on one database; both are ready when this returns. `each` has further
        variables of the first and of the second.
        """
        members: dict[int, Member] = {}
        for number in sorted(range(len(each)), key=lambda number: len(each[number])):
            if each[number]:
                # With libfaketime time.sleep fails: it must not wait while another prepares the database.
                for member in members.values():
                    member.server.process.wait_until(member.server.serves)
            members[number] = self._launch(database_url, **options, **each[number])
        for member in members.values():
            member.server.process.wait_until(member.server.serves)
            member.server.process.wait_until(member.is_ready)
        return Pair(members[0], members[1])

    def _launch(self, database_url: str, **options: str) -> Member:
        redis_url, (redis, *replicas) = self._redis()
        postgres = self._proxy(self._postgres_port)
        options = {
            "METRICS_OPEN": "yes",
            "WEBHOOKS_PRIVATE": "yes",
            "REDIS_URL": redis_url,
            "DATABASE_URL": database_url.replace(f":{self._postgres_port}/", f":{postgres.port}/"),
            **options,
        }
        server = self._server(options)
        self._exit.callback(server.close)
        server.launch()
        return Member(server, self._proxy(server.port), redis, postgres, tuple(replicas))

    def _redis(self) -> tuple[str, list[Proxy]]:
        """The URL by which one member finds its Redis, and the proxies on its ways there."""
        if self._sentinels is None:
            redis = self._proxy(self._redis_port)
            return f"redis://{LOOPBACK}:{redis.port}/0", [redis]
        ports = [self._sentinels.master.port, self._sentinels.replica.port]
        proxies = [self._proxy(port) for port in ports]
        names = {_bulk(port): _bulk(proxy.port) for port, proxy in zip(ports, proxies, strict=True)}
        sentinels = [self._proxy(port, names=names).port for port in self._sentinels.ports]
        return sentinel_url(sentinels), proxies

    def _proxy(self, target: int, **options: Any) -> Proxy:
        return self._exit.enter_context(Proxy(target, **options))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._exit.close()


def _bulk(port: int) -> bytes:
    """A port as a sentinel answers with it (https://redis.io/docs/latest/develop/reference/protocol-spec/)."""
    return b"$%d\r\n%d\r\n" % (len(str(port)), port)


class Subscriber:
    """A client of the tokens protocol that keeps what it receives, and the code it was closed with."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.received: list[str] = []
        self.closed: int | None = None
        self._reading = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        try:
            while True:
                self.received.append(str(await self.socket.recv()))
        except ConnectionClosed as closed:
            self.closed = closed.rcvd.code if closed.rcvd else 1006

    def numbers(self, publisher: str) -> list[int]:
        """The numbers of a publisher's messages, in the order in which they came."""
        return [int(text.split()[1]) for text in self.received if text.split()[0] == publisher]

    async def leave(self) -> None:
        await self.socket.close()
        await self._reading


async def subscribe(port: int, token: str) -> Subscriber:
    """Open a client; raises what `websockets.connect` raises."""
    url = f"ws://{LOOPBACK}:{port}/ws?{urlencode({'RegisterToken': token})}"
    # No bound on what is received and not read yet: the close frame is behind it.
    socket = await open_socket(
        url, proxy=None, compression=None, ping_interval=None, max_queue=None, open_timeout=60
    )
    return Subscriber(socket)


@asynccontextmanager
async def subscribed(port: int, token: str, count: int = 1) -> AsyncIterator[list[Subscriber]]:
    """Open clients that leave in the end."""
    async with AsyncExitStack() as stack:
        subscribers = []
        for _ in range(count):
            subscribers.append(await subscribe(port, token))
            stack.push_async_callback(subscribers[-1].leave)
        yield subscribers


async def publish(
    sender: Subscriber, name: str, token: str, numbers: Iterable[int], rate: float = 100, filling: str = ""
) -> None:
    """Send `<name> <number> <filling>` to a token, so many a second."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for count, number in enumerate(numbers):
        await asyncio.sleep(began + count / rate - loop.time())
        await sender.socket.send(f"{token}|{name} {number} {filling}")


@asynccontextmanager
async def publisher(member: Node) -> AsyncIterator[ClientConnection]:
    """The socket of a client of the requests protocol, which a gap does not end."""
    url = f"ws://{LOOPBACK}:{member.clients.port}/connection?{urlencode({'key': member.server.api_key})}"
    async with open_socket(url, proxy=None, compression=None, ping_interval=None, open_timeout=60) as socket:
        yield socket


async def publish_by_request(
    socket: ClientConnection, name: str, token: str, numbers: Iterable[int], rate: float = 100
) -> None:
    """Publish `<name> <number>` to a token, so many a second, each when the one before was answered."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for count, number in enumerate(numbers):
        await asyncio.sleep(began + count / rate - loop.time())
        publication = {"addresses": [f"token:{token}"], "message": f"{name} {number}"}
        frame = {"direction": "REQUEST", "key": f"p{number}", "type": "publish", **publication}
        await socket.send(json.dumps(frame))
        while (answer := json.loads(await socket.recv())).get("key") != f"p{number}":
            assert answer["type"] == "gap", answer
        assert answer["direction"] == "REPLY", answer


async def seconds_until(condition: Callable[[], Any], seconds: float = SECONDS) -> float:
    """Wait until something is true, asked in a thread as it may block; how many seconds that took."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    await until(lambda: asyncio.to_thread(condition), seconds)
    return loop.time() - began
