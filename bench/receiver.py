"""A receiver of webhooks: the program of `bench/c/receiver.c`, which costs next to nothing."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import Final, Self

from bench.load import compiled

END_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Received:
    """Calls so far, and when the first and the last one came, in seconds of the monotonic clock."""

    count: int
    first: float
    last: float


class Receiver:
    """A process of its own that answers each call by 204 at once; a context manager.

    A thread of the load generator would keep its interpreter, and with it the load, waiting.
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [compiled("receiver", "receiver.c")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.port = int(self._line())

    def received(self) -> Received:
        """What has come until now."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return Received(**json.loads(self._line()))

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate(timeout=END_SECONDS)
