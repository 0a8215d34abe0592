"""What runs are made on: the services of a cluster, or one server on SQLite; new servers for each seed."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Sequence, Set
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self

from faults.attack import Attack, Outcome
from faults.checkers import Times
from faults.history import History
from faults.nemeses import NEMESES, Nemesis
from faults.nemeses.disk import FillDisk
from faults.world import World
from tests.faults.alone import alone
from tests.faults.cluster import Cluster
from tests.services.databases import PostgresDatabases, SQLiteDatabases
from tests.services.faketime import faked_by, find_faketime
from tests.services.postgres import Postgres
from tests.services.redis import Redis
from tests.services.sentinel import SentinelSet
from tests.services.server import Server
from tests.services.waiting import wait_until

TIMES: Final = Times()
OPTIONS: Final = {
    "PING_INTERVAL": "5",
    "PING_TIMEOUT": "5",
    # A session whose client has vanished is over, too, when listings have to be right again.
    "ROOMS_PING_INTERVAL": "3",
    "ROOMS_PING_TIMEOUT": "4",
    "ROOMS_RECOVERY_SECONDS": "8",
    "SESSIONS_PING_SECONDS": "1",
    "SESSIONS_PONG_SECONDS": "3",
    "SESSIONS_BIND_SECONDS": "8",
    "SESSIONS_GRACE_SECONDS": "8",
}
SERVERS: Final = 2
WORKERS: Final = "2"
"""Of each server of a cluster."""


class Bench:
    """A context manager that ends what it has started."""

    kinds: Sequence[type[Nemesis]] = NEMESES
    """The faults that the dice choose from."""

    def __init__(self) -> None:
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        folder = self._exit.enter_context(tempfile.TemporaryDirectory(prefix="switchboard-faults-"))
        self._folder = Path(folder)
        self._prepare()
        return self

    def __exit__(self, *error: object) -> None:
        self._exit.close()

    async def attack(self, seed: int, seconds: float, least: Set[str] = frozenset()) -> Outcome:
        """Run one seed on fresh servers, and go on until the history has events of each kind in `least`."""
        with ExitStack() as stack:
            world = await asyncio.to_thread(self._world, stack, random.Random(seed))
            return await Attack(world, seed, TIMES).run(seconds, self.kinds, least)

    def _prepare(self) -> None:
        """Start what all seeds share."""

    def _world(self, stack: ExitStack, chance: random.Random) -> World:
        """Servers of one seed, which the stack ends."""
        raise NotImplementedError

    def _new_folder(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self._folder))


class ClusterBench(Bench):
    """Two servers on PostgreSQL and a Redis, which may fail over."""

    def __init__(self, with_sentinels: bool = False) -> None:
        super().__init__()
        self._with_sentinels = with_sentinels

    def _prepare(self) -> None:
        self._redis = self._exit.enter_context(Redis(self._folder))
        self._sentinels: SentinelSet | None = None
        if self._with_sentinels:
            self._sentinels = self._exit.enter_context(SentinelSet(self._folder))
            wait_until(self._sentinels.has_all, 60)
        self._postgres = self._exit.enter_context(Postgres())
        self._databases = PostgresDatabases(self._postgres.url(), self._folder)

    def _world(self, stack: ExitStack, chance: random.Random) -> World:
        clocks = {chance.randrange(SERVERS): self._new_folder() / "clock"} if find_faketime() else {}
        options = {**OPTIONS, "WORKERS": WORKERS}
        ports = self._redis.port, self._postgres.port
        cluster = stack.enter_context(Cluster(self._server, *ports, self._sentinels))
        each = [faked_by(clocks[number]) if number in clocks else {} for number in range(SERVERS)]
        pair = cluster.pair(self._databases.create(), each, **options)
        return World(History(), chance, list(pair), self._redis, self._postgres, self._sentinels, clocks)

    def _server(self, options: dict[str, str]) -> Server:
        return Server(self._new_folder(), options)


class AloneBench(Bench):
    """One server on SQLite, without Redis, on a disk of its own that is small, and often full."""

    kinds = (*NEMESES, FillDisk, FillDisk, FillDisk)

    def _prepare(self) -> None:
        self._databases = SQLiteDatabases(self._folder)

    def _world(self, stack: ExitStack, chance: random.Random) -> World:
        disk, node = alone(stack, self._new_folder(), self._databases.create(), **OPTIONS)
        return World(History(), chance, [node], disk=disk)
