"""The server's side of ASGI's lifespan: an application starts before its first client, stops after its last.

An application that raises for a lifespan scope is served without one, as the specification asks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

logger = logging.getLogger("switchboard.lifespan")

DRAIN: Final = "switchboard.drain"
"""Extension of the lifespan scope: a list of functions that the server calls and awaits when it drains."""
STOP: Final = "switchboard.stop"
"""Extension of the lifespan scope: a function that has the server drain and end, as a signal does."""


class ApplicationLifespan:
    """One lifespan of one application."""

    def __init__(self, application: Any, stop: Callable[[], None]) -> None:
        self._application = application
        self._stop = stop
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._answered = asyncio.Event()
        self._drains: list[Callable[[], Awaitable[object]]] = []
        self._task: asyncio.Task[None] | None = None

    async def startup(self) -> None:
        """Start the application; returns when it is ready, or has no lifespan. Never raises."""
        self._task = asyncio.ensure_future(self._run())
        await self._say("lifespan.startup")

    async def drain(self) -> None:
        """Let the application close its connections with its own codes."""
        for step in self._drains:
            await step()

    async def shutdown(self) -> None:
        """Stop the application; returns when it has returned."""
        if self._task is not None and not self._task.done():
            await self._say("lifespan.shutdown")
            await asyncio.wait([self._task])

    async def _say(self, type: str) -> None:
        self._answered.clear()
        self._messages.put_nowait({"type": type})
        await self._answered.wait()

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": {},
            "extensions": {DRAIN: self._drains, STOP: self._stop},
        }
        try:
            await self._application(scope, self._messages.get, self._send)
        except Exception as error:
            logger.debug("the application has no lifespan: %r", error)
        finally:
            self._answered.set()

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"].endswith(".failed"):
            logger.error("the application: %s: %s", message["type"], message.get("message", ""))
        self._answered.set()
