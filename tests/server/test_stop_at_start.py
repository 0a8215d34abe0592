"""A stop while a worker starts: the worker ends with it, in order, and the supervisor not before it."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from switchboard_server import supervisor
from switchboard_server.supervisor import Supervisor
from tests.server.driven import turn
from tests.server.group import Commands
from tests.services.waiting import until

pytestmark = pytest.mark.once


class Creation:
    """Holds what makes a process back behind its `number`th process, as on a busy machine."""

    def __init__(self, number: int, create: Callable[..., Awaitable[Process]]) -> None:
        self._left = number
        self._create = create
        self._go_on = asyncio.Event()
        self.held: list[Process] = []

    async def __call__(self, *arguments: Any, **options: Any) -> Process:
        process = await self._create(*arguments, **options)
        self._left -= 1
        if not self._left:
            self.held.append(process)
            await self._go_on.wait()
        return process

    def go_on(self) -> None:
        self._go_on.set()


CreationFactory = Callable[[int], Creation]


@pytest.fixture
def creation(monkeypatch: pytest.MonkeyPatch) -> CreationFactory:
    def hold(number: int) -> Creation:
        one = Creation(number, asyncio.create_subprocess_exec)
        monkeypatch.setattr(asyncio, "create_subprocess_exec", one)
        return one

    monkeypatch.setattr(supervisor, "BACKOFF_SECONDS", (0.0,))
    return hold


@pytest.mark.parametrize("number", [1, 2], ids=["the first", "one in place of another"])
async def test_a_worker_that_is_being_made_ends_with_the_server(
    creation: CreationFactory, tmp_path: Path, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    held = creation(number)
    commands = Commands(waits=number, gate=tmp_path / "never")
    group = Supervisor(commands, 1, [], dict(os.environ), 5)
    running = asyncio.ensure_future(group.run(lambda: None))
    if number == 2:
        await until(lambda: any(one.listens for one in group._workers))
        [first] = group._workers
        first.send(signal.SIGKILL)
    await until(lambda: held.held)
    group.stop()
    await turn()
    assert not running.done()
    caplog.clear()
    held.go_on()
    assert await asyncio.wait_for(running, 60) == 0
    assert held.held[0].returncode == -signal.SIGTERM
    assert caplog.text == ""


async def test_a_second_stop_kills_a_worker_that_is_being_made(creation: CreationFactory) -> None:
    held = creation(1)
    group = Supervisor(
        lambda ready, parent: ["/bin/bash", "-c", f"trap '' TERM; exec cat <&{parent}"],
        1,
        [],
        dict(os.environ),
        5,
    )
    running = asyncio.ensure_future(group.run(lambda: None))
    await until(lambda: held.held)
    group.stop()
    group.stop()
    held.go_on()
    assert await asyncio.wait_for(running, 60) == 1
    assert held.held[0].returncode == -signal.SIGKILL


async def test_the_server_ends_though_the_worker_cannot_be_made(
    creation: CreationFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    went_on = asyncio.Event()

    async def fails(*arguments: object, **options: object) -> Process:
        await went_on.wait()
        raise BlockingIOError

    monkeypatch.setattr(asyncio, "create_subprocess_exec", fails)
    group = Supervisor(Commands(), 1, [], dict(os.environ), 5)
    running = asyncio.ensure_future(group.run(lambda: None))
    await turn()
    group.stop()
    went_on.set()
    assert await asyncio.wait_for(running, 60) == 0


async def test_a_worker_that_has_just_begun_to_listen_is_told_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It takes a second SIGTERM for the second signal, and ends with 1."""
    heard, gate, noticed = tmp_path / "heard", tmp_path / "gate", asyncio.Event()
    readable = supervisor._readable

    async def noticed_late(descriptor: int) -> None:
        await readable(descriptor)
        noticed.set()
        await until(heard.exists)

    monkeypatch.setattr(supervisor, "_readable", noticed_late)
    counts = f"n=0; trap 'n=$((n+1)); touch {heard}' TERM"
    waits = f"until [ -e {gate} ]; do sleep 0.01; done; exit $((n-1))"
    group = Supervisor(
        lambda ready, parent: ["/bin/bash", "-c", f"{counts}; printf 1 >&{ready}; {waits}"],
        1,
        [],
        dict(os.environ),
        5,
    )
    running = asyncio.ensure_future(group.run(lambda: None))
    await until(noticed.is_set)
    [worker] = group._workers
    group.stop()
    await until(worker.decided.is_set)
    await turn()
    gate.touch()
    assert await asyncio.wait_for(running, 60) == 0
