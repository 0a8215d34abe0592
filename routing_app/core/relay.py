"""Carries publications between processes over the channel layer.

One task per process does everything that waits for the layer, in order: first new subscriptions, then
envelopes, then subscriptions that nobody needs any more. What is published in one loop turn, or while the
layer is busy, goes as ONE envelope per address. Envelopes are numbered and logged: one sent again after a
failure is delivered once, and what a broken connection swallowed is asked for again (`inbox`, `replay`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final

from routing_app.core import metrics
from routing_app.core.address import group_name
from routing_app.core.codes import Loss
from routing_app.core.inbox import Inbox
from routing_app.core.outgoing import Batch, Outgoing
from routing_app.core.publication import Publication
from routing_app.core.replay import Log

logger = logging.getLogger(__name__)

EVERYBODY: Final = "worker:*"
"""The address that every process hears."""
PATIENCE_SECONDS: Final = 1.0
"""How long a publisher waits for room in the backlog before its message counts as lost."""
RETRY_SECONDS: Final = 0.5
"""Longest pause between two tries to send an envelope."""
CONFIRM_SECONDS: Final = 3.0
"""How long a subscription may take until the layer is seen to honour it."""
HEARTBEAT_SECONDS: Final = 1.0
SILENT_SECONDS: Final = 3.0
"""Our own heartbeats missing for so long: the connection is half-open, and is broken to be made anew."""
RECOVERY_TICK_SECONDS: Final = 0.25
DISCARDS: Final = 64
"""Subscriptions ended in one round, so that a mass drop does not hold up envelopes."""

Deliver = Callable[[Publication], int]
Envelope = dict[str, Any]


class LayerUnavailable(Exception):
    """The channel layer does not answer; what was asked of it has not happened."""


class Relay:
    """One process's end of the channel layer.

    `layer` is a Channels layer with the groups extension; `worker` is this process's id.
    """

    def __init__(self, layer: Any, worker: str) -> None:
        self._layer = layer
        self._worker = worker
        self._alone: Callable[[str, str], bool] | None = getattr(layer, "alone", None)
        self._channel = ""
        self._deliver: Deliver = lambda publication: 0
        self._on_gap: Callable[[], None] = lambda: None
        self._held: set[str] = set()
        self._asked: dict[str, asyncio.Future[None]] = {}
        self._dropped: set[str] = set()
        self._outgoing = Outgoing()
        self._notices: list[tuple[str, Callable[[], Envelope]]] = []
        self._log = Log()
        self._number = 0
        self._inbox = Inbox(self._deliver_items)
        self._probe = 0
        self._probe_seen = asyncio.Event()
        self._heard_ourselves_at = 0.0
        self._work = asyncio.Event()
        self._room = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None
        self._receivers: list[asyncio.Task[None]] = []

    @property
    def reaches_others(self) -> bool:
        """False when the layer ends at this process, so that a local count is the whole count."""
        return self._alone is None

    @property
    def healthy(self) -> bool:
        """False while the layer is silent, or what it swallowed is not recovered."""
        if self._alone is not None or not self._receivers:
            return True
        silent = asyncio.get_running_loop().time() - self._heard_ourselves_at
        return silent < SILENT_SECONDS and not self._inbox.recovering

    def receive_with(self, deliver: Deliver, on_gap: Callable[[], None]) -> None:
        """Give what other processes publish to `deliver`; `on_gap` is called when some of it is missing."""
        self._deliver = deliver
        self._on_gap = on_gap

    async def stop(self) -> None:
        """Send what waits, for a second at most, then end the tasks. The relay may be used again."""
        if self._alone is None and (self._receivers or self._number):
            self._notify(EVERYBODY, lambda: self._envelope("goodbye"))
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                while self._outgoing.backlog or self._notices:
                    await asyncio.sleep(0.005)
        tasks = [*self._receivers, *([self._sender] if self._sender is not None else [])]
        self._sender, self._receivers = None, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def want(self, addresses: Iterable[str]) -> None:
        """Subscribe to addresses and wait until the layer is seen to honour it. Raises LayerUnavailable."""
        self._dropped.difference_update(addresses)
        missing = [address for address in addresses if address not in self._held]
        if not missing:
            return
        loop = asyncio.get_running_loop()
        waiting = [self._asked.setdefault(address, loop.create_future()) for address in missing]
        self._wake()
        try:
            async with asyncio.timeout(2 * CONFIRM_SECONDS):
                # A future may be shared with another connection: its cancellation is not ours.
                for future in waiting:
                    await asyncio.shield(future)
        except TimeoutError:
            raise LayerUnavailable("the channel layer does not answer") from None

    def unwant(self, address: str) -> None:
        """Unsubscribe from an address some time soon."""
        self._dropped.add(address)
        self._wake()

    def offer(self, publication: Publication) -> bool:
        """Take a publication for the other processes; False when the backlog is full."""
        addresses = publication.addresses
        if self._alone is not None:
            addresses = tuple(a for a in addresses if not self._alone(group_name(a), self._channel))
        if not addresses:
            return True
        if self._outgoing.full:
            return False
        self._outgoing.add(publication, addresses)
        self._wake()
        return True

    async def offer_later(self, publication: Publication) -> None:
        """Wait for room; after PATIENCE_SECONDS the publication is lost to other processes, and counted."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not self.offer(publication):
                    self._room.clear()
                    await self._room.wait()
        except TimeoutError:
            metrics.LOST.labels(Loss.LAYER_BACKLOG).inc()

    # --- the sending task --------------------------------------------------------------------------------

    def _wake(self) -> None:
        if self._sender is None:
            self._sender = asyncio.ensure_future(self._run())
        self._work.set()

    async def _run(self) -> None:
        """Do what waits, for ever; nothing that fails here ends the task."""
        while True:
            await self._work.wait()
            self._work.clear()
            try:
                await self._subscribe_asked()
                for batch in self._outgoing.take():
                    await self._send_batch(batch)
                await self._send_notices()
                await self._unsubscribe_dropped()
            except Exception:
                metrics.LAYER_ERRORS.inc()
                logger.exception("the relay failed and goes on")

    async def _subscribe_asked(self) -> None:
        asked, self._asked = self._asked, {}
        if not asked:
            return
        try:
            async with asyncio.timeout(CONFIRM_SECONDS):
                await self._open_channel()
                for address in asked:
                    await self._layer.group_add(group_name(address), self._channel)
                await self._confirm(next(reversed(asked)))
        except Exception as error:
            metrics.LAYER_ERRORS.inc()
            _fail(asked.values(), LayerUnavailable(f"cannot subscribe: {error}"))
            self._dropped.update(asked)
            return
        self._held.update(asked)
        for future in asked.values():
            if not future.done():
                future.set_result(None)

    async def _open_channel(self) -> None:
        """The one channel that this process receives on; a process that only publishes has none."""
        if self._receivers:
            return
        self._channel = await self._layer.new_channel("hub.")
        self._receivers = [asyncio.ensure_future(self._receive())]
        if self._alone is None:
            await self._layer.group_add(group_name(EVERYBODY), self._channel)
            self._heard_ourselves_at = asyncio.get_running_loop().time()
            self._receivers.append(asyncio.ensure_future(self._watch()))
            if hasattr(self._layer, "when_reconnected"):
                self._layer.when_reconnected(self._broke)

    async def _confirm(self, address: str) -> None:
        """Wait until an envelope of our own comes back through the youngest subscription.

        The pub/sub layer sends SUBSCRIBE without waiting for the answer; only an echo proves that
        this subscription, and with it all earlier ones, is in force.
        """
        if self._alone is not None:
            return
        self._probe += 1
        self._probe_seen.clear()
        while not self._probe_seen.is_set():
            await self._layer.group_send(group_name(address), self._envelope("probe", number=self._probe))
            with suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await self._probe_seen.wait()

    async def _send_batch(self, batch: Batch) -> None:
        address, items = batch
        self._number += 1
        if self._alone is None:
            self._log.append((self._number, address, items))
        await self._insist(address, self._envelope("items", number=self._number, items=items))
        metrics.ENVELOPES.labels("out").inc()
        self._outgoing.sent(batch)
        self._room.set()

    async def _insist(self, address: str, envelope: Envelope) -> None:
        """Send until it succeeds; meanwhile the backlog fills, and publishers are slowed by it."""
        pause = 0.02
        while True:
            try:
                await self._layer.group_send(group_name(address), envelope)
                return
            except Exception as error:
                metrics.LAYER_ERRORS.inc()
                logger.warning("the channel layer is down: %s", error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, RETRY_SECONDS)

    async def _send_notices(self) -> None:
        """Heartbeats and what recovery needs; made when sent, to tell of all envelopes before them."""
        notices, self._notices = self._notices, []
        for address, make in notices:
            try:
                await self._layer.group_send(group_name(address), make())
            except Exception:
                metrics.LAYER_ERRORS.inc()

    async def _unsubscribe_dropped(self) -> None:
        for _ in range(min(len(self._dropped), DISCARDS)):
            address = self._dropped.pop()
            self._held.discard(address)
            try:
                await self._layer.group_discard(group_name(address), self._channel)
            except Exception:
                # The layer forgets us with the connection that it lost; receiving too much is harmless.
                metrics.LAYER_ERRORS.inc()
        if self._dropped:
            self._work.set()

    def _notify(self, address: str, make: Callable[[], Envelope]) -> None:
        self._notices.append((address, make))
        self._wake()

    def _envelope(self, kind: str, **content: Any) -> Envelope:
        return {"type": "hub.envelope", "from": self._worker, "kind": kind, **content}

    # --- the receiving tasks -----------------------------------------------------------------------------

    async def _receive(self) -> None:
        while True:
            try:
                envelope = await self._layer.receive(self._channel)
            except Exception as error:
                metrics.LAYER_ERRORS.inc()
                logger.warning("channel layer: cannot receive: %s", error)
                await asyncio.sleep(0.5)
                continue
            try:
                self._take(envelope)
            except Exception:
                logger.exception("an envelope could not be delivered")

    def _take(self, envelope: Envelope) -> None:
        sender, kind = envelope["from"], envelope["kind"]
        if sender == self._worker:
            self._take_own(kind, envelope)
        elif kind == "items":
            metrics.ENVELOPES.labels("in").inc()
            self._inbox.take(sender, (envelope["number"], "", envelope["items"]))
        elif kind == "heartbeat":
            self._inbox.heartbeat(sender, envelope["number"])
        elif kind == "goodbye":
            self._inbox.goodbye(sender)
        elif kind == "ask" and self._worker in envelope["after"]:
            self._answer(sender, envelope["after"][self._worker])
        elif kind == "replay":
            self._inbox.replay(sender, [tuple(entry) for entry in envelope["entries"]], envelope["complete"])
            self._settle()

    def _take_own(self, kind: str, envelope: Envelope) -> None:
        self._heard_ourselves_at = asyncio.get_running_loop().time()
        if kind == "probe" and envelope["number"] == self._probe:
            self._probe_seen.set()

    def _deliver_items(self, items: Iterable[Any]) -> None:
        for packed in items:
            self._deliver(Publication.unpack(packed))

    # --- broken connections ------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Heartbeat, and the steps of a recovery; a layer that stays silent is made to reconnect."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(RECOVERY_TICK_SECONDS if self._inbox.recovering else HEARTBEAT_SECONDS)
            if not self._notices:
                self._notify(EVERYBODY, lambda: self._envelope("heartbeat", number=self._number))
            if self._inbox.recovering:
                self._ask()
                self._settle()
            elif loop.time() - self._heard_ourselves_at > SILENT_SECONDS:
                await self._break()

    async def _break(self) -> None:
        metrics.LAYER_ERRORS.inc()
        logger.warning("the channel layer is silent: reconnecting")
        self._heard_ourselves_at = asyncio.get_running_loop().time()
        with suppress(Exception):
            await self._layer.break_connection()

    def _broke(self) -> None:
        """The subscribing connection was made anew; what came between is asked for."""
        logger.warning("the channel layer was reconnected: recovering")
        self._inbox.broke()
        self._ask()
        self._settle()

    def _ask(self) -> None:
        if wanted := self._inbox.wanted():
            self._notify(EVERYBODY, lambda: self._envelope("ask", after=wanted))

    def _answer(self, sender: str, number: int) -> None:
        def replay() -> Envelope:
            entries, complete = self._log.after(number)
            return self._envelope("replay", entries=[list(entry) for entry in entries], complete=complete)

        self._notify(f"worker:{sender}", replay)

    def _settle(self) -> None:
        if self._inbox.settle():
            metrics.LOST.labels(Loss.LAYER_GAP).inc()
            logger.warning("messages of other processes are missing: their clients are told")
            self._on_gap()


def _fail(futures: Iterable[asyncio.Future[None]], error: Exception) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)
            future.exception()  # retrieved: the waiter may be gone
