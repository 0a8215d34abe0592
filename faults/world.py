"""What the parts of a run share: the history, the dice, the servers, and the end."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from faults.history import History
from tests.faults.cluster import Node
from tests.services.databases import sql
from tests.services.ports import LOOPBACK
from tests.services.postgres import Postgres
from tests.services.redis import Redis
from tests.services.sentinel import SentinelSet
from tests.services.small_disk import SmallDisk

OPEN_SECONDS: Final = 8.0
"""Longest wait for a handshake while links may be dead."""
CALL_SECONDS: Final = 12.0
"""Longest wait for an answer to an HTTP request."""
START_SECONDS: Final = 60.0
"""The same while nothing is disturbed: who waits so long has to do with a machine that is busy."""
PAUSE_SECONDS: Final = 0.2
"""Between two attempts of a client."""
UNREACHABLE: Final = (OSError, InvalidHandshake, ConnectionClosed, TimeoutError, httpx.HTTPError)
"""What a client meets while the servers are disturbed."""


@dataclass
class World:
    """One run. `chance` alone decides what happens: the same seed does the same again."""

    history: History
    chance: random.Random
    nodes: Sequence[Node]
    """The servers that clients may go to."""
    redis: Redis | None = None
    postgres: Postgres | None = None
    sentinels: SentinelSet | None = None
    """Where Redis is a master with a replica, which fails over."""
    clocks: Mapping[int, Path] = field(default_factory=dict)
    """The files that wall clocks of servers follow, by the number of the server; none without libfaketime."""
    disk: SmallDisk | None = None
    """Where one server has its SQLite file."""
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when clients shall do nothing new."""
    is_disturbed: bool = False
    """Whether links may be dead."""
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when clients shall leave."""
    prefix: str = field(default_factory=lambda: secrets.token_hex(3))
    """Of all names of this run."""

    def dice(self, name: str) -> random.Random:
        """Dice of one client's own: what others do in the meantime changes nothing for it."""
        return random.Random(f"{self.chance.random()} {name}")

    @property
    def key(self) -> str:
        """An API key that may do everything."""
        return self.nodes[0].server.api_key

    async def sql(self, statement: str) -> Sequence[Any]:
        """The rows of a statement that is run behind the servers' back."""
        if self.disk is not None:
            return await asyncio.to_thread(self.disk.sql, statement)
        return await asyncio.to_thread(sql, self.nodes[0].server.database_url, statement)

    async def open(self, dice: random.Random, path: str, **query: str) -> ClientConnection:
        """A WebSocket to any server, through its proxy. Raises one of UNREACHABLE."""
        url = f"ws://{LOOPBACK}:{dice.choice(self.nodes).clients.port}{path}"
        if query:
            url += f"?{urlencode(query)}"
        seconds = OPEN_SECONDS if self.is_disturbed else START_SECONDS
        return await connect(
            url, proxy=None, compression=None, ping_interval=None, max_queue=None, open_timeout=seconds
        )

    async def call(
        self,
        dice: random.Random,
        method: str,
        path: str,
        body: Any = None,
        token: str = "",
        seconds: float = CALL_SECONDS,
    ) -> httpx.Response:
        """An HTTP request to any server, through its proxy; with the API key where no `token` is given.

        Raises httpx.HTTPError.
        """
        port = dice.choice(self.nodes).clients.port
        headers = {"Authorization": f"Bearer {token}"} if token else {"X-API-Key": self.key}
        url = f"http://{LOOPBACK}:{port}{path}"
        # A connection for each: one that a proxy has made deaf must not hang the next call, too.
        async with httpx.AsyncClient(trust_env=False, timeout=seconds, verify=False) as client:
            return await client.request(method, url, json=body, headers=headers)

    async def made(self, path: str, body: Any) -> Any:
        """Make a row over REST, while nothing is disturbed. Raises AssertionError, and httpx.HTTPError."""
        answer = await self.call(random.Random(0), "POST", path, body, seconds=START_SECONDS)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    async def pause(self, seconds: float) -> bool:
        """Wait for so long, or until the clients shall stop; True when they go on."""
        try:
            async with asyncio.timeout(seconds):
                await self.stop.wait()
        except TimeoutError:
            return True
        return False


class Workload:
    """Clients of one kind: `begin`, `play`, `settle`, `confirm` and `leave`, in that order."""

    name = ""

    def __init__(self, world: World) -> None:
        self.world = world
        self.history = world.history

    async def begin(self) -> None:
        """Connect the clients, while nothing is disturbed yet."""

    async def play(self) -> None:
        """Act until `world.stop` is set."""

    async def settle(self) -> None:
        """The faults are over: wait until every client knows what it will ever know, and note the truth."""

    async def confirm(self) -> None:
        """All clients have settled: note what depends on others."""

    async def leave(self) -> None:
        """Disconnect. Nothing is noted from here on."""


def uuid_text(value: object) -> str:
    """An id of a row as the API writes it; SQLite holds 32 digits."""
    return str(UUID(str(value)))


def tasks_of(coroutines: Any) -> list[asyncio.Task[Any]]:
    """Tasks of clients; the caller ends them."""
    return [asyncio.ensure_future(one) for one in coroutines]


async def ended(tasks: list[asyncio.Task[Any]], cancel: bool = False) -> None:
    """Wait for tasks, and raise what one of them has raised."""
    if cancel:
        for task in tasks:
            task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, BaseException) and not isinstance(outcome, asyncio.CancelledError):
            raise outcome
