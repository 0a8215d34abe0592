"""Several workers on one socket: crashes, replacement without a failed connect, and the end of all."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from switchboard_server import supervisor
from switchboard_server.supervisor import StartFailed, Supervisor, WorkerProcess
from tests.conftest import ServerFactory
from tests.server.group import Commands, Group
from tests.server.plain import closed_with
from tests.services.process import children, runs
from tests.services.waiting import until


@pytest.mark.once
async def test_both_workers_serve_and_a_signal_ends_all_in_order(group: Group) -> None:
    workers = group.workers()
    clients = [await group.open_and_ask() for _ in range(60)]

    async def both_serve() -> bool:
        clients.append(await group.open_and_ask())
        return {pid for _, pid in clients} == workers

    await until(both_serve)
    group.process.send(signal.SIGTERM)
    assert [await closed_with(client) for client, _ in clients] == [1012] * len(clients)
    assert await asyncio.to_thread(group.process.wait, 60) == 0
    assert not any(map(runs, workers))


@pytest.mark.once
async def test_a_crashed_worker_is_replaced_and_the_other_ones_clients_stay(group: Group) -> None:
    clients = [await group.open_and_ask() for _ in range(40)]
    victim = clients[0][1]
    os.kill(victim, signal.SIGKILL)
    await until(lambda: len(group.workers() - {victim}) == 2)
    for client, pid in clients:
        if pid == victim:
            assert await closed_with(client) == 1006
        else:
            await asyncio.wait_for(await client.ping(), 60)
            await client.close()
    group.process.send(signal.SIGTERM)
    assert await asyncio.to_thread(group.process.wait, 60) == 0


@pytest.mark.once
async def test_every_worker_is_replaced_without_a_failed_connect(group: Group) -> None:
    before = group.workers()
    old, _ = await group.open_and_ask()
    done = asyncio.Event()
    served: list[int] = []

    async def connect_again_and_again() -> None:
        while not done.is_set():
            client, pid = await group.open_and_ask()
            served.append(pid)
            await client.close()

    loops = [asyncio.create_task(connect_again_and_again()) for _ in range(4)]
    await until(lambda: served)
    group.process.send(signal.SIGHUP)
    await until(lambda: not before & group.workers() and len(group.workers()) == 2)
    after = group.workers()
    await until(lambda: after <= set(served) and len(served) > 50)
    done.set()
    await asyncio.gather(*loops)
    assert await closed_with(old) == 1012
    assert before & set(served)
    group.process.send(signal.SIGTERM)
    assert await asyncio.to_thread(group.process.wait, 60) == 0


@pytest.mark.once
async def test_workers_end_when_their_supervisor_is_killed(group: Group) -> None:
    client, _ = await group.open_and_ask()
    workers = group.workers()
    group.process.kill()
    assert await closed_with(client) == 1012
    await until(lambda: not any(map(runs, workers)))


@pytest.mark.once
async def test_workers_that_cannot_start_end_the_supervisor(tmp_path: Path) -> None:
    group = Group(tmp_path, "tests.server.no_such_module:app")
    assert await asyncio.to_thread(group.process.wait, 60) == 3


@pytest.mark.once
async def test_the_product_replaces_its_workers(server: ServerFactory, redis_url: str) -> None:
    switchboard = server(WORKERS="2", REDIS_URL=redis_url)
    await until(lambda: "Switchboard listens" in switchboard.log_text(), 60)
    before = children(switchboard.pid)
    assert len(before) == 2
    url = f"{switchboard.ws_url}/ws"
    old = [await connect(url, compression=None) for _ in range(20)]
    switchboard.process.send(signal.SIGHUP)

    codes: set[int | None] = set()

    async def all_are_replaced() -> bool:
        client = await connect(url, compression=None, close_timeout=60)
        with suppress(ConnectionClosed):
            await client.send("RegisterToken:x")
        await client.close()
        codes.add(client.close_code)
        return not before & children(switchboard.pid)

    await until(all_are_replaced, 300)
    assert codes <= {1000, 1012}, (
        "the second one at a worker that goes, which closes it as soon as it is open"
    )
    assert [await closed_with(client) for client in old] == [1012] * 20
    assert await asyncio.to_thread(switchboard.stop) == 0


@pytest.mark.once
async def test_a_worker_that_ends_while_it_starts_is_started_again_once(monkeypatch: pytest.MonkeyPatch):
    """Whichever is noticed first, that it has ended or that it never listened."""
    readable = supervisor._readable

    async def noticed_late(descriptor: int) -> None:
        await readable(descriptor)
        await until(
            lambda: all(one.process.returncode is not None for one in group._workers) or commands.starts != 2
        )

    monkeypatch.setattr(supervisor, "_readable", noticed_late)
    monkeypatch.setattr(supervisor, "BACKOFF_SECONDS", (0.0,))
    commands = Commands(fails=2)
    group = Supervisor(commands, 1, [], dict(os.environ), 5)
    running = asyncio.ensure_future(group.run(lambda: None))
    await until(lambda: any(one.listens for one in group._workers))
    [first] = group._workers
    first.send(signal.SIGKILL)
    await until(lambda: commands.starts > 2 and len(group._tasks) == len(group._workers))
    assert commands.starts == 3
    assert [one.listens for one in group._workers] == [True]
    group.stop()
    assert await running == 1


@pytest.mark.once
async def test_a_worker_that_does_not_start_in_time_is_killed_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(supervisor, "START_SECONDS", 0.2)
    group = Supervisor(lambda ready, parent: ["/bin/sleep", "3600"], 2, [], dict(os.environ), 5)

    with pytest.raises(StartFailed, match="did not start within 0.2 s, and was killed"):
        await group.run(lambda: None)

    assert not group._workers


@pytest.fixture
def collected_after_the_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the loop collect a worker only after it was sent a signal, as on a busy machine."""
    waitpid, send, sent = os.waitpid, WorkerProcess.send, threading.Event()

    def late(pid: int, options: int) -> tuple[int, int]:
        assert sent.wait(60)
        return waitpid(pid, options)

    def sends(worker: WorkerProcess, number: signal.Signals) -> None:
        assert os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT) is not None
        send(worker, number)
        sent.set()

    monkeypatch.setattr(os, "waitpid", late)
    monkeypatch.setattr(WorkerProcess, "send", sends)


@pytest.mark.once
@pytest.mark.usefixtures("collected_after_the_signal")
@pytest.mark.parametrize(
    ("command", "ended"), [("exit 3", "exit code 3"), ("kill -9 $$", "SIGKILL")], ids=lambda case: case
)
async def test_a_worker_that_ends_before_it_listens_fails_with_how_it_ended(command: str, ended: str):
    group = Supervisor(lambda ready, parent: ["/bin/sh", "-c", command], 1, [], dict(os.environ), 5)

    with pytest.raises(StartFailed, match=f"did not start: it ended with {ended}; the log above"):
        await group.run(lambda: None)


@pytest.mark.once
async def test_one_of_the_first_that_does_not_start_is_started_again_while_the_others_serve(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(supervisor, "BACKOFF_SECONDS", (0.0,))
    commands, ready = Commands(fails=1), asyncio.Event()
    group = Supervisor(commands, 2, [], dict(os.environ), 5)
    running = asyncio.ensure_future(group.run(ready.set))
    await until(ready.is_set)
    await until(lambda: [one.listens for one in group._workers] == [True, True])
    assert commands.starts == 3
    group.stop()
    assert await running == 1


def no_descriptor(*arguments: object, **options: object) -> NoReturn:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


async def no_process(*arguments: object, **options: object) -> NoReturn:
    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


async def no_thread(*arguments: object, **options: object) -> NoReturn:
    raise RuntimeError("can't start new thread")


def descriptors() -> int:
    gc.collect()  # what earlier tests have left behind shall not go between two counts
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.once
@pytest.mark.parametrize(
    ("where", "fails", "reason"),
    [
        ("os.pipe", no_descriptor, "Too many open files"),
        ("asyncio.create_subprocess_exec", no_process, "Resource temporarily unavailable"),
        ("asyncio.create_subprocess_exec", no_thread, "can't start new thread"),
    ],
    ids=["pipe", "process", "thread"],
)
async def test_a_worker_comes_back_though_the_machine_had_no_room_for_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, where: str, fails: object, reason: str
):
    monkeypatch.setattr(supervisor, "BACKOFF_SECONDS", (0.0,))
    group = Supervisor(Commands(), 1, [], dict(os.environ), 5)
    running = asyncio.ensure_future(group.run(lambda: None))
    await until(lambda: any(one.listens for one in group._workers))
    before = descriptors()
    [first] = group._workers
    with monkeypatch.context() as full:
        full.setattr(where, fails)
        first.send(signal.SIGKILL)
        await until(lambda: caplog.text.count(f"{reason}\n") > 3)
    await until(lambda: any(one.listens for one in group._workers))
    assert descriptors() == before
    group.stop()
    assert await running == 1


@pytest.mark.once
async def test_a_program_that_cannot_be_run_is_a_start_that_failed():
    group = Supervisor(lambda ready, parent: ["/no/such/program"], 2, [], dict(os.environ), 5)

    with pytest.raises(StartFailed, match="could not be started: .* No such file"):
        await group.run(lambda: None)
