"""Tasks that begin at once: a coroutine that does not wait has ended when `start` returns, and costs no task.

Python has this from 3.12 on (`asyncio.Task(eager_start=True)`); this serves 3.11, too. A spare task is kept
that waits for a coroutine. It is resumed in place, runs the coroutine, and waits for the next one. So the
coroutine runs in a real task from its first step to its last, whatever it asks of `asyncio.current_task()`,
timeouts or cancellation. One that has to wait takes the task along, and another spare one is made.
"""

from __future__ import annotations

import asyncio
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from sys import getrefcount
from typing import Any, Final
from weakref import getweakrefcount

from switchboard_server.waiter import Waiter

Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]

MISSING: Final = object()


class EagerTasks:
    """Starts coroutines on one event loop. `spawn` makes an ordinary task, and keeps it until it ends."""

    def __init__(self, spawn: Spawn) -> None:
        self._spawn = spawn
        self._spare: Spare | None = None

    def start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
        """Run a coroutine up to its first wait, in a copy of the caller's context.

        Returns the task in which it goes on, or has failed; None when it has ended well. Where there is no
        spare task, it begins in the loop's next turn, as any task does; those started later begin later.
        """
        spare = self._spare
        if spare is not None and _same(spare.context, copy_context()):
            self._spare = None
            ended = spare.run(coroutine)
            self._keep(spare if spare.reusable else Spare(self._spawn))
            return None if ended else spare.task
        task = self._spawn(coroutine)
        if spare is None or spare.ready or spare.task.done():  # else it is about to be ready
            self._keep(Spare(self._spawn))
        return task

    def _keep(self, spare: Spare) -> None:
        if self._spare is not None:
            self._spare.end()
        self._spare = spare


class Spare:
    """A task that waits for a coroutine to run."""

    def __init__(self, spawn: Spawn) -> None:
        self._coroutine: Coroutine[Any, Any, None] | None = None
        self._waiter = Waiter()
        self.reusable = True
        """False once its task is a coroutine's own, to its end."""
        self.task = spawn(self._serve())
        self._loop = self.task.get_loop()

    @property
    def context(self) -> Context | None:
        """The context of the task while it waits for a coroutine."""
        return self._waiter.context

    @property
    def ready(self) -> bool:
        """True while the task waits for a coroutine."""
        return self._waiter.context is not None

    def run(self, coroutine: Coroutine[Any, Any, None]) -> bool:
        """Have the task run a coroutine up to its first wait; True when it has ended well."""
        self._coroutine = coroutine
        waiter, loop, task = self._waiter, self._loop, self.task
        known = getrefcount(task) + getweakrefcount(task)
        # One task runs at a time. The caller's is set aside, as Python 3.12 does for its eager tasks.
        if (outer := asyncio.current_task(loop)) is not None:
            _leave_task(loop, outer)
        try:
            waiter.wake_here()
        finally:
            if outer is not None:
                _enter_task(loop, outer)
        # The next coroutine must not get a task that this one has given away, perhaps to be cancelled later.
        ended = waiter.context is not None
        if not ended or getrefcount(task) + getweakrefcount(task) != known:
            self.end()
        return ended

    def end(self) -> None:
        """No other coroutine will come."""
        self.reusable = False
        self._waiter.wake_soon()

    async def _serve(self) -> None:
        while self.reusable:
            await self._waiter
            coroutine, self._coroutine = self._coroutine, None
            if coroutine is not None:
                await coroutine


def _same(one: Context | None, other: Context) -> bool:
    """True when two contexts hold the same objects. Equal ones are not enough: one may be changed later."""
    if one is None or len(one) != len(other):
        return False
    for variable, value in one.items():  # noqa: SIM110 - a generator takes as long again
        if other.get(variable, MISSING) is not value:
            return False
    return True
