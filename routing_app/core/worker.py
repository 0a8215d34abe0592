"""This process as a worker: one hub, one relay, one lease, for each event loop that asks."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

from channels.layers import get_channel_layer
from django.conf import settings

from routing_app.core import metrics
from routing_app.core.access.known_keys import KnownKeys
from routing_app.core.access.limits import Seats
from routing_app.core.address import WORKER_ID_LENGTH
from routing_app.core.cluster.calls import Calls
from routing_app.core.cluster.spread import relay_of
from routing_app.core.cluster.subscriptions import LayerUnavailable
from routing_app.core.codes import RESTART, Close
from routing_app.core.database import GroupedWrites
from routing_app.core.delivery.connection import Limits
from routing_app.core.delivery.hub import Hub
from routing_app.core.delivery.outbox import Flusher
from routing_app.core.eager import EagerTasks
from routing_app.core.leases.presence import Presence
from routing_app.core.presence_notices.notices import PresenceNotices
from routing_app.core.protocol import registered
from routing_app.core.streams.stores import stores_of
from routing_app.core.streams.streams import Streams

logger = logging.getLogger(__name__)

T = TypeVar("T")

KEYS_REVOKED: Final = "$keys_revoked"
"""Event that makes every process forget the API keys it knows."""
DRAIN_BATCH: Final = 200
"""Connections closed at once while draining, so that their reconnects do not come all at once."""
DRAIN_PAUSE_SECONDS: Final = 0.02
COUNT_SECONDS: Final = 5.0
"""Between two counts of this process's tasks."""


class Worker:
    """Everything that one process keeps about its connections."""

    def __init__(self, layer: object, loop: asyncio.AbstractEventLoop) -> None:
        self.id = secrets.token_hex(WORKER_ID_LENGTH // 2)
        self.flusher = Flusher(loop)
        self.relay = relay_of(layer, self.id)
        self.hub = Hub(self.relay)
        self.keys = KnownKeys()
        self.hub.on(KEYS_REVOKED, self.keys.forget)
        self.calls = Calls(self.id, self.hub, self.relay, self.spawn)
        self._stores = stores_of(settings.REDIS_URL)
        self.streams = Streams(self.hub, self.relay, self._stores, self.spawn)
        self.writes = GroupedWrites()
        self.presence = Presence(self.id, self.writes)
        self.notices = PresenceNotices(
            self.id,
            self.hub,
            self.relay,
            lambda: self.streams.rules,
            self.spawn,
            loop.call_later,
            loop.time,
        )
        self.presence.on_lapse.append(lambda gap: self.notices.lapsed())
        self.seats = Seats(settings.MAX_CONNECTIONS, settings.MAX_CONNECTIONS_PER_PEER)
        self.limits = Limits(settings.MAX_OUTBOX_BYTES, settings.MAX_OUTBOX_FRAMES)
        self.draining = False
        self.serving = False
        """True once a socket was served here; scripts that only publish never serve."""
        self.on_drain: list[Callable[[Close], None]] = []
        """Called once when the worker begins to drain, for sessions that are not connections of the hub."""
        self._starting: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._eager = EagerTasks(self.spawn)
        self.protocols: dict[str, Any] = {protocol.name: protocol(self) for protocol in registered()}
        """Each protocol's state in this process, by name; only its own modules know more of it."""

    def take_over(self) -> None:
        """Go on where the process before stopped: called before the first request, which may come before
        `start` has ended.
        """
        self._stores.take_over(settings.VAR_DIR)

    async def start(self) -> None:
        """Take the lease, open the relay and run the start hooks, once. Every socket calls it.

        Raises LayerUnavailable.
        """
        if self.serving:
            return
        if self._starting is None or self._starting.done():
            self._starting = asyncio.ensure_future(self._start())
        # Shielded: the first socket may leave before the start has ended, and the others wait for it, too.
        await asyncio.shield(self._starting)

    async def _start(self) -> None:
        self.presence.start()
        await self.relay.want([f"worker:{self.id}"])
        await self.streams.start()
        for protocol in self.protocols.values():
            await self._run(protocol.start)
        self.spawn(_count_tasks())
        self.serving = True

    async def _run(self, step: Callable[[], Awaitable[None]]) -> None:
        """Start or stop a protocol; one that fails does not keep the others from it."""
        try:
            await step()
        except Exception:
            logger.exception("%s failed", step.__qualname__)

    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run a protocol's own task, until the worker stops at the latest."""
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def start_at_once(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
        """The same, begun before this returns; None when it has ended well without a wait."""
        return self._eager.start(coroutine)

    async def drain(self, close: Close = RESTART) -> int:
        """Take no more connections and close the open ones in batches; how many there were."""
        self.draining = True
        for hook in self.on_drain:
            hook(close)
        # A list: connections that arrive from here on see `draining` before they are accepted.
        doomed = self.hub.connections()
        for start in range(0, len(doomed), DRAIN_BATCH):
            for connection in doomed[start : start + DRAIN_BATCH]:
                connection.close(close)
            await asyncio.sleep(DRAIN_PAUSE_SECONDS)
        return len(doomed)

    async def stop(self) -> None:
        """Give the lease back and end the tasks."""
        if self.serving:
            for protocol in self.protocols.values():
                await self._run(protocol.stop)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # In this order: the tasks publish, the store has that, the relay sends it, and a lease is given back
        # last, since other workers take over what hangs on it at once.
        self.notices.stop()
        await self.streams.settle()
        await self.relay.stop()
        await self.streams.stop()
        if self.serving:
            await self._stores.keep(settings.VAR_DIR)
        await self.presence.stop()
        await self.writes.settled()


async def _count_tasks() -> None:
    """Keep the metric up to date: tasks that pile up are a leak that memory shows only late."""
    while True:
        metrics.TASKS.set(len(asyncio.all_tasks()))
        await asyncio.sleep(COUNT_SECONDS)


_workers: dict[asyncio.AbstractEventLoop, Worker] = {}


def current_worker() -> Worker:
    """The worker of the running event loop, made on first use."""
    loop = asyncio.get_running_loop()
    worker = _workers.get(loop)
    if worker is None:
        worker = _workers[loop] = Worker(get_channel_layer(), loop)
    return worker


def serving_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop on which this process serves sockets; None in a script or a shell."""
    for loop, worker in list(_workers.items()):
        if worker.serving and loop.is_running():
            return loop
    return None


async def end_worker() -> None:
    """Stop the running loop's worker, if there is one: the loop was made for one call, and serves nobody.

    Nobody else may: sockets that a loop serves, or is about to, are lost with its worker.
    """
    if (worker := _workers.get(asyncio.get_running_loop())) is None:
        return
    await worker.streams.settle()
    await worker.relay.settled()
    await worker.stop()
    drop_worker()


def drop_worker() -> None:
    """Forget the running loop's worker, so that the next call makes a new one."""
    _workers.pop(asyncio.get_running_loop(), None)


__all__ = [
    "LayerUnavailable",
    "Worker",
    "current_worker",
    "drop_worker",
    "end_worker",
    "serving_loop",
]
