"""The price of the hub by itself, without sockets: run as a process, it prints one JSON object."""

from __future__ import annotations

import asyncio
import json
import sys
import time
import tracemalloc
from typing import Final

import django

django.setup()

# Models are imported with it, so Django comes first.
from routing_app.core.codes import Close  # noqa: E402
from routing_app.core.delivery.connection import Connection  # noqa: E402
from routing_app.core.delivery.frame import Frame  # noqa: E402
from routing_app.core.delivery.publication import Publication  # noqa: E402
from routing_app.core.worker import current_worker  # noqa: E402

PUBLISHES: Final = 20_000


class Encoder:
    """The message as it is."""

    per_address = False

    def __call__(self, publication: Publication, address: str) -> str | None:
        """The text of the frame."""
        return str(publication.message)


class Nowhere:
    """A writer that forgets."""

    def write(self, frames: list[Frame]) -> None:
        """Forget them."""

    def held_bytes(self) -> int:
        """None are held."""
        return 0

    def held_frames(self) -> int:
        """None are held."""
        return 0

    def close(self, close: Close) -> None:
        """Nothing is open."""

    def abort(self, close: Close) -> None:
        """Nothing is open."""


async def probe(addresses: int) -> dict[str, float]:
    """Bytes of hub an address, and µs of a publish to nobody and to one of them."""
    worker, encoder = current_worker(), Encoder()
    connections = [
        Connection(f"{number:024x}", "tokens", Nowhere(), worker.flusher, encoder)
        for number in range(addresses)
    ]
    tracemalloc.start()
    for number, connection in enumerate(connections):
        await worker.hub.subscribe(connection, f"token:{number}")
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return {
        "bytes": held / addresses,
        "nobody_us": await _publish(PUBLISHES, "token:nobody"),
        "one_us": await _publish(PUBLISHES, "token:0"),
    }


async def _publish(times: int, address: str) -> float:
    """µs of one publish."""
    hub = current_worker().hub
    start = time.process_time()
    for number in range(times):
        await hub.publish(Publication((address,), "a message"))
        if number % 100 == 0:
            await asyncio.sleep(0)
    return (time.process_time() - start) * 1e6 / times


if __name__ == "__main__":
    print(json.dumps(asyncio.run(probe(int(sys.argv[1])))))
