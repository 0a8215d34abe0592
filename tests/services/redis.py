"""A throwaway Redis server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final, Self

from tests.services.ports import LOOPBACK, answers, free_port
from tests.services.process import Process

OLDEST: Final = 7


def find_redis() -> Path | None:
    """`redis-server` of version 7 or newer, or None.

    The environment's REDIS_SERVER may be the path of another one, or of a `valkey-server`.
    """
    found = shutil.which(os.environ.get("REDIS_SERVER") or "redis-server")
    if found is None:
        return None
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
    match = re.search(r"v=(\d+)", version)
    return Path(found) if match and int(match[1]) >= OLDEST else None


class Redis:
    """One Redis on a free port, keeping nothing on disk; a context manager.

    `stop`, `kill` and `start` may follow each other: the port stays the same, the data is gone.
    """

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.url = f"redis://{LOOPBACK}:{self.port}/0"
        self._directory = directory
        self._process: Process | None = None

    @property
    def process(self) -> Process:
        """The running process."""
        assert self._process is not None, "Redis has not been started"
        return self._process

    def start(self) -> None:
        """Start and wait until it answers; `StartError` otherwise."""
        binary = find_redis()
        if binary is None:
            raise FileNotFoundError(f"redis-server {OLDEST} or newer is not installed")
        options = f"--port {self.port} --bind {LOOPBACK} --appendonly no --loglevel warning".split()
        log = self._directory / f"redis-{self.port}.log"
        command: list[str | Path] = [binary, *options, "--save", "", "--dir", self._directory]
        self._process = Process(command, log=log)
        self._process.wait_until(lambda: answers(self.port))

    def stop(self) -> None:
        """End it as an operator would."""
        self.process.stop()

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        if self._process is not None and self._process.exit_code is None:
            self.stop()
