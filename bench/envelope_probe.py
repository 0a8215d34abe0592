"""A worker without sockets that sends, or receives, envelopes: run as a process, it answers lines by JSON.

`send SECONDS` publishes one message after another to other addresses, so that each is an envelope; `expect
COUNT` waits until so many have come since the last line. Both answer with the number, the seconds, and the
processor time since the last line.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Final

import django

django.setup()

# Models are imported with it, so Django comes first.
from bench.hub_probe import Encoder, Nowhere  # noqa: E402
from routing_app.core.delivery.connection import Connection  # noqa: E402
from routing_app.core.delivery.frame import Frame  # noqa: E402
from routing_app.core.delivery.publication import Publication  # noqa: E402
from routing_app.core.worker import current_worker  # noqa: E402

ADDRESSES: Final = [f"token:{number}" for number in range(300)]
MESSAGE: Final = "x" * 100
PATIENCE_SECONDS: Final = 10.0


class Counting(Nowhere):
    """A writer that counts the frames it is given."""

    count = 0

    def write(self, frames: list[Frame]) -> None:
        """Count them."""
        self.count += len(frames)


async def main(receives: bool) -> None:
    """Answer lines until there are no more."""
    worker, writer = current_worker(), Counting()
    if receives:
        connection = Connection("0" * 24, "tokens", writer, worker.flusher, Encoder())
        await worker.hub.subscribe(connection, *ADDRESSES)
    else:
        await worker.hub.publish(Publication((ADDRESSES[0],), MESSAGE))  # opens the connections
        await worker.relay.settled()
    print("{}", flush=True)
    loop, before = asyncio.get_running_loop(), time.process_time()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        start, (verb, amount) = time.monotonic(), line.split()
        number = await _send(float(amount)) if verb == "send" else await _receive(writer, int(amount))
        seconds, now = time.monotonic() - start, time.process_time()
        print(json.dumps({"number": number, "seconds": seconds, "cpu": now - before}), flush=True)
        before = now


async def _send(seconds: float) -> int:
    worker, until, sent = current_worker(), time.monotonic() + seconds, 0
    while time.monotonic() < until:
        for address in ADDRESSES:
            await worker.hub.publish(Publication((address,), MESSAGE))
        await worker.relay.settled()
        sent += len(ADDRESSES)
    return sent


async def _receive(writer: Counting, count: int) -> int:
    until = time.monotonic() + PATIENCE_SECONDS
    while writer.count < count and time.monotonic() < until:
        await asyncio.sleep(0.01)
    came, writer.count = writer.count, 0
    return came


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] == "receive"))
