"""Drives real clients in other processes: commands in, what they receive out."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

from tests.services.databases import REPOSITORY

FOLDER: Final = REPOSITORY / "tests" / "interop"
SECONDS: Final = 60.0
"""How long anything that has to happen may take: a limit for hanging, not a measure."""


class Puppet:
    """One process that holds clients. A context manager; `open` makes a client."""

    def __init__(self, command: Sequence[str | Path]) -> None:
        self._command = command
        self._clients: dict[str, Client] = {}
        self._process: asyncio.subprocess.Process
        self._reader: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=FOLDER
        )
        assert self._process.stdout is not None
        first = await asyncio.wait_for(self._process.stdout.readline(), SECONDS)
        assert b"ready" in first, f"the puppet did not start: {first!r}"
        self._reader = asyncio.ensure_future(self._read())
        return self

    async def __aexit__(self, *error: object) -> None:
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        if self._process.returncode is None:
            self._process.kill()
        await self._process.communicate()

    async def open(self, name: str, library: str, url: str, **options: Any) -> Client:
        """A new client that connects to a namespace; returns once it has."""
        client = self.begin(name, library, url, **options)
        [client.id] = await client.received("connect")
        return client

    def begin(self, name: str, library: str, url: str, **options: Any) -> Client:
        """The same for a client that may be refused."""
        client = self._clients[name] = Client(self, name)
        self.command(do="open", client=name, library=library, url=url, options=options)
        return client

    def command(self, **what: Any) -> None:
        """Tell the process."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what).encode() + b"\n")

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            what = json.loads(line)
            self._clients[what["client"]].take(what)


class Client:
    """One client: emits, and remembers what it receives."""

    def __init__(self, puppet: Puppet, name: str) -> None:
        self._puppet = puppet
        self.name = name
        self.id = ""
        """The library's `socket.id`."""
        self._numbers = itertools.count(1)
        self._acks: dict[int, asyncio.Future[list[Any]]] = {}
        self._received: dict[str, asyncio.Queue[list[Any]]] = {}

    def emit(self, event: str, *arguments: Any) -> None:
        """Send an event that wants no ack."""
        self._puppet.command(do="emit", client=self.name, event=event, args=arguments)

    async def ask(self, event: str, *arguments: Any) -> list[Any]:
        """Send an event and wait for its ack; the ack's arguments."""
        number = next(self._numbers)
        self._acks[number] = asyncio.get_running_loop().create_future()
        self._puppet.command(do="emit", client=self.name, event=event, args=arguments, ack=number)
        return await asyncio.wait_for(self._acks[number], SECONDS)

    async def received(self, event: str) -> list[Any]:
        """Wait for the next event of a name; its arguments."""
        async with asyncio.timeout(SECONDS):
            return await self._queue(event).get()

    async def received_many(self, event: str, count: int) -> list[list[Any]]:
        """Wait for so many events of a name; the arguments of each."""
        queue = self._queue(event)
        async with asyncio.timeout(SECONDS):
            return [await queue.get() for _ in range(count)]

    def unread(self, event: str) -> list[list[Any]]:
        """The events of a name that have come and were not asked for yet."""
        queue = self._queue(event)
        return [queue.get_nowait() for _ in range(queue.qsize())]

    async def ends_on(self, transport: str) -> None:
        """Wait until the client is on a transport."""
        async with asyncio.timeout(SECONDS):
            found = ""
            while found != transport:
                self._puppet.command(do="look", client=self.name)
                [found] = await self.received("transport")

    def close(self) -> None:
        """Disconnect."""
        self._puppet.command(do="close", client=self.name)

    def take(self, what: dict[str, Any]) -> None:
        """Something that the process told."""
        if "ack" in what:
            self._acks[what["ack"]].set_result(what["args"])
        else:
            self._queue(what["event"]).put_nowait(what["args"])

    def _queue(self, event: str) -> asyncio.Queue[list[Any]]:
        return self._received.setdefault(event, asyncio.Queue())


def node() -> Puppet:
    """Socket.IO clients of the reference implementation; one process holds any number, of any version."""
    return Puppet(["node", FOLDER / "puppet.mjs"])


def python_socketio() -> Puppet:
    """python-socketio's clients."""
    return Puppet([sys.executable, FOLDER / "puppet_socketio.py"])


def socketio_client_2(python: Path) -> Puppet:
    """socketIO-client-2's clients, in their own virtual environment."""
    return Puppet([python, "-W", "ignore", FOLDER / "puppet_socketio_client_2.py"])
