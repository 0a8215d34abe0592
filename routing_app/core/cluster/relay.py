"""Carries publications between processes over the channel layer.

One task per process does everything that waits for the layer, in order: first new subscriptions, then
envelopes, then subscriptions that nobody needs any more. Publications of one loop turn, and those that come
while the layer is busy, go as ONE envelope per address. Envelopes are numbered and logged: one that comes
twice is delivered once, and one that a broken connection lost, or that never left, is sent again (`receiver`,
`replay`). However long the layer is down or hangs, each step ends within a few seconds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any, Final

from routing_app.core import metrics
from routing_app.core.address import group_name
from routing_app.core.cluster import losses
from routing_app.core.cluster.answers import Answers
from routing_app.core.cluster.attempts import send_within
from routing_app.core.cluster.batching import EVERYBODY, Batch, Batches, unpack
from routing_app.core.cluster.channel import Channel
from routing_app.core.cluster.envelope import Envelope
from routing_app.core.cluster.heartbeats import Heartbeats
from routing_app.core.cluster.liveness import Peers
from routing_app.core.cluster.notices import Notices
from routing_app.core.cluster.probe import Probe
from routing_app.core.cluster.receiver import EnvelopeReceiver
from routing_app.core.cluster.replay import Log
from routing_app.core.cluster.subscriptions import Subscriptions
from routing_app.core.delivery.publication import Publication
from routing_app.core.ending import end_tasks
from routing_app.core.standstill import Standstill, Within

logger = logging.getLogger(__name__)

PATIENCE_SECONDS: Final = 1.0
"""Longest wait of a publisher for room in the backlog; then its message counts as lost."""
RETRY_SECONDS: Final = 3.0
"""An envelope is tried again for so long while the layer fails; then it, and the next, stay in the log."""
HEARTBEAT_SECONDS: Final = 1.0
"""A heartbeat is sent so often: to all others, or, where they are many, mostly to this process alone."""
SILENT_SECONDS: Final = 3.0
"""Our own heartbeats missing for so long: the connection is half-open, and is made again."""
RECOVERY_TICK_SECONDS: Final = 0.25
NOTICE_SECONDS: Final = 1.0
"""Longest time of a notice."""

Deliver = Callable[[Publication], int]
OnGap = Callable[[float], int]
"""Tells of messages that are missing and were published before a time; how many connections are concerned."""


class Relay:
    """One process's end of the channel layer.

    `layer` is a Channels layer with the groups extension; `worker` is this process's id. A layer that has
    `is_sole_member` ends at this process, and saves sends that nobody would receive; one that has `watch`
    tells when its connection was broken. `server` is the number of the layer where there are several
    (`spread`), which share `peers`.
    """

    def __init__(
        self,
        layer: Any,
        worker: str,
        clock: Callable[[], float] = monotonic,
        server: int | None = None,
        peers: Peers | None = None,
    ) -> None:
        self._layer = layer
        self._clock = clock
        self._worker = worker
        self._server = server
        self._is_sole_member: Callable[[str, str], bool] | None = getattr(layer, "is_sole_member", None)
        self._channel = Channel(layer, self._take)
        self._deliver: Deliver = lambda publication: 0
        self._on_gap: OnGap = lambda until: 0
        self._subscriptions = Subscriptions(layer, self._open_channel, self._prove, self._wake)
        self._batches = Batches(self.reaches_others)
        self._log = Log(clock=clock, on_lost=losses.count_layer_down)
        self.gave_up = False
        """True while the layer takes nothing."""
        self.failures = 0
        """Envelopes that did not leave live, and publications that found no room: a count for `flushed`."""
        self._number = 0
        """Number of the last envelope that was made, over all addresses."""
        self._hole = 0
        """Number of the last envelope that never left live: others have to ask for it."""
        self._receiver = EnvelopeReceiver(self._deliver_items, self._ask, clock, self._tell_gap)
        self._answers = Answers(self._group_send, self._envelope, clock)
        self.peers = Peers() if peers is None else peers
        self._heartbeats = Heartbeats(self.peers.known, clock)
        self._notices = Notices(self._group_send, self.peers.known)
        self._is_late = False
        """True once the layer could not be opened: others may have sent something to this process before."""
        self._probe = Probe(layer, worker, self._envelope, self._subscriptions.unwant)
        self._echo_at = 0.0
        """When the layer answered, or was made to connect again for want of an answer."""
        self._answered_at = 0.0
        self._standstill = Standstill()
        self._work = asyncio.Event()
        self._room = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None
        self._receivers: list[asyncio.Task[None]] = []

    @property
    def reaches_others(self) -> bool:
        """False when the layer ends at this process, so that a local count is the whole count."""
        return self._is_sole_member is None

    @property
    def receives(self) -> bool:
        """True once this process is subscribed to what every process is."""
        return bool(self._receivers)

    @property
    def full(self) -> bool:
        """True while the backlog has no room."""
        return self._batches.full

    def pick(self, worker_id: str) -> int | None:
        """The server to call a worker by: there is only one."""
        return None

    def greet(self, worker_id: str) -> None:
        """Have another process send a heartbeat, if it is there."""
        if self._receivers:
            self._notify(f"worker:{worker_id}", "hello")

    @property
    def healthy(self) -> bool:
        """False while the layer is silent or fails, or while envelopes that it lost are not recovered."""
        if not self.reaches_others or not self._receivers:
            return True
        silent = asyncio.get_running_loop().time() - self._echo_at
        return silent < SILENT_SECONDS and not self._receiver.recovering and not self.gave_up

    @property
    def answers(self) -> bool:
        """False once no heartbeat has come back for SILENT_SECONDS."""
        if not self.reaches_others or not self._receivers:
            return True
        return asyncio.get_running_loop().time() - self._answered_at < SILENT_SECONDS

    def receive_with(self, deliver: Deliver, on_gap: OnGap = lambda until: 0) -> None:
        """Give publications of other processes to `deliver`; `on_gap` is called when some of them are
        missing."""
        self._deliver = deliver
        self._on_gap = on_gap

    async def settled(self) -> None:
        """Wait until everything that was offered is sent, or has been given up."""
        while self._batches.backlog:
            await asyncio.sleep(0.005)

    async def flushed(self, failures: int) -> bool:
        """Wait until everything that was offered so far is sent; False when some of it was not, since
        `failures` were counted.
        """
        batches, last = self._batches, self._batches.made
        while batches is self._batches and batches.left < last:
            self._room.clear()
            await self._room.wait()
        return batches is self._batches and self.failures == failures

    async def stop(self) -> None:
        """Send the envelopes that wait, for as long as one is tried, end the tasks, answer, and say goodbye:
        last of all, since what came behind it would say that this process is there again.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(RETRY_SECONDS + 0.5):
                await self.settled()
        await end_tasks([*self._receivers, *([self._sender] if self._sender is not None else [])])
        await self._channel.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(NOTICE_SECONDS):
                await self._answers.send(self._log, NOTICE_SECONDS)
        self._notices.clear()
        if self.reaches_others and (self._receivers or self._number):
            if self._batches.backlog:  # has no numbers, and never will: a hole behind all that have one
                self._number += 1
                self._hole = self._number
            # With the hole also where others could not have asked for it: they tell of a gap.
            last = {"hole": self._hole, "unsent": self._batches.backlog + self._log.unsent > 0}
            self._notices.add(EVERYBODY, "goodbye", lambda: self._notice("goodbye") | last)
            await self._notices.send(NOTICE_SECONDS)
        self._sender, self._receivers = None, []
        losses.count_layer_down(self._batches.backlog + self._log.unsent)
        self._hole, self.gave_up = 0, False
        self._batches = Batches(self.reaches_others)
        self._room.set()
        self._log = Log(clock=self._clock, on_lost=losses.count_layer_down)
        self._is_late = False
        self._subscriptions.forget()

    # --- for the hub -------------------------------------------------------------------------------------

    async def want(self, addresses: Iterable[str]) -> None:
        """Subscribe to addresses and wait until the layer is seen to honour it. Raises LayerUnavailable."""
        await self._subscriptions.want(addresses)

    def unwant(self, address: str) -> None:
        """Unsubscribe from an address some time soon."""
        self._subscriptions.unwant(address)

    def offer(self, publication: Publication, addresses: tuple[str, ...] = ()) -> bool:
        """Take a publication for the other processes; False when the backlog is full.

        `addresses` are those of its addresses that it is sent to, if not to all.
        """
        addresses = addresses or publication.addresses
        if (is_sole := self._is_sole_member) is not None:
            addresses = tuple(a for a in addresses if not is_sole(group_name(a), self._channel.name))
        if not addresses:
            return True
        if self._batches.full:
            return False
        self._batches.add(publication, addresses, self._clock())
        self._wake()
        return True

    async def offer_later(self, publication: Publication, addresses: tuple[str, ...] = ()) -> None:
        """Wait for room; after PATIENCE_SECONDS the publication is lost to other processes, and also when its
        publisher is cancelled: `lose`.
        """
        try:
            async with Within(PATIENCE_SECONDS):
                # All callers wake up when a batch has left, and those that find no room wait on. No batch can
                # leave between `offer` and `clear`: nothing is awaited there.
                while not self.offer(publication, addresses):
                    self._room.clear()
                    await self._room.wait()
        except TimeoutError:
            self.lose(publication, addresses)
        except asyncio.CancelledError:
            self.lose(publication, addresses)  # it was delivered in this process
            raise

    def lose(self, publication: Publication, addresses: tuple[str, ...] = ()) -> None:
        """Count a publication that has found no room, and have the subscribers of others told."""
        self.failures += 1
        losses.count_backlog_full()
        self._batches.lose(addresses or publication.addresses, self._clock())
        self._wake()

    # --- the sending task ------------------------------------------------------------------------------

    def _wake(self) -> None:
        if self._sender is None:
            self._sender = asyncio.ensure_future(self._run())
        self._work.set()

    def _wake_later(self, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self._work.set)

    async def _run(self) -> None:
        """Do all steps whenever there is work; no failure ends the task."""
        while True:
            await self._work.wait()
            self._work.clear()  # before the steps: work that comes during them is done in another round
            try:
                await self._subscriptions.begin()
                await self._send_batches()
                await self._notices.send(NOTICE_SECONDS)
                await self._answers.send(self._log, NOTICE_SECONDS)
                await self._subscriptions.end()
            except Exception:
                metrics.LAYER_ERRORS.inc()
                logger.exception("the relay failed and goes on")

    async def _open_channel(self) -> str:
        """The one channel that this process receives on; a process that only publishes has none."""
        if self._receivers:
            return self._channel.name
        # All processes are members of EVERYBODY's group: heartbeats, questions and wide publications go
        # there. The group of the own worker id gets answers, calls, and the messages to single connections.
        is_late, self._is_late = self._is_late, True
        if not is_late:
            # From the first attempt on: what others publish to this process from now on is for it, also if it
            # cannot subscribe yet.
            self._receiver.opened()
        channel = await self._channel.make()
        if self.reaches_others:
            for address in (EVERYBODY, f"worker:{self._worker}"):
                await self._layer.group_add(group_name(address), channel)
        if (watch := getattr(self._layer, "watch", None)) is not None:
            watch(self._reconnected, self._moved)
        self._echo_at = self._answered_at = asyncio.get_running_loop().time()
        if is_late:
            self._receiver.request_replay()
        self._receivers = [self._channel.open()]
        if self.reaches_others:
            self._receivers.append(asyncio.ensure_future(self._keep_watch()))
            self._notify(EVERYBODY, "hello")
        return channel

    async def _prove(self) -> None:
        if self.reaches_others:
            await self._probe.run(self._channel.name)

    # --- the sending task: envelopes ---------------------------------------------------------------------

    async def _send_batches(self) -> None:
        """Send the batches that wait. After the layer has refused one envelope for RETRY_SECONDS the others,
        which have waited as long, go out only when they are asked for.
        """
        batches = self._batches.take()
        if self.gave_up:
            try:
                async with asyncio.timeout(NOTICE_SECONDS):
                    await self._group_send(EVERYBODY, self._notice("heartbeat"))
            except Exception:
                metrics.LAYER_ERRORS.inc()
                self._wake_later(NOTICE_SECONDS)
            else:
                self.gave_up = False
                self._log.announced()
        for batch in batches:
            await self._send_batch(batch)

    async def _send_batch(self, batch: Batch) -> None:
        address, items = batch
        count = len(items)  # before some of them turn out to have no form for the layer
        self._number += 1
        # Logged before it is sent: a process that asks while it is under way must not be told that there is
        # nothing. It gets the envelope twice then, and drops one by its number.
        if self.reaches_others:
            self._log.append((self._number, items))
        is_sent = False
        try:
            is_sent = not self.gave_up and await self._send(address, self._number, items)
            if not is_sent and not self._receivers:  # cannot be asked for it
                losses.count_layer_down(self._batches.lose_batch(batch, self._clock()))
                self._log.sent(self._number)
        finally:  # also where `stop` ends it: the goodbye tells of the hole then
            if is_sent:
                self._log.sent(self._number)
                metrics.ENVELOPES.labels("out").inc()
            else:
                self._give_up()
            self._batches.sent(count)
            self._room.set()

    def _give_up(self) -> None:
        """The last envelope has not left live."""
        # From now on every envelope and heartbeat tells of the hole, and others ask for it. Until the first
        # heartbeat has gone out nothing else is tried: later envelopes would only wait as long each.
        self._hole = self._number
        self.failures += 1
        self._heartbeats.hurry()
        if not self.gave_up:
            self.gave_up = True
            self._wake_later(NOTICE_SECONDS)

    async def _send(self, address: str, number: int, items: list[Any]) -> bool:
        """Send one envelope; False when the layer does not take it within RETRY_SECONDS."""

        def make() -> Envelope:
            # For each attempt: the one before may have found that the server has changed (`_moved`).
            hole = self._hole if self._receivers else None
            return self._envelope("items", number=number, hole=hole, items=items)

        return await send_within(RETRY_SECONDS, items, make, partial(self._group_send, address))

    async def _group_send(self, address: str, envelope: Envelope) -> None:
        await self._layer.group_send(group_name(address), envelope)

    def _notify(self, address: str, kind: str) -> None:
        self._notices.add(address, kind, lambda: self._notice(kind))
        self._wake()

    def _notice(self, kind: str) -> Envelope:
        """A heartbeat, hello or goodbye: all up to `number` have left, except `hole` and some before it."""
        hole, longest = self._hole if self._receivers else None, self._heartbeats.longest
        return self._envelope(kind, at=self._clock(), next=longest, number=self._number, hole=hole)

    def _envelope(self, kind: str, **content: Any) -> Envelope:
        return {"type": "hub.envelope", "from": self._worker, "kind": kind, **content}

    # --- what comes --------------------------------------------------------------------------------------

    def _take(self, envelope: Envelope) -> None:
        sender, kind = envelope["from"], envelope["kind"]
        if sender == self._worker:
            # Also through EVERYBODY's group, of which this process is a member.
            self._echo_at = self._answered_at = asyncio.get_running_loop().time()
            self.peers.echo()
            if kind == "probe":
                self._probe.came(envelope["number"])
            return
        self.peers.received(sender)
        if kind == "items":
            metrics.ENVELOPES.labels("in").inc()
            self._receiver.take(sender, envelope["number"], envelope["hole"], envelope["items"])
        elif kind == "replay":
            entries = [(number, items) for number, items in envelope["entries"]]
            if envelope["last"]:
                number, lost_at, at = envelope["number"], envelope["lost_at"], envelope["at"]
                self._receiver.replay(sender, envelope["round"], entries, number, lost_at, at)
            else:
                self._receiver.part(sender, envelope["round"], entries)
            self._settle()
        else:
            self._take_notice(kind, sender, envelope)

    def _take_notice(self, kind: str, sender: str, envelope: Envelope) -> None:
        if kind in ("heartbeat", "hello"):
            position = (envelope[name] for name in ("number", "hole", "at", "next"))
            self._receiver.heartbeat(sender, *position)
            if envelope["hole"] is not None:
                self.peers.receives(sender)
            if kind == "hello":  # to the new one alone: when many start, each would reach all of them
                self._notify(f"worker:{sender}", "heartbeat")
        elif kind == "goodbye":
            is_unsent = envelope.get("unsent", False)
            self._receiver.goodbye(sender, envelope["number"], envelope["hole"], is_unsent)
            self.peers.left(sender)
            self._settle()
        elif kind == "ask" and self._worker in envelope["after"]:
            self._answers.ask(sender, *envelope["after"][self._worker])
            self._wake()

    def _deliver_items(self, items: list[Any], offset: float | None) -> None:
        for item in items:
            try:
                self._deliver(unpack(item, offset, self._server))
            except Exception:
                logger.exception("a publication of another process could not be delivered")

    # --- broken connections ------------------------------------------------------------------------------

    async def _keep_watch(self) -> None:
        """Send heartbeats, go on with a recovery, and have a silent layer reconnect."""
        loop = asyncio.get_running_loop()
        while True:
            pause = RECOVERY_TICK_SECONDS if self._receiver.recovering else HEARTBEAT_SECONDS
            await self._standstill.sleep(pause)
            self._excuse()
            if not self._notices:  # else the layer is slow, and another heartbeat would say no more
                is_for_all = self._heartbeats.is_for_all()
                self._notify(EVERYBODY if is_for_all else f"worker:{self._worker}", "heartbeat")
            if self._receiver.recovering:
                self._ask()
                self._settle()
            elif loop.time() - self._echo_at > SILENT_SECONDS:
                metrics.LAYER_ERRORS.inc()
                logger.warning("the channel layer is silent: reconnecting")
                self._echo_at = loop.time()
                if (reconnect := getattr(self._layer, "reconnect", None)) is not None:
                    with suppress(Exception):
                        await reconnect()

    def _reconnected(self, connection: object) -> None:
        """The layer's connection was broken; what was published in that time is asked for."""
        metrics.LAYER_ERRORS.inc()
        logger.warning("the connection to the channel layer was lost and made again: recovering")
        self._receiver.request_replay()
        self._settle()

    def _moved(self) -> None:
        """Another server has taken the place of the layer's. The one before may have taken envelopes that
        reached nobody, while the others were connected to the new one: they ask for all that they have not.
        """
        metrics.LAYER_ERRORS.inc()
        logger.warning("another server has become the channel layer's: others ask for what they missed")
        self._hole = self._number
        self._heartbeats.hurry()

    def _ask(self) -> None:
        """Ask each process that is wanted by itself: to all, each of many would get the questions to all."""
        for sender in self._receiver.wanted():
            self._notices.add(f"worker:{sender}", "ask", partial(self._question, sender))
        self._wake()

    def _question(self, sender: str) -> Envelope | None:
        wanted = self._receiver.wanted([sender])
        return self._envelope("ask", after=wanted) if wanted else None

    def _excuse(self) -> None:
        """After a pause of the whole process, envelopes of that time wait to be read: nobody was silent."""
        late = self._standstill.seconds()
        self._echo_at += late
        self._answered_at += late
        self._receiver.postpone(late)

    def _settle(self) -> None:
        self._excuse()
        if (until := self._receiver.settle()) is not None:
            self._tell_gap(until)

    def _tell_gap(self, until: float) -> None:
        if self._on_gap(until):
            losses.count_gap()
