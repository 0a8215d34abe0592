"""Both clients behind one interface, so that each plays the same scenes: they tell what they are told.

Commands begin in the order in which they are given, and do not wait for each other. What comes of one is the
answer, `{"error": code}`, `{"closed": code}` or `{"timeout": True}`.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, Final

from switchboard_client import Connection, ConnectionClosed, RequestError, connect

from tests.clients.test_javascript import CLIENT
from tests.services.javascript import require_packages

SECONDS: Final = 60.0
"""For anything that is waited for; on a machine that is not overloaded it is there in milliseconds."""


class Puppet:
    """What both have; `told` are lists such as `["delivery", address, message, offset]`."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[list[Any]] = asyncio.Queue()

    def begin(self, command: str, **given: Any) -> asyncio.Future[Any]:
        """Begin a command; what comes of it."""
        raise NotImplementedError

    async def do(self, command: str, **given: Any) -> Any:
        """A command, to its end."""
        return await asyncio.wait_for(self.begin(command, **given), SECONDS)

    def subscribe(self, *addresses: str, **options: Any) -> asyncio.Future[Any]:
        return self.begin("subscribe", addresses=list(addresses), options=options)

    def publish(self, address: str, message: Any, **options: Any) -> asyncio.Future[Any]:
        return self.begin("publish", addresses=[address], message=message, options=options)

    async def next(self, number: int = 1, *, but: str = "") -> list[list[Any]]:
        """The next events that it is told, without those of a kind."""
        found: list[list[Any]] = []
        while len(found) < number:
            told = await asyncio.wait_for(self.told.get(), SECONDS)
            if told[0] != but:
                found.append(told)
        return found


class PythonPuppet(Puppet):
    """The Python client, in this process."""

    def __init__(self) -> None:
        super().__init__()
        self.connection: Connection | None = None
        self.tasks: set[asyncio.Task[Any]] = set()

    def begin(self, command: str, **given: Any) -> asyncio.Future[Any]:
        task = asyncio.ensure_future(self._run(getattr(self, f"_{command}")(**given)))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    @staticmethod
    async def _run(command: Coroutine[Any, Any, Any]) -> Any:
        try:
            answer = await command
        except RequestError as error:
            return {"error": error.code}
        except ConnectionClosed as closed:
            return {"closed": closed.code}
        except TimeoutError:
            return {"timeout": True}
        if answer is None:
            return None
        return {name: value for name, value in answer.items() if name not in ("key", "direction")}

    async def _connect(self, url: str, **options: Any) -> None:
        self.connection = await connect(url, **options)
        tell = self.told.put_nowait
        on = self.connection.on
        on("delivery", lambda one: tell(["delivery", one.address, one.message, one.offset]))
        on("recovered", lambda address, position: tell(["recovered", address, position]))
        on("gap", lambda gap: tell(["gap"] if gap is self.connection else ["gap", gap]))
        on("presence", lambda notice: tell(["presence", {name: getattr(notice, name) for name in NOTICE}]))
        on("reconnect", lambda _: tell(["reconnect"]))
        on("close", lambda closed: tell(["close", closed.code]))
        on("error", lambda error: tell(["error", error.code]))

    @property
    def open(self) -> Connection:
        assert self.connection is not None
        return self.connection

    async def _subscribe(self, addresses: list[str], options: dict[str, Any]) -> None:
        await self.open.subscribe(*addresses, **options)

    async def _unsubscribe(self, addresses: list[str]) -> None:
        await self.open.unsubscribe(*addresses)

    async def _publish(self, addresses: list[str], message: Any, options: dict[str, Any]) -> Any:
        return await self.open.publish(addresses, message, **options)

    async def _publish_batch(self, messages: list[dict[str, Any]]) -> Any:
        return await self.open.publish_batch(messages)

    async def _history(self, address: str, options: dict[str, Any]) -> Any:
        return await self.open.history(address, **options)

    async def _request(self, message: dict[str, Any]) -> Any:
        return await self.open.request(message)

    async def _close(self) -> None:
        await self.open.close()


NOTICE: Final = ("address", "count", "joined", "left", "truncated")


class NodePuppet(Puppet):
    """The JavaScript client on Node, in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        super().__init__()
        self._process = process
        self._numbers = count()
        self._begun: dict[int, asyncio.Future[Any]] = {}

    def begin(self, command: str, **given: Any) -> asyncio.Future[Any]:
        number = next(self._numbers)
        self._begun[number] = asyncio.get_running_loop().create_future()
        assert self._process.stdin is not None
        line = json.dumps({"n": number, "command": command, **given})
        self._process.stdin.write(f"{line}\n".encode())
        return self._begun[number]

    async def read(self) -> None:
        """Read what it writes, to the end."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            written = json.loads(line)
            if "told" in written:
                self.told.put_nowait(written["told"])
            else:
                self._begun.pop(written["n"]).set_result(written["value"])


@asynccontextmanager
async def node_puppet(*, at_once: bool) -> AsyncIterator[NodePuppet]:
    """One whose attempts to come back do not wait where `at_once`."""
    require_packages("clients/js")
    pipe = asyncio.subprocess.PIPE
    env = os.environ | ({"AT_ONCE": "1"} if at_once else {})
    process = await asyncio.create_subprocess_exec(
        *("node", "test/puppet.js"), cwd=CLIENT, env=env, stdin=pipe, stdout=pipe, limit=2**24
    )
    puppet = NodePuppet(process)
    reading = asyncio.ensure_future(puppet.read())
    try:
        yield puppet
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
        await reading


@asynccontextmanager
async def python_puppet() -> AsyncIterator[PythonPuppet]:
    """One in this process."""
    puppet = PythonPuppet()
    try:
        yield puppet
    finally:
        if puppet.connection is not None:
            await puppet.connection.close()
        for task in puppet.tasks:
            task.cancel()
