"""What holding a load has cost, and how it is told."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from bench.machine import cpu_seconds, describe, family
from tests.services.server import Server
from tests.soak.gauge import Gauge
from tests.soak.load import Load

logger: Final = logging.getLogger("measured")


class Cost:
    """Processor time of a server and of its clients within a `with`."""

    def __init__(self, server: Server) -> None:
        self._pids = family([server.pid])
        self.seconds = self.server = self.clients = 0.0

    def __enter__(self) -> Self:
        self._begun = self._now()
        return self

    def __exit__(self, *error: object) -> None:
        ended = self._now()
        self.seconds, self.server, self.clients = (b - a for a, b in zip(self._begun, ended, strict=True))

    @property
    def core(self) -> float:
        """Percent of one core that the server used."""
        return 100 * self.server / self.seconds

    def _now(self) -> tuple[float, float, float]:
        return time.monotonic(), cpu_seconds(self._pids), time.process_time()


@dataclass
class Measured:
    """Memory of each worker, and what each part of the run has cost."""

    stack: str
    minutes: float
    gauges: Sequence[Gauge]
    filling: Cost
    holding: Cost
    working: Cost
    memory: list[list[float]] = field(default_factory=list)
    """MB of all workers, each time that it was looked at."""

    def look(self) -> None:
        """Note the memory."""
        self.memory.append([gauge.resident_mb() for gauge in self.gauges])

    def tell(self, load: Load, left: int) -> None:
        """Log it; `left` is how many went while memory was measured."""
        place, times = load.place, load.ledger.times
        logger.info("%s", describe())
        logger.info(
            "%d came and went; %d sessions, %d requests, %d polls, %d pings; %d published, %d received",
            *(left, place.created, load.asked, place.polls, place.pings, load.ledger.published, times.count),
        )
        logger.info("p99 of each minute in ms: %s", times.by_minute(0.99))
        for gauge in self.gauges:
            logger.info("MB each minute: %s", [round(megabytes, 1) for _, megabytes in gauge.memory[::12]])
        for what in ("filling", "holding", "working"):
            cost: Cost = getattr(self, what)
            logger.info(
                "%s took %.0f s, of a core %.1f s of the server and %.1f s of the clients",
                *(what, cost.seconds, cost.server, cost.clients),
            )
        logger.info("%s", self.row(load))

    def row(self, load: Load) -> str:
        """A row of docs/faults.md."""
        times = load.ledger.times
        ends = [gauge.ends()[1] for gauge in self.gauges]
        hour = 3600 * self.holding.server / self.holding.seconds
        cells = [
            self.stack,
            f"{self.minutes:g}",
            f"{times.count:,}",
            f"{times.percentile(0.5)} / {times.percentile(0.99)} / {max(times.by_minute(0.99))}",
            ", ".join(
                " / ".join(f"{one:.0f}" for one in worker) for worker in zip(*self.memory, ends, strict=True)
            ),
            ", ".join(f"{gauge.slope():+.2f}" for gauge in self.gauges),
            f"{self.holding.core:.1f} %, {1000 * hour / len(load.clients):.1f} s",
            f"{self.working.core:.0f} %, {1e6 * self.working.server / times.count:.0f} µs",
        ]
        return f"| {' | '.join(cells)} |"
