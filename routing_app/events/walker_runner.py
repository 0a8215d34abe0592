"""Runs a walker: on the loop or in a thread, within its time, with an answer when it fails."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import traceback
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, Final

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import DatabaseError, close_old_connections

from routing_app.core import tracing
from routing_app.core.database import query
from routing_app.core.rest.middleware import BACKING_SERVICES
from routing_app.core.worker import current_worker
from routing_app.events import metrics
from routing_app.events.nodes import enter
from routing_app.events.walker_context import TooLarge, TooManyNotifications, WalkerCall, running
from routing_app.events.walkers import Walker
from routing_app.events.wire import INTERNAL_ERROR, UNAVAILABLE

logger = logging.getLogger(__name__)

SPARE_THREADS: Final = 2
"""Threads of the query executor that walkers leave to all others, however many of them hang."""


class WalkerFailed(Exception):
    """A walker ended with an exception or ran too long; `lines` may be shown to its caller."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(lines[-1].strip())
        self.lines = lines


class WalkerUnavailable(WalkerFailed):
    """A walker needed the database or Redis, which is out."""

    def __init__(self) -> None:
        super().__init__([UNAVAILABLE])


class WalkerLeft(RuntimeError):
    """A walker ended with an exit or a cancellation, which neither a future nor an event loop can carry."""


async def run(walker: Walker, context: Mapping[str, Any], call: WalkerCall) -> list[Any]:
    """Run a walker with unchecked fields, and return its reports.

    Raises pydantic's ValidationError for the fields, BadReference and NoAccess for the node, WalkerFailed,
    and of those WalkerUnavailable.
    """
    values = walker.values(context)
    if call.node and call.node != call.visitor.root_id:
        await query(enter, call)
    call.node = call.node or call.visitor.root_id
    limit = asyncio.timeout(settings.EVENTS_WALKER_SECONDS or None)
    begun = monotonic()
    try:
        with tracing.span("walker", walker=walker.name):
            async with limit:
                await (_on_the_loop if walker.is_async else _in_a_thread)(walker, values, call)
    except Exception as error:
        metrics.WALKER.labels(walker.name).observe(monotonic() - begun)
        call.late = limit.expired()
        metrics.WALKERS.labels("late" if limit.expired() else "failed").inc()
        if isinstance(error, BACKING_SERVICES) and not limit.expired():
            logger.warning("walker %s: a backing service is down: %s", walker.name, error)
            raise WalkerUnavailable from None
        raise WalkerFailed(_late(walker) if limit.expired() else _lines(walker, error)) from None
    metrics.WALKER.labels(walker.name).observe(monotonic() - begun)
    metrics.WALKERS.labels("done").inc()
    return call.reports


async def _on_the_loop(walker: Walker, values: dict[str, Any], call: WalkerCall) -> None:
    token = running.set(call)
    try:
        await walker.function(**values)
    except DatabaseError:
        # Async ORM calls share one thread, whose connection nobody looks after between events.
        await sync_to_async(close_old_connections)()
        raise
    except (asyncio.CancelledError, SystemExit) as end:
        if _is_cancelled():
            raise
        raise WalkerLeft(f"ended with {end!r}") from end
    finally:
        running.reset(token)


def _is_cancelled() -> bool:
    """True when the time limit or the end of its socket cancels this task; else the walker did it itself."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _in_a_thread(walker: Walker, values: dict[str, Any], call: WalkerCall) -> None:
    """Run in the query executor. A thread cannot be stopped: after the time limit it goes on for nobody."""
    slots: asyncio.Semaphore = current_worker().protocols["events"].walker_slots
    await slots.acquire()
    task = asyncio.ensure_future(query(_call, walker.function, values, call))
    # The slot is the thread's, not the caller's: it is free when the function has ended, however late.
    task.add_done_callback(lambda done: _ended(slots, done))
    await asyncio.shield(task)


def _call(function: Callable[..., Any], values: dict[str, Any], call: WalkerCall) -> None:
    # A context of this call: threads are used again, and a variable set in one would outlive the walker.
    context = contextvars.copy_context()
    context.run(running.set, call)
    try:
        context.run(function, **values)
    except (StopIteration, SystemExit) as end:
        # A future that waits for the first never ends, and the second ends the event loop.
        raise WalkerLeft(f"ended with {end!r}") from end


def _ended(slots: asyncio.Semaphore, task: asyncio.Task[Any]) -> None:
    slots.release()
    if not task.cancelled():
        task.exception()  # retrieved: after the time limit nobody waits for it


def _late(walker: Walker) -> list[str]:
    logger.warning("walker %s ran longer than %g s", walker.name, settings.EVENTS_WALKER_SECONDS)
    return [f"TimeoutError: the walker ran longer than {settings.EVENTS_WALKER_SECONDS:g} s\n"]


def _lines(walker: Walker, error: Exception) -> list[str]:
    """The lines for the caller: with DEBUG the traceback; else our own errors by name, and no other."""
    if isinstance(error, TooManyNotifications | TooLarge):
        logger.warning("walker %s: %s", walker.name, error)
        return [f"{type(error).__name__}: {error}\n"]
    logger.error("walker %s failed", walker.name, exc_info=error)
    return traceback.format_exception(error) if settings.DEBUG else [INTERNAL_ERROR]
