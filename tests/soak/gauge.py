"""What a server process holds: memory, file descriptors, tasks, connections."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from statistics import linear_regression
from typing import Final

from tests.faults.cluster import read_metric
from tests.services.server import Server

WARM_UP: Final = 0.2
"""Part of the measured time in which memory may still grow."""
SAMPLE_SECONDS: Final = 5


class Gauge:
    """The holdings of one server process: the one that was started, or the worker `pid` of it.

    Tasks and connections are those of all workers.
    """

    def __init__(self, server: Server, pid: int | None = None) -> None:
        self._server = server
        self._folder = Path(f"/proc/{pid or server.pid}")
        self.memory: list[tuple[float, float]] = []
        """(seconds, MB) of each sample."""

    def resident_mb(self) -> float:
        pages = int((self._folder / "statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def descriptors(self) -> int:
        return len(list((self._folder / "fd").iterdir()))

    def tasks(self) -> int:
        return int(read_metric(self._server, "switchboard_tasks"))

    def connections(self) -> int:
        return int(read_metric(self._server, "switchboard_connections"))

    async def sample(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        while loop.time() - began < seconds:
            self.memory.append((loop.time() - began, self.resident_mb()))
            await asyncio.sleep(SAMPLE_SECONDS)

    def slope(self) -> float:
        """MB in ten minutes, after the warm-up."""
        return 600 * linear_regression(*zip(*self._steady(), strict=True)).slope

    def ends(self) -> tuple[float, float]:
        """Memory when the warm-up was over, and last."""
        steady = self._steady()
        return steady[0][1], steady[-1][1]

    def _steady(self) -> list[tuple[float, float]]:
        end = self.memory[-1][0]
        return [sample for sample in self.memory if sample[0] >= WARM_UP * end]
