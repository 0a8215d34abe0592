"""`make faults`: attack a cluster seed after seed, and say what broke.

python -m faults.run --minutes 30                seeds one after the other
python -m faults.run --seed 7 --seconds 40       one seed again
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from faults.attack import Attack, Outcome
from faults.checkers import Times
from faults.history import History, write
from faults.world import World
from tests.faults.cluster import Cluster
from tests.services.databases import PostgresDatabases
from tests.services.faketime import faked_by, find_faketime
from tests.services.postgres import Postgres
from tests.services.redis import Redis
from tests.services.sentinel import SentinelSet
from tests.services.server import Server
from tests.services.waiting import wait_until

SECONDS: Final = 45.0
"""Of one seed, without its settling."""
TIMES: Final = Times()
OPTIONS: Final = {
    "WORKERS": "2",
    "PING_INTERVAL": "5",
    "PING_TIMEOUT": "5",
    "SESSIONS_PING_SECONDS": "1",
    "SESSIONS_PONG_SECONDS": "3",
    "SESSIONS_BIND_SECONDS": "8",
    "SESSIONS_GRACE_SECONDS": "8",
}


class Bench:
    """The services of a run; a context manager. Servers are made anew for each seed."""

    def __init__(self, with_sentinels: bool = False) -> None:
        self._exit = ExitStack()
        self._with_sentinels = with_sentinels

    def __enter__(self) -> Bench:
        folder = self._exit.enter_context(tempfile.TemporaryDirectory(prefix="switchboard-faults-"))
        self._folder = Path(folder)
        self._redis = self._exit.enter_context(Redis(self._folder))
        self._sentinels: SentinelSet | None = None
        if self._with_sentinels:
            self._sentinels = self._exit.enter_context(SentinelSet(self._folder))
            wait_until(self._sentinels.has_all, 60)
        self._postgres = self._exit.enter_context(Postgres())
        self._databases = PostgresDatabases(self._postgres.url(), self._folder)
        return self

    def __exit__(self, *error: object) -> None:
        self._exit.close()

    async def attack(self, seed: int, seconds: float) -> Outcome:
        """Run one seed on fresh servers."""
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        clock = folder / "clock" if find_faketime() is not None else None
        options = dict(OPTIONS)
        if self._sentinels is not None:
            options["REDIS_URL"] = self._sentinels.url
        with Cluster(self._server, self._redis.port, self._postgres.port) as cluster:
            second = faked_by(clock) if clock is not None else {}
            pair = await asyncio.to_thread(cluster.pair, self._databases.create(), second, **options)
            chance = random.Random(seed)
            services = self._redis, self._postgres, self._sentinels, clock
            return await Attack(World(History(), chance, pair, *services), seed, TIMES).run(seconds)

    def _server(self, options: dict[str, str]) -> Server:
        return Server(Path(tempfile.mkdtemp(dir=self._folder)), options)


def said(outcome: Outcome) -> str:
    """One seed in a few lines."""
    faults = ", ".join(f"{count} {name}" for name, count in sorted(outcome.faults.items()))
    lines = [
        f"seed {outcome.seed}: {outcome.seconds:.0f} s, {sum(outcome.operations.values())} operations, "
        f"{sum(outcome.faults.values())} faults ({faults}), {len(outcome.violations)} violations"
    ]
    return "\n".join([*lines, *map(str, outcome.violations)])


def main() -> int:
    """Run, and return the exit code: 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seed", type=int, help="this one alone")
    parser.add_argument("--first", type=int, default=1, help="the first of several seeds")
    parser.add_argument("--minutes", type=float, default=30.0, help="begin no new seed after so long")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of one seed")
    parser.add_argument("--sentinels", action="store_true", help="Redis is a master with a replica")
    parser.add_argument("--history", type=Path, help="folder for the history of each seed")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers that were started end, too
    until = time.monotonic() + arguments.minutes * 60
    total: Counter[str] = Counter()
    broken = []
    with Bench(arguments.sentinels) as bench:
        seed = arguments.seed if arguments.seed is not None else arguments.first
        while True:
            outcome = asyncio.run(bench.attack(seed, arguments.seconds))
            print(said(outcome), flush=True)
            total.update(
                seeds=1, operations=sum(outcome.operations.values()), faults=sum(outcome.faults.values())
            )
            if outcome.violations:
                broken.append(seed)
            if arguments.history is not None:
                arguments.history.mkdir(parents=True, exist_ok=True)
                write(outcome.events, arguments.history / f"{seed}.jsonl")
            seed += 1
            if arguments.seed is not None or time.monotonic() > until:
                break
    print(", ".join(f"{count} {name}" for name, count in total.items()))
    if broken:
        print(f"BROKEN at the seeds {' '.join(map(str, broken))}: run them again with --seed")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
