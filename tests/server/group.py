"""Workers under a supervisor: of the tests' application, and shells that serve nobody."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from websockets.asyncio.client import ClientConnection, connect

from tests.server.plain import APPLICATION, PATIENT, Raw
from tests.services.databases import REPOSITORY
from tests.services.ports import LOOPBACK, free_port
from tests.services.process import Process, children

UNFINISHED = b"POST /stats HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\na"


class Group:
    """Two workers of the tests' application, which are patient with their clients."""

    def __init__(self, folder: Path, application: str = APPLICATION) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", "tests.server.supervise", str(self.port), "2", application]
        self.process = Process(command, log=folder / "log", env={**os.environ, **PATIENT}, cwd=REPOSITORY)

    def wait_until_ready(self) -> None:
        """Return when both workers listen."""
        self.process.wait_until(lambda: "ready\n" in self.process.log_text())

    def workers(self) -> set[int]:
        """Their process ids."""
        return children(self.process.pid)

    def open(self, path: str = "/whoami") -> connect:
        """Connect a client."""
        url = f"ws://{LOOPBACK}:{self.port}{path}"
        return connect(url, compression=None, ping_interval=None, open_timeout=60)

    async def open_and_ask(self) -> tuple[ClientConnection, int]:
        """A client, and the worker that serves it."""
        client = await self.open()
        return client, json.loads(await client.recv())["pid"]

    async def begin_request(self) -> tuple[Raw, int]:
        """A request whose body lacks its last byte, and the worker that it holds up."""
        raw = Raw(*await asyncio.open_connection(LOOPBACK, self.port))
        raw.writer.write(b"GET /stats HTTP/1.1\r\nHost: test\r\n\r\n")
        answer = (await asyncio.wait_for(raw.reader.readuntil(b"}"), 60)).decode()
        raw.writer.write(UNFINISHED)
        return raw, json.loads(answer[answer.index("{") :])["pid"]


class Commands:
    """Commands of workers that serve nobody. One, by its number, ends while it starts; another one waits
    until `gate` exists before it starts.
    """

    def __init__(self, fails: int = 0, waits: int = 0, gate: Path = Path("/")) -> None:
        self.starts = 0
        self._fails = fails
        self._waits = waits
        self._gate = gate

    def __call__(self, ready: int, parent: int) -> list[str]:
        self.starts += 1
        serves = f"printf 1 >&{ready}; exec {ready}>&-; exec cat <&{parent}"
        starts = f"until [ -e {self._gate} ]; do sleep 0.01; done; " if self.starts == self._waits else ""
        return ["/bin/bash", "-c", starts + ("exit 3" if self.starts == self._fails else serves)]
