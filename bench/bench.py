"""What a row is measured with: throwaway folders, databases and Redis, and the meter."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from bench.contestants import Running
from bench.load import Load, Phase
from bench.machine import LOAD_CORE, SERVER_CORE, busy_seconds, cpu_seconds, on_core
from bench.section import Unavailable
from tests.services.databases import SQLiteDatabases
from tests.services.redis import Redis, find_redis


@dataclass
class Meter:
    """What a server has used while something was measured; complete when the context has ended."""

    seconds: float = 0.0
    server_seconds: float = 0.0


@dataclass(frozen=True)
class Sample:
    """A phase of load, and the processor time that the server spent in it."""

    phase: Phase
    server_seconds: float

    @property
    def per_second(self) -> float:
        """Messages received by the load generator in a second."""
        return self.phase.received / self.phase.seconds if self.phase.seconds else 0.0

    @property
    def server_us(self) -> float:
        """Processor time of the server per message received, in µs."""
        return self.server_seconds * 1e6 / self.phase.received if self.phase.received else 0.0


class Bench:
    """One run of the benchmark; a context manager that ends and removes what it has made."""

    def __init__(self, quick: bool = False) -> None:
        self.quick = quick
        self.disturbance = 0.0
        """Largest share of one of the two cores that others used in a measurement, since it was set to 0."""
        self._exit = ExitStack()
        self._folder = Path(self._exit.enter_context(tempfile.TemporaryDirectory(prefix="switchboard-")))

    @property
    def seconds(self) -> float:
        """How long a phase publishes."""
        return 0.5 if self.quick else 1.5

    def new_folder(self) -> Path:
        """A folder of its own for one process."""
        return Path(tempfile.mkdtemp(dir=self._folder))

    @cached_property
    def databases(self) -> SQLiteDatabases:
        """Makes migrated SQLite files."""
        return SQLiteDatabases(self.new_folder())

    @cached_property
    def redis(self) -> Redis:
        """A Redis for the rest of the run, on the server's core. Raises Unavailable."""
        if find_redis() is None:
            raise Unavailable("redis-server is not installed")
        with on_core(SERVER_CORE):
            return self._exit.enter_context(Redis(self.new_folder()))

    @contextmanager
    def meter(self, running: Running, load: Load) -> Iterator[Meter]:
        """See what the server uses during the context, and how much of the two cores others use meanwhile."""
        meter, pids = Meter(), running.pids()
        start, before = time.monotonic(), _usage(pids, load.pid)
        yield meter
        meter.seconds = time.monotonic() - start
        server, generator, on_server_core, on_load_core = (
            now - then for now, then in zip(_usage(pids, load.pid), before, strict=True)
        )
        meter.server_seconds = server
        others = max(on_server_core - server, on_load_core - generator)
        self.disturbance = max(self.disturbance, others / meter.seconds)

    def sample(self, running: Running, load: Load, phase: Callable[[], Phase]) -> Sample:
        """Run one phase of load and see what it costs the server."""
        with self.meter(running, load) as meter:
            result = phase()
        return Sample(result, meter.server_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._exit.close()


def _usage(server: list[int], generator: int) -> tuple[float, float, float, float]:
    """Processor time of server and generator, busy time of their cores."""
    return cpu_seconds(server), cpu_seconds([generator]), busy_seconds(SERVER_CORE), busy_seconds(LOAD_CORE)
