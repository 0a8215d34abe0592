"""Equipment of a row: throwaway folders, databases and Redis, and the meter."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from bench.contestants import Running
from bench.load import Load, Phase
from bench.machine import LOAD_CORE, SERVER_CORE, busy_seconds, cpu_seconds, on_core, waited_seconds
from bench.section import Figure, Reading, Unavailable
from tests.services.databases import SQLiteDatabases
from tests.services.redis import Redis, find_redis


@dataclass(frozen=True)
class Usage:
    """Seconds that processes have used, and have waited for their core; and that the core was busy."""

    used: float
    waited: float
    busy: float

    @classmethod
    def now(cls, pids: Sequence[int], core: int) -> Self:
        """Since the start of each."""
        return cls(cpu_seconds(pids), waited_seconds(pids), busy_seconds(core))

    def __sub__(self, then: Usage) -> Usage:
        return Usage(self.used - then.used, self.waited - then.waited, self.busy - then.busy)

    @property
    def disturbed(self) -> float:
        """Seconds for which others had the core that these processes wanted."""
        return min(self.waited, self.busy - self.used)


@dataclass
class Meter:
    """Use of a server while something was measured; complete when the context has ended."""

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

    def reading(self, fault: Figure) -> Reading:
        """Rate, processor time and latency, or `fault` in place of each where the phase has one."""
        return {
            "rate": fault or self.per_second,
            "us": fault or self.server_us,
            "p50": fault or self.phase.p50_ms,
            "p99": fault or self.phase.p99_ms,
        }


class Bench:
    """One run of the benchmark; a context manager that ends and removes what it has made."""

    def __init__(self, quick: bool = False) -> None:
        self.quick = quick
        self.disturbance = 0.0
        """Largest part of a measurement in which others kept server or load waiting; a row sets it to 0."""
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
        """See what the server uses during the context, and how long others kept server or load waiting."""
        meter, pids = Meter(), running.pids()
        start, server, generator = (
            time.monotonic(),
            Usage.now(pids, SERVER_CORE),
            Usage.now([load.pid], LOAD_CORE),
        )
        yield meter
        meter.seconds = time.monotonic() - start
        server, generator = (
            Usage.now(pids, SERVER_CORE) - server,
            Usage.now([load.pid], LOAD_CORE) - generator,
        )
        meter.server_seconds = server.used
        self.disturbance = max(self.disturbance, max(server.disturbed, generator.disturbed) / meter.seconds)

    def sample(self, running: Running, load: Load, phase: Callable[[], Phase]) -> Sample:
        """Run one phase of load and see what it costs the server."""
        with self.meter(running, load) as meter:
            result = phase()
        return Sample(result, meter.server_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._exit.close()
