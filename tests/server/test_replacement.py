"""Workers that are replaced or drained while something else befalls them: a stop, a crash, another start."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from switchboard_server import supervisor
from switchboard_server.supervisor import Supervisor, WorkerProcess
from tests.server.driven import turn
from tests.server.group import Commands, Group
from tests.server.plain import Raw, closed_with
from tests.services.process import runs
from tests.services.waiting import until

pytestmark = pytest.mark.once


async def held_up(group: Group) -> dict[int, Raw]:
    """For each worker a request that it waits for."""
    requests: dict[int, Raw] = {}

    async def each_has_one() -> bool:
        raw, pid = await group.begin_request()
        if pid in requests:
            await raw.close()
        else:
            requests[pid] = raw
        return requests.keys() == group.workers()

    await until(each_has_one)
    return requests


async def stopped_while_a_worker_is_replaced(group: Group) -> dict[int, Raw]:
    """Begin both, and return when each worker has been told. None of the first ones can end in order yet."""
    requests = await held_up(group)
    group.process.send(signal.SIGHUP)
    await until(lambda: "replaces worker" in group.process.log_text())
    client, _ = await group.open_and_ask()
    group.process.send(signal.SIGTERM)
    assert await closed_with(client) == 1012
    return requests


async def test_a_stop_while_a_worker_is_replaced_ends_all_in_order(group: Group) -> None:
    requests = await stopped_while_a_worker_is_replaced(group)
    for raw in requests.values():
        raw.writer.write(b"b")
    assert await asyncio.to_thread(group.process.wait, 60) == 0
    for raw in requests.values():
        await raw.close()


async def test_a_second_stop_ends_a_worker_at_once_that_is_replaced(group: Group) -> None:
    requests = await stopped_while_a_worker_is_replaced(group)
    group.process.send(signal.SIGTERM)
    assert await asyncio.to_thread(group.process.wait, 60) == 1
    assert not any(map(runs, requests))
    for raw in requests.values():
        await raw.close()


async def one_listens(group: Supervisor) -> WorkerProcess:
    """The only worker, when it listens and nothing else is under way."""
    await until(
        lambda: (
            [one.listens for one in group._workers] == [True]
            and len(group._tasks) == 1
            and (group._rolling is None or group._rolling.done())
        )
    )
    [worker] = group._workers
    return worker


async def settled(group: Supervisor) -> list[bool]:
    """Whether each worker listens, when nothing but their ends is waited for."""
    assert group._rolling is not None
    rolling = group._rolling
    await until(lambda: rolling.done() and len(group._tasks) == len(group._workers))
    return [one.listens for one in group._workers]


@pytest.mark.parametrize(("fails", "starts"), [(0, 2), (2, 3)], ids=["it starts", "it does not start"])
async def test_a_worker_that_ends_while_another_one_starts_in_its_place_is_replaced_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fails: int, starts: int
) -> None:
    monkeypatch.setattr(supervisor, "BACKOFF_SECONDS", (0.0,))
    gate = tmp_path / "gate"
    commands = Commands(fails=fails, waits=2, gate=gate)
    group = Supervisor(commands, 1, [], dict(os.environ), 5)
    running = asyncio.ensure_future(group.run(lambda: None))
    old = await one_listens(group)
    group.replace_all()
    await until(lambda: len(group._workers) == 2)
    old.send(signal.SIGKILL)
    await until(lambda: old not in group._workers)
    gate.touch()
    assert await settled(group) == [True]
    assert commands.starts == starts
    group.stop()
    assert await running == 1


async def test_a_worker_whose_replacement_did_not_start_comes_back_when_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervisor, "BACKOFF_SECONDS", (0.0,))
    commands = Commands(fails=2)
    group = Supervisor(commands, 1, [], dict(os.environ), 5)
    running = asyncio.ensure_future(group.run(lambda: None))
    old = await one_listens(group)
    group.replace_all()
    assert await settled(group) == [True]
    assert await one_listens(group) is old
    old.send(signal.SIGKILL)
    await until(lambda: old not in group._workers)
    assert await one_listens(group) is not old
    assert commands.starts == 3
    group.stop()
    assert await running == 1


async def test_a_worker_that_still_starts_is_replaced_only_when_it_listens(tmp_path: Path) -> None:
    """It would die of the signal before it has a handler for it."""
    gate = tmp_path / "gate"
    commands, ready = Commands(waits=1, gate=gate), asyncio.Event()
    group = Supervisor(commands, 1, [], dict(os.environ), 5)
    running = asyncio.ensure_future(group.run(ready.set))
    await until(lambda: len(group._workers) == 1)
    [first] = group._workers
    group.replace_all()
    await turn()
    assert commands.starts == 1
    gate.touch()
    await until(ready.is_set)
    assert await settled(group) == [True]
    assert first not in group._workers
    assert commands.starts == 2
    group.stop()
    assert await running == 1
