"""A well-behaved client in a process of its own: `python -m tests.fuzz.echoing PORT`.

It echoes one message after the other, 200 a second at most, until its standard input ends. Then it tells
`{"count": …, "p99": <milliseconds>}`. It fails with the first echo that is wrong.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from statistics import quantiles
from typing import Any, Final

from websockets.asyncio.client import connect

from tests.services.databases import REPOSITORY
from tests.services.ports import LOOPBACK

PAUSE: Final = 0.005
FEWEST: Final = 100
"""Echoes of which a 99th percentile can be told."""


class Echoing:
    """Starts the process, as a context manager; `stop` has what it tells."""

    def __init__(self, port: int) -> None:
        command = [sys.executable, "-m", "tests.fuzz.echoing", str(port)]
        self._process = subprocess.Popen(
            command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "echoes\n"

    def stop(self) -> dict[str, float]:
        """End it; the number of its echoes, and the 99th percentile of their times in milliseconds."""
        told, _ = self._process.communicate(timeout=60)
        assert self._process.returncode == 0
        found: dict[str, float] = json.loads(told)
        return found


async def main(port: int) -> None:
    """Echo until the end of the input."""
    loop = asyncio.get_running_loop()
    ended = loop.run_in_executor(None, sys.stdin.read)
    times: list[float] = []
    async with connect(f"ws://{LOOPBACK}:{port}/ws", compression=None, open_timeout=60) as client:
        while not ended.done() or len(times) < FEWEST:
            began = loop.time()
            await client.send(f"Echo:{len(times)}")
            assert await client.recv() == str(len(times))
            times.append(loop.time() - began)
            if len(times) == 1:
                tell("echoes")
            await asyncio.sleep(PAUSE)
    tell(json.dumps({"count": len(times), "p99": 1000 * quantiles(times, n=100)[-1]}))


def tell(what: Any) -> None:
    """A line to the one who has started this."""
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
