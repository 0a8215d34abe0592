"""Coroutine functions for callers in synchronous code: the one bridge to the loop that serves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, ParamSpec, TypeVar

from asgiref.sync import SyncToAsync, async_to_sync

from routing_app.core.worker import end_worker, serving_loop

P = ParamSpec("P")
T = TypeVar("T")

WAIT_SECONDS: Final = 30.0
"""Longest wait of a synchronous caller for the serving loop, before TimeoutError."""


def from_sync(
    function: Callable[P, Coroutine[Any, Any, T]], wait: float | None = WAIT_SECONDS
) -> Callable[P, T]:
    """A coroutine function for callers in synchronous code, in whatever thread.

    It runs on the loop that has dispatched the caller (a view under ASGI); from any other thread of a process
    that serves sockets on their loop, which alone may touch the hub, for `wait` seconds at most; elsewhere
    on a loop of its own, which leaves nothing behind. Raises RuntimeError on a running loop: await the
    function there.
    """
    there, alone = async_to_sync(function), async_to_sync(_alone)

    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        # On a running loop `async_to_sync` itself raises the RuntimeError.
        if on_a_loop() or _is_dispatched():
            return there(*args, **kwargs)
        if (loop := serving_loop()) is None:
            result: T = alone(function, *args, **kwargs)
            return result
        future = asyncio.run_coroutine_threadsafe(function(*args, **kwargs), loop)
        try:
            return future.result(wait)
        finally:
            future.cancel()  # nothing where it has ended; after a timeout it ends the coroutine on the loop

    return call


def on_a_loop() -> bool:
    """True when the caller is on a running event loop, and must not wait."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _is_dispatched() -> bool:
    """True when a running loop waits for this thread.

    asgiref goes back to that loop, and runs in this thread what is bound to it. To wait for that loop in any
    other way could be a deadlock: it waits for this thread.
    """
    loop = getattr(SyncToAsync.threadlocal, "main_event_loop", None)
    return loop is not None and loop.is_running()


async def _alone(function: Callable[..., Coroutine[Any, Any, T]], *args: Any, **kwargs: Any) -> T:
    try:
        return await function(*args, **kwargs)
    finally:
        await end_worker()
