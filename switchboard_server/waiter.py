"""A wait that ends where its event happens: the task that waits is resumed in place.

A task that awaits a future is resumed by the loop: the future gives the task's callback to `call_soon`, and
the loop calls it in its next turn. For a frame that is handled in 10 µs this way round is a good part of the
cost. A `Waiter` keeps the callback and calls it itself. It is the task's own callback, so all that a task is
stays true: `asyncio.current_task()`, its context, its timeouts and its cancellation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any, Final


class _Over:
    """The outcome of every wait, as the callback of a task reads it from a future."""

    def result(self) -> None:
        """Nothing: the event has happened."""


OVER: Final = _Over()


class Waiter:
    """Something that one task at a time awaits, again and again, until `wake` is called.

    It is what a task takes for a future: an object with `_asyncio_future_blocking`, `get_loop`,
    `add_done_callback` and `cancel` (CPython, `asyncio/base_futures.py`, `isfuture`). Unlike a future it has
    no state of its own, so one object serves all waits of a connection.
    """

    __slots__ = ("_asyncio_future_blocking", "_awaited", "_loop", "_resume", "context")

    def __init__(self) -> None:
        self._asyncio_future_blocking = False
        """Set when it is yielded by an `await`; the task takes it back."""
        self._awaited = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._resume: Callable[[Any], object] | None = None
        """The callback of the task that waits. It takes the future, and reads the outcome from that."""
        self.context: Context | None = None
        """Of the task that waits; None while none does, and once it has been woken."""

    # --- for those that wait ----------------------------------------------------------------------------

    def __await__(self) -> Generator[Any, None, None]:
        if self._awaited:
            raise RuntimeError("it is already being awaited")
        self._loop = asyncio.get_running_loop()
        self._awaited = self._asyncio_future_blocking = True
        try:
            yield self
        finally:  # also when the coroutine is closed while it waits
            self._awaited = False
            self._resume = self.context = None

    # --- for those that end the wait --------------------------------------------------------------------

    def wake(self) -> None:
        """Resume the task that waits, and return when it waits again, for whatever, or has ended.

        Nothing happens where none waits, or the one that waits has been woken before. Within another task it
        is resumed in the loop's next turn: a loop runs one task at a time, and refuses to run one in another.
        """
        resume, context = self._resume, self.context
        if resume is None or context is None:
            return
        if asyncio.current_task(self._loop) is not None:
            self._schedule(OVER)
            return
        self._resume = self.context = None
        context.run(resume, OVER)

    def wake_here(self) -> None:
        """The same for a caller that has seen to it that a task waits and that none runs."""
        resume, context = self._resume, self.context
        assert resume is not None
        assert context is not None
        self._resume = self.context = None
        context.run(resume, OVER)

    def wake_soon(self) -> None:
        """Resume the task that waits in the loop's next turn, as a future does."""
        self._schedule(OVER)

    def _schedule(self, outcome: Any) -> None:
        resume, context = self._resume, self.context
        self._resume = self.context = None
        if resume is not None:
            assert self._loop is not None
            self._loop.call_soon(resume, outcome, context=context)

    # --- for the task: what it calls of a future --------------------------------------------------------

    def get_loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop of the task that waits."""
        return self._loop

    def add_done_callback(self, resume: Callable[[Any], object], *, context: Context) -> None:
        """The task waits: `resume` steps it, in `context`."""
        self._resume, self.context = resume, context

    def cancel(self, msg: Any = None) -> bool:
        """The task is being cancelled; False where it is about to be resumed, and has to see to it then."""
        if self._resume is None:
            return False
        assert self._loop is not None
        cancelled = self._loop.create_future()
        cancelled.cancel(msg)
        self._schedule(cancelled)
        return True
