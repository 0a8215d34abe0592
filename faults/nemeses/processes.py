"""Processes of the servers: killed, stopped, drained, out of file descriptors."""

from __future__ import annotations

import os
import random
import resource
import signal
import time
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Final

from faults.nemeses.nemesis import Nemesis
from faults.world import World
from tests.services.process import StartError

START_SECONDS: Final = 180.0
"""One start may take two minutes, and end because of another fault."""
END_SECONDS: Final = 180.0
"""A drain takes its limit (10 s), the end of the lifespan (15 s) and that of threads whose statements hang
(12 s); the rest is for a busy machine.
"""
REPLACE_SECONDS: Final = 180.0
"""The same, and the start of another worker takes two minutes at most."""


class StillRunning(Exception):
    """A process that was told to end did not."""


class ServerFault(Nemesis):
    """A fault of one server, whose workers are its children."""

    @property
    def target(self) -> str:
        """One fault a server."""
        return f"server {self.number()}"

    def start_again(self) -> None:
        """As a supervisor does: again and again, while what the server needs is disturbed as well. Raises
        StartError after three minutes.
        """
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                self.node.server.start()
            except StartError:
                if time.monotonic() > until:
                    raise
                time.sleep(1)
            else:
                return

    def worker(self) -> int:
        """Process id of one of its workers."""
        return self.dice.choice(sorted(self.node.workers()))


class KillWorker(ServerFault):
    """SIGKILL to one worker; its server starts another one."""

    name = "kill a worker"
    seconds = (0.0, 0.0)

    @classmethod
    def is_possible(cls, world: World) -> bool:
        """A server of one process has nobody to start another one."""
        return world.disk is None

    def begin(self) -> str:
        """A crash."""
        pid = self.worker()
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return f"{pid} of server {self.number()}"


class KillServer(ServerFault):
    """SIGKILL to a server and its workers; it comes back."""

    name = "kill a server"
    seconds = (0.5, 5.0)

    def begin(self) -> str:
        """A host that is gone."""
        self.node.server.process.kill_session()
        return f"server {self.number()}"

    def heal(self) -> None:
        """Start it again."""
        self.start_again()


class StopWorker(ServerFault):
    """SIGSTOP to one worker, as a host that hangs."""

    name = "stop a worker"
    seconds = (2.0, 40.0)

    def begin(self) -> str:
        """Its connections stay open, and nobody answers."""
        self.pid = self.worker()
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGSTOP)
        return f"{self.pid} of server {self.number()}"

    def heal(self) -> None:
        """It goes on as if nothing had been."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)


class Drain(ServerFault):
    """SIGTERM to a server, as at a release; it comes back."""

    name = "drain a server"
    seconds = (0.0, 3.0)

    def begin(self) -> str:
        """Wait until it has ended. Raises StillRunning when it has not in three minutes."""
        code = self.node.server.stop(END_SECONDS)
        if code == -signal.SIGKILL:
            raise StillRunning(f"server {self.number()} did not end within {END_SECONDS:g} s of SIGTERM")
        return f"server {self.number()} ended with {code}"

    def heal(self) -> None:
        """Start it again."""
        self.start_again()


class DrainWorker(ServerFault):
    """One worker of a server ends in order, while the others serve on; its server starts another one."""

    name = "drain a worker"
    seconds = (0.0, 3.0)

    def __init__(self, world: World, dice: random.Random) -> None:
        super().__init__(world, dice)
        self.pid = 0

    @classmethod
    def is_possible(cls, world: World) -> bool:
        """A server of one process has nobody to start another one."""
        return world.disk is None

    def begin(self) -> str:
        """As an operator does over REST, or as a supervisor does."""
        ask = self.dice.choice((self._ask_over_rest, self._ask_by_signal))
        pid = self.worker()
        answer = ask(pid)
        return f"{pid} of server {self.number()}, {answer}"

    def heal(self) -> None:
        """Wait until another process has its place. Raises StartError when none has in three minutes."""
        until = time.monotonic() + REPLACE_SECONDS
        while self.pid and not self.is_replaced():
            if time.monotonic() > until:
                raise StartError(f"worker {self.pid} was told to drain, and no other has its place")
            time.sleep(0.1)

    def is_replaced(self) -> bool:
        """True when the worker has ended and its server has as many as it should."""
        workers = self.node.workers()
        return self.pid not in workers and len(workers) == int(self.node.server.env["WORKERS"])

    def _ask_over_rest(self, pid: int) -> str:
        try:
            listing = self.node.call("GET", "/api/workers/")
            rows = listing.json()["results"] if listing.status == 200 else []
            ids = [row["id"] for row in rows if row["pid"] == pid]
            if not ids:
                return f"not among the {len(rows)} that answered with {listing.status}"
            status = self.node.call("POST", f"/api/workers/{ids[0]}/drain").status
        except (OSError, HTTPException) as error:
            return f"asked over REST: {type(error).__name__}"
        if status == 202:
            self.pid = pid
        return f"asked over REST: {status}"

    def _ask_by_signal(self, pid: int) -> str:
        self.pid = pid
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGHUP)
        return "SIGHUP"


class NoDescriptors(ServerFault):
    """A worker may open no more files or sockets than it has."""

    name = "no descriptors"

    def __init__(self, world: World, dice: random.Random) -> None:
        super().__init__(world, dice)
        self.pid = 0

    def begin(self) -> str:
        """Bound it by what is open now."""
        self.pid = self.worker()
        try:
            count = len(list(Path(f"/proc/{self.pid}/fd").iterdir()))
            self._before = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (count + 2, self._before[1]))
        except (ProcessLookupError, FileNotFoundError):
            return "it was gone"
        return f"{count + 2} for {self.pid} of server {self.number()}"

    def heal(self) -> None:
        """As many as before."""
        with suppress(ProcessLookupError, AttributeError):
            resource.prlimit(self.pid, resource.RLIMIT_NOFILE, self._before)
