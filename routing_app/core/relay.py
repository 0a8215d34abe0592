"""Carries publications between processes over the channel layer.

One task per process does everything that waits for the layer, in order: first new subscriptions, then
envelopes, then subscriptions that nobody needs any more. What is published in one loop turn, or while the
layer is busy, goes as ONE envelope per address. Envelopes are numbered, so that one sent again after a
failure is delivered once. However long the layer is down or hangs, each step ends within a few seconds.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import islice
from typing import Any, Final

from routing_app.core import metrics
from routing_app.core.address import group_name
from routing_app.core.codes import Loss
from routing_app.core.publication import Publication

logger = logging.getLogger(__name__)

BACKLOG: Final = 10_000
"""Publications, times their addresses, that may wait for the layer."""
PATIENCE_SECONDS: Final = 1.0
"""How long a publisher waits for room in the backlog before its message counts as lost."""
RETRY_SECONDS: Final = 3.0
"""How long an envelope is tried again while the layer fails; then it is lost, and what waits behind it."""
CONFIRM_SECONDS: Final = 3.0
"""How long a round of subscriptions may take until the layer is seen to honour it."""
SUBSCRIPTIONS: Final = 500
"""Subscriptions begun in one round: a mass arrival takes several, each within its time."""
DISCARDS: Final = 64
"""Subscriptions ended in one round, so that a mass drop does not hold up envelopes."""
DISCARD_SECONDS: Final = 1.0
"""How long ending one may take, and the pause after a failure."""
UNENCODABLE: Final = (TypeError, ValueError, ArithmeticError, RecursionError)
"""What serializers raise for a value that they have no form for; layers raise others for lost connections."""
KNOWN_SENDERS: Final = 1024

Deliver = Callable[[Publication], int]
Batch = tuple[str, list[Any]]


class LayerUnavailable(Exception):
    """The channel layer does not answer; what was asked of it has not happened."""


class Relay:
    """One process's end of the channel layer.

    `layer` is a Channels layer with the groups extension; `worker` is this process's id. A layer that has
    `alone` saves us sends that nobody would hear, one that has `watch` tells of gaps.
    """

    def __init__(self, layer: Any, worker: str) -> None:
        self._layer = layer
        self._worker = worker
        self._alone: Callable[[str, str], bool] | None = getattr(layer, "alone", None)
        self._channel = ""
        self._deliver: Deliver = lambda publication: 0
        self._held: set[str] = set()
        self._asked: dict[str, asyncio.Future[None]] = {}
        self._dropped: set[str] = set()
        self._batches: list[Batch] = []
        self._open: dict[str, list[Any]] = {}
        self._backlog = 0
        self._number = 0
        self._last_number: dict[str, int] = {}
        self._probe = 0
        self._probe_seen = asyncio.Event()
        self._work = asyncio.Event()
        self._room = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None
        self._receiver: asyncio.Task[None] | None = None

    @property
    def reaches_others(self) -> bool:
        """False when the layer ends at this process, so that a local count is the whole count."""
        return self._alone is None

    def receive_with(self, deliver: Deliver) -> None:
        """Give what other processes publish to `deliver`."""
        self._deliver = deliver

    async def settled(self) -> None:
        """Wait until everything that was offered is sent, or counted as lost."""
        while self._backlog:
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Send what waits, for as long as one envelope is tried, then end the tasks and all subscriptions."""
        with suppress(TimeoutError):
            async with asyncio.timeout(RETRY_SECONDS + 0.5):
                await self.settled()
        tasks = [task for task in (self._sender, self._receiver) if task is not None]
        self._sender = self._receiver = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._forget()

    def _forget(self) -> None:
        metrics.LOST.labels(Loss.LAYER_DOWN).inc(self._backlog)
        self._backlog = 0
        self._batches, self._open = [], {}
        _fail(self._asked.values(), LayerUnavailable("stopped"))
        self._asked = {}
        self._held.clear()
        self._dropped.clear()

    async def want(self, addresses: Iterable[str]) -> None:
        """Subscribe to addresses and wait until the layer is seen to honour it. Raises LayerUnavailable."""
        self._dropped.difference_update(addresses)
        missing = [address for address in addresses if address not in self._held]
        if not missing:
            return
        loop = asyncio.get_running_loop()
        waiting = [self._asked.setdefault(address, loop.create_future()) for address in missing]
        self._wake()
        # A future may be shared with another connection: its cancellation is not ours.
        for future in waiting:
            await asyncio.shield(future)

    def unwant(self, address: str) -> None:
        """Unsubscribe from an address some time soon."""
        self._dropped.add(address)
        self._wake()

    def offer(self, publication: Publication) -> bool:
        """Take a publication for the other processes; False when the backlog is full."""
        if self._backlog >= BACKLOG:
            return False
        addresses = publication.addresses
        if self._alone is not None:
            addresses = tuple(a for a in addresses if not self._alone(group_name(a), self._channel))
        if not addresses:
            return True
        packed = publication.pack()
        if len(publication.addresses) == 1:
            self._append(addresses[0], packed)
        else:
            self._append_sealed(addresses, packed)
        self._backlog += len(addresses)
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

    def _wake(self) -> None:
        if self._sender is None:
            self._sender = asyncio.ensure_future(self._run())
        self._work.set()

    def _append(self, address: str, packed: list[Any]) -> None:
        items = self._open.get(address)
        if items is None:
            items = self._open[address] = []
            self._batches.append((address, items))
        items.append(packed)

    def _append_sealed(self, addresses: Iterable[str], packed: list[Any]) -> None:
        """Start new envelopes for all addresses of a publication.

        A receiver delivers it to all of them when the first envelope comes, so nothing that was published
        before it may come later.
        """
        for address in addresses:
            items = [packed]
            self._batches.append((address, items))
            self._open[address] = items

    async def _run(self) -> None:
        """Do what waits, for ever; nothing that fails here ends the task."""
        while True:
            await self._work.wait()
            self._work.clear()
            try:
                await self._subscribe_asked()
                await self._send_batches()
                await self._unsubscribe_dropped()
            except Exception:
                metrics.LAYER_ERRORS.inc()
                logger.exception("the relay failed and goes on")

    async def _subscribe_asked(self) -> None:
        asked = self._next_asked()
        if not asked:
            return
        try:
            async with asyncio.timeout(CONFIRM_SECONDS):
                await self._open_channel()
                for address in asked:
                    await self._layer.group_add(group_name(address), self._channel)
                await self._confirm()
        except Exception as error:
            metrics.LAYER_ERRORS.inc()
            # Some may be subscribed to by now; those that were asked for again have their turn next.
            self._dropped.update(asked.keys() - self._asked.keys())
            _fail(asked.values(), LayerUnavailable(f"cannot subscribe: {error}"))
        except BaseException:
            _fail(asked.values(), LayerUnavailable("stopped"))
            raise
        else:
            self._held.update(asked)
            _resolve(asked.values())

    def _next_asked(self) -> dict[str, asyncio.Future[None]]:
        """Take some of the addresses asked for, without those that have come to be held in the meantime."""
        taken = {address: self._asked.pop(address) for address in list(islice(self._asked, SUBSCRIPTIONS))}
        if self._asked:
            self._work.set()
        held = taken.keys() & self._held
        _resolve(taken.pop(address) for address in held)
        return taken

    async def _open_channel(self) -> None:
        """The one channel that this process receives on; a process that only publishes has none."""
        if self._receiver is None:
            self._channel = await self._layer.new_channel("hub.")
            if (watch := getattr(self._layer, "watch", None)) is not None:
                watch(self._reconnected)
            self._receiver = asyncio.ensure_future(self._receive())

    def _reconnected(self, connection: object) -> None:
        """The layer was deaf for a while: nobody can say what was published meanwhile, or how much."""
        metrics.LAYER_ERRORS.inc()
        metrics.LOST.labels(Loss.LAYER_GAP).inc()
        logger.warning("channel layer: connection lost and made anew; messages were missed meanwhile")

    async def _confirm(self) -> None:
        """Wait until an envelope of our own comes back through a group that is used only for this.

        The pub/sub layer sends SUBSCRIBE without waiting for the answer, and PUBLISH over another connection.
        Only an echo through a subscription that is younger than all others proves that they are in force.
        """
        if self._alone is not None:
            return
        self._probe += 1
        self._probe_seen.clear()
        address = f"probe:{self._worker}/{self._probe}"
        pause = 0.01
        try:
            await self._layer.group_add(group_name(address), self._channel)
            while not self._probe_seen.is_set():
                await self._layer.group_send(group_name(address), self._envelope(probe=self._probe))
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._probe_seen.wait()
                pause = min(2 * pause, 0.2)
        finally:
            self._dropped.add(address)

    async def _send_batches(self) -> None:
        """Send what waits. When the layer has failed one envelope for good, the rest has waited as long."""
        batches, self._batches, self._open = self._batches, [], {}
        works = True
        for address, items in batches:
            works = works and await self._send(address, items)
            if not works:
                logger.warning("channel layer down, %d messages lost to other processes", len(items))
                metrics.LOST.labels(Loss.LAYER_DOWN).inc(len(items))
            self._backlog -= len(items)
            self._room.set()

    async def _send(self, address: str, items: list[Any]) -> bool:
        """Send one envelope; False when the layer does not take it within RETRY_SECONDS."""
        self._number += 1
        envelope = self._envelope(number=self._number, items=items)
        deadline = asyncio.get_running_loop().time() + RETRY_SECONDS
        pause = 0.05
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    await self._layer.group_send(group_name(address), envelope)
            except UNENCODABLE:
                if not (armoured := _armour(envelope)):
                    return True
                envelope = armoured
                continue
            except Exception as error:
                metrics.LAYER_ERRORS.inc()
                if asyncio.get_running_loop().time() + pause > deadline:
                    logger.warning("channel layer: cannot send: %s", error)
                    return False
            else:
                metrics.ENVELOPES.labels("out").inc()
                return True
            await asyncio.sleep(pause)
            pause *= 2

    async def _unsubscribe_dropped(self) -> None:
        for _ in range(DISCARDS):
            if not self._dropped:
                return
            address = self._dropped.pop()
            if address in self._asked:
                self._dropped.add(address)  # it was asked for before: that comes first, with the next round
                return
            self._held.discard(address)
            try:
                async with asyncio.timeout(DISCARD_SECONDS):
                    await self._layer.group_discard(group_name(address), self._channel)
            except Exception:
                metrics.LAYER_ERRORS.inc()
                if address not in self._asked:
                    self._dropped.add(address)
                asyncio.get_running_loop().call_later(DISCARD_SECONDS, self._work.set)
                return
        if self._dropped:
            self._work.set()

    def _envelope(self, number: int = 0, items: Iterable[Any] = (), probe: int = 0) -> dict[str, Any]:
        return {
            "type": "hub.envelope",
            "from": self._worker,
            "number": number,
            "items": list(items),
            "probe": probe,
        }

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
                logger.exception("an envelope of another process could not be read")

    def _take(self, envelope: dict[str, Any]) -> None:
        sender, number = envelope["from"], envelope["number"]
        if sender == self._worker:
            if envelope["probe"] == self._probe:
                self._probe_seen.set()
            return
        if not number or number <= self._last_number.get(sender, 0):
            return
        self._remember(sender, number)
        metrics.ENVELOPES.labels("in").inc()
        for packed in envelope["items"]:
            try:
                self._deliver(Publication.unpack(packed))
            except Exception:
                logger.exception("a publication of another process could not be delivered")

    def _remember(self, sender: str, number: int) -> None:
        self._last_number.pop(sender, None)
        self._last_number[sender] = number
        if len(self._last_number) > KNOWN_SENDERS:
            del self._last_number[next(iter(self._last_number))]


def _armour(envelope: dict[str, Any]) -> dict[str, Any] | None:
    """The envelope with its items as JSON, for values that the layer's serializer has no form for.

    Such are numbers beyond 64 bits, lone surrogates and deep nesting: all of them legal in JSON. None when it
    was armoured already; items that JSON cannot hold either are lost, and counted.
    """
    items = [_as_json(item) for item in envelope["items"] if not isinstance(item, str)]
    fine = [item for item in items if item is not None]
    metrics.LOST.labels(Loss.UNENCODABLE).inc(len(envelope["items"]) - len(fine))
    return {**envelope, "items": fine} if fine else None


def _as_json(packed: list[Any]) -> str | None:
    try:
        return json.dumps(packed)
    except Exception:
        logger.exception("a publication cannot be encoded for other processes")
        return None


def _resolve(futures: Iterable[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)


def _fail(futures: Iterable[asyncio.Future[None]], error: Exception) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)
            future.exception()  # retrieved: the waiter may be gone
