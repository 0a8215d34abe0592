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
from routing_app.core.access.expiry import Expiries
from routing_app.core.access.held_grants import HeldGrants
from routing_app.core.access.known_keys import KnownKeys
from routing_app.core.access.seats import Seats
from routing_app.core.address import WORKER_ID_LENGTH
from routing_app.core.cluster.calls import Calls
from routing_app.core.cluster.spread import relay_of
from routing_app.core.cluster.subscriptions import LayerUnavailable
from routing_app.core.codes import RESTART, Close
from routing_app.core.database import GroupedWrites
from routing_app.core.delivery.connection import Limits
from routing_app.core.delivery.outbox import Flusher
from routing_app.core.delivery.traced import hub_of
from routing_app.core.durations import publish_all
from routing_app.core.eager import EagerTasks
from routing_app.core.ending import end_tasks
from routing_app.core.frame_trace.traces import FrameTraces
from routing_app.core.hooks import states as hook_states
from routing_app.core.hooks.hooks import Hooks
from routing_app.core.issuers import known
from routing_app.core.leases.presence import Presence
from routing_app.core.monitoring.monitor import Monitor
from routing_app.core.presence_notices.notices import PresenceNotices
from routing_app.core.protocol import registered
from routing_app.core.rate_limits.limits import RateLimits, counts_of
from routing_app.core.revocations.known import Revocations
from routing_app.core.streams.stores import stores_of
from routing_app.core.streams.streams import Streams
from routing_app.core.transactional.sender import OutboxSender
from routing_app.core.webhooks import report
from routing_app.core.webhooks.occupancy import Occupancy
from routing_app.core.webhooks.published import PublishedMessages
from routing_app.core.webhooks.sender import WebhookSender
from routing_app.core.webhooks.watch import WebhookWatch

logger = logging.getLogger(__name__)

T = TypeVar("T")

KEYS_REVOKED: Final = "$keys_revoked"
"""Event that makes every process forget the API keys it knows."""
DRAIN_BATCH: Final = 200
"""Connections closed at once while draining, so that their reconnects do not come all at once."""
DRAIN_PAUSE_SECONDS: Final = 0.02
END_SECONDS: Final = (10.0, 1.0)
"""Longest waits for the tasks of a worker, each after they are cancelled: some write what they still have.
The server waits a few seconds longer for the whole stop."""


class Worker:
    """Everything that one process keeps about its connections."""

    def __init__(self, layer: object, loop: asyncio.AbstractEventLoop) -> None:
        self.id = secrets.token_hex(WORKER_ID_LENGTH // 2)
        self.flusher = Flusher(loop)
        self.relay = relay_of(layer, self.id)
        self.hub = hub_of(self.relay, self.flusher.until_written)
        self.keys = KnownKeys()
        self.revocations = Revocations(self.hub, self.spawn, lambda: self.protocols)
        self.calls = Calls(self.id, self.hub, self.relay, self.spawn)
        self._stores = stores_of(settings.REDIS_URL)
        self.streams = Streams(self.hub, self.relay, self._stores, self.spawn)
        self.rate_limits = RateLimits(self.hub, counts_of(settings.REDIS_URL), self.spawn)
        self.hooks = Hooks(self.hub, self.spawn)
        hook_states.serve(self.calls, self.hooks)
        self.writes = GroupedWrites()
        self.presence = Presence(self.id, self.writes)
        self.traces = FrameTraces(self.hub, self.presence, self.calls, self.spawn)
        self.notices = PresenceNotices(
            self.id,
            self.hub,
            self.relay,
            lambda: self.streams.rules,
            self.spawn,
            loop.call_later,
            loop.time,
        )
        self.expiries = Expiries(loop.call_later)
        self.outbox = OutboxSender(self.spawn, self.hub, self.relay, self.streams)
        self.webhooks = WebhookSender(self.spawn, self.hub)
        self.published = PublishedMessages()
        self.occupancy = Occupancy(self.id, self.hub, self.spawn)
        self.webhook_watch = WebhookWatch(self.hub, self.published, self.occupancy, self.spawn)
        self.grants = HeldGrants(self.expiries)
        self.seats = Seats(settings.MAX_CONNECTIONS, settings.MAX_CONNECTIONS_PER_PEER)
        self.limits = Limits(settings.MAX_OUTBOX_BYTES, settings.MAX_OUTBOX_FRAMES)
        self.draining = False
        self.serving = False
        """True once a socket was served here; scripts that only publish never serve."""
        self.on_drain: list[Callable[[Close], None]] = []
        """Called once when the worker begins to drain, for sessions that are not connections of the hub."""
        self.monitor = Monitor(self)
        self._connect_parts()
        self._starting: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._eager = EagerTasks(self.spawn)
        self.protocols: dict[str, Any] = {protocol.name: protocol(self) for protocol in registered()}
        metrics.show_zeros(self.protocols)
        """Each protocol's state in this process, by name; only its own modules know more of it."""

    def _connect_parts(self) -> None:
        """Have parts hear of each other."""
        self.hub.on(KEYS_REVOKED, self.keys.forget)
        self.hub.on(known.ISSUERS_CHANGED, known.forget)
        self.revocations.on_made.append(self.keys.clear)
        self.presence.on_lapse.append(lambda gap: self.notices.lapsed())
        self.webhook_watch.on_read.append(self.webhooks.wake)
        self.webhooks.on_off.append(self.monitor.webhook_off)

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

    async def know_rows(self) -> None:
        """Wait until all is known that decides on clients and their messages. Raises StoreUnavailable, and
        what the database raises.
        """
        for one in (self.hooks, self.streams, self.rate_limits, self.webhook_watch):
            if not one.are_known:
                await one.freshen()

    async def _start(self) -> None:
        self.presence.start()
        await self.relay.want([f"worker:{self.id}"])
        await self.hooks.start()
        await self.revocations.start()
        await self.streams.start()
        await self.webhook_watch.start()
        self.outbox.start()
        self.webhooks.start()
        await self.rate_limits.start()
        for protocol in self.protocols.values():
            await self._run(protocol.start)
        self.spawn(self.grants.watch())
        self.monitor.start()
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
        await end_tasks(self._tasks, END_SECONDS)
        self.revocations.stop()
        # In this order: the tasks publish, the store has that, the relay sends it, and a lease is given back
        # last, since other workers take over what hangs on it at once.
        self.notices.stop()
        await self.streams.settle()
        await self.published.settled()
        await self.relay.stop()
        await self.streams.stop()
        await self.rate_limits.stop()
        self.hooks.stop()
        if self.serving:
            await self._stores.keep(settings.VAR_DIR)
        await self.presence.stop()
        await self.writes.settled()
        await self.webhooks.settled()
        publish_all()


_workers: dict[asyncio.AbstractEventLoop, Worker] = {}


def current_worker() -> Worker:
    """The worker of the running event loop, made on first use."""
    loop = asyncio.get_running_loop()
    worker = _workers.get(loop)
    if worker is None:
        worker = _workers[loop] = Worker(get_channel_layer(), loop)
    return worker


def wake_outbox() -> None:
    """Have the worker of this process look for messages after a commit; from whatever thread."""
    loop = serving_loop()
    if loop is not None:
        loop.call_soon_threadsafe(_workers[loop].outbox.wake)


def wake_webhooks() -> None:
    """Have the worker of this process look for deliveries; from whatever thread."""
    loop = serving_loop()
    if loop is not None:
        loop.call_soon_threadsafe(_workers[loop].webhooks.wake)


report.written.append(wake_webhooks)


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
