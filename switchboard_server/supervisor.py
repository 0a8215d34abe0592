"""Several worker processes on one listening socket: started, restarted, replaced one by one, and ended.

The workers share the socket. With SO_REUSEPORT each would have an accept queue of its own, and the kernel
resets the connections that wait in it when the worker ends.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from asyncio.subprocess import Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

logger = logging.getLogger("switchboard.supervisor")

START_SECONDS: Final = 120.0
"""Longest time a worker may take until it listens. What it waits for has shorter limits of its own; a busy
machine alone can make a start of one second last for half a minute.
"""
GRACE_SECONDS: Final = 20.0
"""Seconds that a worker gets beyond its own drain limit before it is killed."""
BACKOFF_SECONDS: Final = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Waits before a crashed worker is started again; the last one from then on."""
STEADY_SECONDS: Final = 60.0
"""After a worker has lived so long, the waits begin with the shortest again."""


@dataclass(eq=False)
class WorkerProcess:
    """One worker process."""

    process: Process
    started: float
    listens: bool = False
    retired: bool = False
    """True if its end is expected: it has been told, or given up."""
    replacing: bool = False
    """True while another one is started in its place: then none has to be started when it ends."""
    decided: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once it listens, or has been given up."""

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs.

        Not with `Process.send_signal`: that collects a process that has just ended, and the loop, which comes
        second, reports 255 in place of how it ended.
        """
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


class StartFailed(Exception):
    """A worker could not be started, ended, or stayed silent, before it listened."""


class Supervisor:
    """Keeps `count` workers of `command` alive.

    `command` makes a worker's arguments from two descriptors: of the pipe in which it writes a byte when
    it listens, and of the pipe whose end of file means that the supervisor has gone. `ended` is called
    with the pid of each worker that has ended.
    """

    def __init__(
        self,
        command: Callable[[int, int], Sequence[str]],
        count: int,
        descriptors: Sequence[int],
        env: Mapping[str, str],
        drain_seconds: float,
        ended: Callable[[int], None] = lambda pid: None,
    ) -> None:
        self._command = command
        self._count = count
        self._descriptors = tuple(descriptors)
        self._env = dict(env)
        self._limit = drain_seconds + GRACE_SECONDS
        self._ended = ended
        self._workers: set[WorkerProcess] = set()
        self._crashes = 0
        self._creating = 0
        """Processes that are being made, and are not among the workers yet."""
        self._stopping = asyncio.Event()
        self._at_once = False
        """True when the stop was asked for twice."""
        self._failed = False
        self._all_ended = asyncio.Event()
        self._rolling: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, ready: Callable[[], object]) -> int:
        """Serve until a signal; calls `ready` when all workers listen. Returns the exit code.

        Raises StartFailed when none of the first workers starts: that is mostly a mistake in the settings.
        Where some do, the others are started again, like workers that have crashed.
        """
        self._parent_read, self._parent_write = os.pipe()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self.replace_all)
        failures = [error for error in await self._start_first() if error is not None]
        if not self._stopping.is_set():
            if len(failures) == self._count:
                self.stop()
                await self._all_ended.wait()
                raise failures[0]
            for _ in failures:
                logger.error("a worker did not start, while others did, and is started again")
                self._spawn(self._restart())
            ready()
        await self._all_ended.wait()
        return int(self._failed)

    def stop(self) -> None:
        """Drain every worker and end; the second time end them at once."""
        self._at_once = self._stopping.is_set()
        self._failed |= self._at_once
        self._stopping.set()
        for worker in self._workers:
            self._end(worker)
        self._end_if_done()

    def replace_all(self) -> None:
        """Replace the workers one after another; while that goes on a further call does nothing."""
        if not self._stopping.is_set() and (self._rolling is None or self._rolling.done()):
            self._rolling = asyncio.get_running_loop().create_task(self._replace_all())

    # --- one worker -----------------------------------------------------------------------------------

    async def _start_first(self) -> Sequence[StartFailed | None]:
        """Start as many as there shall be; for each why it did not start, or None."""

        async def start() -> StartFailed | None:
            try:
                await self._start()
            except StartFailed as failure:
                return failure
            return None

        return await asyncio.gather(*(start() for _ in range(self._count)))

    async def _start(self) -> WorkerProcess:
        """Start a worker and wait until it listens. Raises StartFailed."""
        if self._stopping.is_set():
            raise StartFailed("the server is stopping")
        worker, ready_read = await self._create()
        if self._stopping.is_set():  # which did not know of it
            self._end(worker)
        is_late = False
        try:
            await asyncio.wait_for(_readable(ready_read), START_SECONDS)
            worker.listens = os.read(ready_read, 1) == b"1"
        except TimeoutError:
            is_late = True
        finally:
            os.close(ready_read)
            worker.retired |= not worker.listens
            worker.decided.set()
        if not worker.listens:
            worker.send(signal.SIGKILL)
            raise StartFailed(await _why(worker, is_late))
        if self._stopping.is_set():
            raise StartFailed("the server is stopping")
        return worker

    async def _create(self) -> tuple[WorkerProcess, int]:
        """A worker, known from here on, and the descriptor from which a byte can be read when it listens.

        Raises StartFailed.
        """
        self._creating += 1
        try:
            process, ready_read = await self._create_process()
            worker = WorkerProcess(process, asyncio.get_running_loop().time())
            self._workers.add(worker)
        except (OSError, RuntimeError) as error:  # RuntimeError: no thread to wait for its end
            raise StartFailed(f"a worker could not be started: {error}") from error
        finally:
            self._creating -= 1
            self._end_if_done()
        self._spawn(self._watch(worker))
        return worker, ready_read

    async def _create_process(self) -> tuple[Process, int]:
        """The process of a worker, and that descriptor."""
        ready_read, ready_write = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command(ready_write, self._parent_read),
                pass_fds=(ready_write, self._parent_read, *self._descriptors),
                env=self._env,
                # Ctrl-C goes to the whole group of a terminal, and a worker's second signal ends it at once.
                process_group=0,
            )
        except BaseException:
            os.close(ready_read)
            raise
        finally:
            os.close(ready_write)
        return process, ready_read

    async def _watch(self, worker: WorkerProcess) -> None:
        """Wait for a worker's end; one that ended by itself is started again.

        One that ended before it listened is left to who starts it: both would start another one.
        """
        code = await worker.process.wait()
        self._workers.discard(worker)
        self._ended(worker.pid)
        if not self._stopping.is_set():
            await worker.decided.wait()
        if self._stopping.is_set():
            # One that still starts may have no handler of the signal yet, and dies of it.
            self._failed |= worker.listens and code != 0
            self._end_if_done()
        elif not worker.retired:
            if code == 0:  # an operator has drained it
                logger.info("worker %d has ended in order, starting another", worker.pid)
            else:
                logger.error("worker %d ended with code %d, starting another", worker.pid, code)
            lived = asyncio.get_running_loop().time() - worker.started
            self._crashes = 0 if lived > STEADY_SECONDS else self._crashes
            if not worker.replacing:
                await self._restart()

    async def _restart(self) -> None:
        while not self._stopping.is_set():
            wait = BACKOFF_SECONDS[min(self._crashes, len(BACKOFF_SECONDS) - 1)]
            self._crashes += 1
            await asyncio.sleep(wait)
            try:
                await self._start()
            except StartFailed:
                if not self._stopping.is_set():
                    logger.exception("a crashed worker could not be started again")
            else:
                return

    async def _replace_all(self) -> None:
        for old in list(self._workers):
            await old.decided.wait()  # before it listens it would die of the signal
            if self._stopping.is_set() or old.retired or old not in self._workers:
                continue
            old.replacing = True
            try:
                new = await self._start()
            except StartFailed:
                old.replacing = False
                if not self._stopping.is_set():
                    logger.exception("the new worker did not start, the old ones serve on")
                    if old not in self._workers:  # it has ended meanwhile
                        self._spawn(self._restart())
                return
            logger.info("worker %d replaces worker %d", new.pid, old.pid)
            self._tell(old, signal.SIGHUP)
            await old.process.wait()

    def _end(self, worker: WorkerProcess) -> None:
        """Have a worker end with the server; once it has been told, a signal more would cut it off."""
        if self._at_once:
            worker.send(signal.SIGKILL)
        elif not worker.retired:
            self._tell(worker, signal.SIGTERM)

    def _tell(self, worker: WorkerProcess, number: signal.Signals) -> None:
        """Have a worker end in order, within its limit."""
        worker.retired = True
        worker.send(number)
        self._spawn(self._kill_late(worker))

    async def _kill_late(self, worker: WorkerProcess) -> None:
        try:
            await asyncio.wait_for(worker.process.wait(), self._limit)
        except TimeoutError:
            logger.warning("worker %d did not end in time and is killed", worker.pid)
            worker.send(signal.SIGKILL)

    def _end_if_done(self) -> None:
        if self._stopping.is_set() and not self._workers and not self._creating:
            self._all_ended.set()

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _why(worker: WorkerProcess, is_late: bool) -> str:
    """Why a worker did not start. One that a signal has ended says nothing itself."""
    code = await worker.process.wait()
    if is_late:
        return f"a worker did not start within {START_SECONDS:g} s, and was killed"
    ended = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
    return f"a worker did not start: it ended with {ended}; the log above may have the reason"


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.add_reader(descriptor, lambda: None if future.done() else future.set_result(None))
    try:
        await future
    finally:
        loop.remove_reader(descriptor)
