"""The life of this process's worker: it begins and ends with the server that serves the application.

A server that speaks ASGI's lifespan says when. Ours also says when it begins to drain, through the extension
`switchboard.drain`: a list to which the application appends coroutine functions to be awaited. Other servers
end their sockets without telling the application, so a signal that stops the process drains first and is
passed on then.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Final

from routing_app.core.audit import upkeep
from routing_app.core.worker import Worker, current_worker

logger = logging.getLogger(__name__)

EXTENSION: Final = "switchboard.drain"
STOP: Final = "switchboard.stop"
"""Extension of our server: a function that has it drain and end, as a signal does."""
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
DRAIN_SECONDS: Final = 8.0
"""Longest time that a signal is held back; service managers often kill after 10."""

Scope = dict[str, Any]


class Lifespan:
    """ASGI middleware: starts the worker before the first client, and stops it after the last one."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self._begun = False

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        if not self._begun:
            self._begin_without_lifespan()
        await self._application(scope, receive, send)

    async def _live(self, scope: Scope, receive: Any, send: Any) -> None:
        self._begun = True
        worker = current_worker()
        worker.take_over()
        await receive()
        await _start(worker)
        extensions = scope.get("extensions") or {}
        worker.monitor.stop_server = extensions.get(STOP)
        drains: list[Any] | None = extensions.get(EXTENSION)
        if drains is not None:
            drains.append(worker.drain)
        else:
            _drain_before_signals(worker.drain)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await worker.stop()
        await send({"type": "lifespan.shutdown.complete"})

    def _begin_without_lifespan(self) -> None:
        """Plain Daphne: the first client finds the worker about to start."""
        self._begun = True
        worker = current_worker()
        worker.take_over()
        worker.spawn(_start(worker))

        async def drain_and_stop() -> None:
            await worker.drain()
            await worker.stop()

        _drain_before_signals(drain_and_stop)


async def _start(worker: Worker) -> None:
    """Begin the tasks that need no client: the lease, and those of protocols."""
    worker.spawn(upkeep.keep_on())
    try:
        await worker.start()
    except Exception as error:
        logger.warning("the worker will start with its first client: %s", error)


def _drain_before_signals(drain: Callable[[], Awaitable[object]]) -> None:
    """Have a signal that stops the server wait for `drain`; a second one stops it at once."""
    if threading.current_thread() is threading.main_thread():
        Postponed(asyncio.get_running_loop(), drain).install()


class Postponed:
    """Signals that wait: the first one drains, and reaches the handler of the server afterwards."""

    def __init__(self, loop: asyncio.AbstractEventLoop, drain: Callable[[], Awaitable[object]]) -> None:
        self._loop = loop
        self._drain = drain
        self._handlers: dict[int, Callable[[int, Any], object]] = {}
        self._draining = False
        self._task: asyncio.Task[None] | None = None

    def install(self) -> None:
        """Stand before the handlers that are there now."""
        for number in SIGNALS:
            handler = signal.getsignal(number)
            if callable(handler):
                self._handlers[number] = handler
                signal.signal(number, self._received)

    def _received(self, number: int, frame: Any) -> None:
        if self._draining or not self._loop.is_running():
            self._handlers[number](number, frame)
            return
        self._draining = True
        # The loop runs in this thread, but it may be asleep, and a signal handler is no place for a task.
        self._loop.call_soon_threadsafe(self._begin, number)

    def _begin(self, number: int) -> None:
        self._task = self._loop.create_task(self._run(number))

    async def _run(self, number: int) -> None:
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                await self._drain()
        except Exception:
            logger.exception("the drain was cut short")
        self._handlers[number](number, None)
