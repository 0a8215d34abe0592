"""The price of timing publishes until they are written: run as a process, it prints one JSON object."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from statistics import median
from typing import Final

from bench.hub_probe import Encoder, Nowhere
from routing_app.core.delivery.connection import Connection
from routing_app.core.delivery.outbox import UntilWritten
from routing_app.core.delivery.publication import Publication
from routing_app.core.worker import Worker, current_worker

DELIVERIES: Final = 100_000
ROUNDS: Final = 31
"""Of each kind, one after the other: the machine's mood is the same for both."""


class Untimed(UntilWritten):
    """Looks as if a time was taken already, and is never observed."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()
        self.published = 1

    def written(self) -> None:
        """Observe nothing."""


async def probe(receivers: int) -> dict[str, float]:
    """CPU µs of a publish that is written, timed and not, and by how much the first is more, in percent."""
    worker, encoder = current_worker(), Encoder()
    for number in range(receivers):
        connection = Connection(f"{number:024x}", "tokens", Nowhere(), worker.flusher, encoder)
        worker.hub.add(connection)
        await worker.hub.subscribe(connection, "token:all")
    timed, untimed = worker.flusher.until_written, Untimed()
    turns = max(20, DELIVERIES // receivers // ROUNDS)
    with_it, without = [], []
    for _ in range(ROUNDS):
        with_it.append(await _publish(worker, timed, turns))
        without.append(await _publish(worker, untimed, turns))
    more = median(one / other - 1 for one, other in zip(with_it, without, strict=True))
    return {"timed_us": median(with_it), "untimed_us": median(without), "more": more * 100}


async def _publish(worker: Worker, until_written: UntilWritten, turns: int) -> float:
    worker.hub._until_written = until_written
    worker.flusher.until_written = UntilWritten() if isinstance(until_written, Untimed) else until_written
    gc.collect()
    start = time.process_time()
    for _ in range(turns):
        await worker.hub.publish(Publication(("token:all",), "a message"))
        await asyncio.sleep(0)
    return (time.process_time() - start) * 1e6 / turns


if __name__ == "__main__":
    print(json.dumps(asyncio.run(probe(int(sys.argv[1])))))
