"""The streams of one worker: what it publishes goes into them first, and what it delivers keeps their order.

A publication to an address with history is appended to its streams, and then delivered here (`ordering`) and
handed to the relay, with its positions.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic
from typing import Final

from django.conf import settings

from routing_app.core import metrics
from routing_app.core.cluster import losses
from routing_app.core.cluster.spread import AnyRelay
from routing_app.core.codes import Loss
from routing_app.core.database import query
from routing_app.core.delivery.hub import Hub
from routing_app.core.delivery.publication import INTERNAL, Position, Publication
from routing_app.core.streams import record
from routing_app.core.streams.ordering import Ordering, Spawn
from routing_app.core.streams.replay import Replays
from routing_app.core.streams.rules import RuleTable, rows
from routing_app.core.streams.store import Append, Appended, Bounds, Page, StoreUnavailable
from routing_app.core.streams.stores import Stores

logger = logging.getLogger(__name__)

RULES_CHANGED: Final = "$rules_changed"
"""Event that has every process read the rules of addresses."""
PATIENCE_SECONDS: Final = 1.0
"""Longest wait of a publisher for the store."""
READ_SECONDS: Final = 3.0
"""Between two looks at the rules."""
CHECK_SECONDS: Final = 3.0
"""Between two looks at the ends of streams."""
SWEEP_SECONDS: Final = 30.0
"""Between two looks for messages in memory that have expired."""
MAX_UNDER_WAY: Final = 256
"""Messages of clients that the store has not answered yet; with so many, clients wait."""
REMEMBERED: Final = 10_000
"""Names of publications whose count of receivers is remembered."""


@dataclass(frozen=True, slots=True)
class Published:
    """`delivered`: connections of this process that got it at once; `repeated`: it is not the first."""

    delivered: int
    positions: Mapping[str, Position] = field(default_factory=dict)
    repeated: bool = False


Done = Callable[[Published | StoreUnavailable], None]


class Streams:
    """Rules, stores and the order of one process."""

    def __init__(self, hub: Hub, relay: AnyRelay, stores: Stores, spawn: Spawn) -> None:
        self._hub = hub
        self._relay = relay
        self._stores = stores
        self._spawn = spawn
        self.order = Ordering(hub, stores, spawn)
        self.replays = Replays(hub, stores, self.order, spawn)
        self._delivered: OrderedDict[str, int] = OrderedDict()
        self._once_seconds: int = settings.IDEMPOTENCY_SECONDS
        self._under_way = 0
        self._room = asyncio.Event()
        self._read_at: float | None = None
        self._kept_fresh = False
        self._reading: asyncio.Task[None] | None = None
        self.rules = RuleTable()
        self.use(RuleTable((), settings.HISTORY_SIZE, settings.HISTORY_SECONDS))
        hub.on(RULES_CHANGED, self._rules_changed)

    # --- rules ----------------------------------------------------------------------------------------------

    def use(self, rules: RuleTable) -> None:
        """Have other rules from now on."""
        self.rules = self.order.rules = rules
        if rules:
            # From here on for good: sequences stay until their subscribers leave.
            self._hub.streams = self

    async def read_rules(self) -> None:
        """Read the rules; where that fails those that are known stay."""
        began = monotonic()
        try:
            found = await query(rows)
        except Exception as error:
            logger.warning("the rules of addresses cannot be read: %s", type(error).__name__)
            return
        self._read_at = began
        self.use(RuleTable(found, settings.HISTORY_SIZE, settings.HISTORY_SECONDS))

    async def freshen(self) -> None:
        """Read the rules in a process that does not keep them fresh, such as a script."""
        if self._kept_fresh or (self._read_at is not None and monotonic() - self._read_at < READ_SECONDS):
            return
        # One reading for all that wait, which go on in the order in which they came.
        if self._reading is None or self._reading.done():
            self._reading = self._spawn(self.read_rules())
        await asyncio.shield(self._reading)

    def bounds(self, address: str) -> Bounds | None:
        """How much history an address has; None for none."""
        return self.rules.of(address).bounds if self.rules else None

    def kept(self, publication: Publication) -> dict[str, Bounds]:
        """The addresses of a publication whose streams it goes into."""
        if not self.rules or publication.event.startswith(INTERNAL):
            return {}
        found = {address: self.rules.of(address).bounds for address in publication.addresses}
        return {address: bounds for address, bounds in found.items() if bounds is not None}

    def _rules_changed(self, publication: Publication) -> int:
        self._spawn(self.read_rules())
        return 0

    # --- life -----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Keep the rules fresh, and look after the streams, until the worker stops."""
        await self.read_rules()
        self._kept_fresh = True
        self._spawn(self._keep_fresh())
        if self._relay.reaches_others:
            self._spawn(self._keep_checking())
        else:
            self._spawn(self._keep_sweeping())

    async def settle(self) -> None:
        """Wait for appends that are on their way."""
        await self._stores.settle()

    async def stop(self) -> None:
        """Take nothing more."""
        await self._stores.stop()

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(READ_SECONDS)
            await self.read_rules()

    async def _keep_sweeping(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            await self._stores.sweep()

    async def _keep_checking(self) -> None:
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            try:
                await self.order.check_ends()
            except StoreUnavailable:
                continue
            except Exception:
                logger.exception("the ends of streams could not be looked at")

    # --- history --------------------------------------------------------------------------------------------

    async def read(
        self, address: str, bounds: Bounds, since: Position | None = None, limit: int = 100
    ) -> Page:
        """Messages of a stream, as `StreamStore.read`. Raises StoreUnavailable."""
        return await self._stores.of(address).read(address, bounds, since, limit)

    async def delete(self, address: str, bounds: Bounds) -> Position:
        """Forget the messages of a stream. Raises StoreUnavailable."""
        return await self._stores.of(address).delete(address, bounds)

    # --- publishing -----------------------------------------------------------------------------------------

    async def publish(self, publication: Publication, id: str = "", caller: str = "") -> Published:
        """Publish, once for each `id` of one `caller`.

        Raises StoreUnavailable where an address has history. Without history the message is published also
        while the store is out: its id is then not remembered.
        """
        if kept := self.kept(publication):
            return await self.publish_kept(publication, kept, id, caller)
        if not id:
            return Published(await self._hub.publish(publication))
        once = f"{caller}\n{id}"
        named = await self._name(once)
        if named.repeated:
            return Published(self._delivered.get(once, 0), named.positions, repeated=True)
        delivered = await self._hub.publish(publication)
        self._remember(once, delivered)
        return Published(delivered)

    async def _name(self, once: str) -> Appended:
        """Have the store remember a name alone; as if it were new where the store does not answer."""
        answer: asyncio.Future[Appended | StoreUnavailable] = asyncio.get_running_loop().create_future()

        def answered(outcome: Appended | StoreUnavailable) -> None:
            if not answer.done():
                answer.set_result(outcome)

        # Any store does, but always the same.
        self._stores.each[0].append(Append(b"", {}, once, self._once_seconds), answered)
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                outcome = await answer
                if isinstance(outcome, Appended):
                    return outcome
        return Appended({})

    def _remember(self, once: str, delivered: int) -> None:
        """Keep the count of a publication for those who send it again: only here is it the whole count."""
        if once and not self._relay.reaches_others:
            self._delivered[once] = delivered
            if len(self._delivered) > REMEMBERED:
                self._delivered.popitem(last=False)

    async def publish_kept(
        self, publication: Publication, kept: Mapping[str, Bounds], id: str = "", caller: str = ""
    ) -> Published:
        """The same for a publication whose `kept` addresses are known. Raises StoreUnavailable."""
        published: asyncio.Future[Published] = asyncio.get_running_loop().create_future()
        self._submit(publication, kept, partial(_resolve, published), id, caller)
        if not published.done():
            # Shielded: an answer that comes later still delivers the message.
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await asyncio.shield(published)
            except TimeoutError:
                raise StoreUnavailable("no answer in time") from None
        outcome = published.result()
        await self._hub.caught_up()
        return outcome

    async def publish_for_client(self, publication: Publication, kept: Mapping[str, Bounds]) -> int:
        """The same for clients that are told nothing of it: a failure is counted, and the next message need
        not wait for the store. How many connections of this process got it at once.
        """
        delivered = self.publish_soon(publication, kept)
        if self._under_way >= MAX_UNDER_WAY:
            self._room.clear()
            await self._room.wait()  # each append is answered, or given up, within seconds
        await self._hub.caught_up()
        return delivered

    def publish_soon(self, publication: Publication, kept: Mapping[str, Bounds]) -> int:
        """The same without waiting; how many connections of this process got it at once."""
        outcome: Published | StoreUnavailable | None = None
        is_late = False

        def done(published: Published | StoreUnavailable) -> None:
            nonlocal outcome
            outcome = published
            if isinstance(published, StoreUnavailable):
                losses.count_store_down()
            if is_late:
                self._under_way -= 1
                self._room.set()

        self._submit(publication, kept, done)
        if outcome is None:
            is_late = True
            self._under_way += 1
        return outcome.delivered if isinstance(outcome, Published) else 0

    def _submit(
        self,
        publication: Publication,
        kept: Mapping[str, Bounds],
        done: Done,
        id: str = "",
        caller: str = "",
    ) -> None:
        metrics.PUBLISHED.inc()
        publication = self._hub.with_id(publication)
        once = f"{caller}\n{id}" if id else ""
        groups = self._stores.groups(kept)
        try:
            contents = {number: record.encode(publication, some, id) for number, some in groups.items()}
        except record.Unencodable as error:
            logger.warning("a publication has no form in JSON: %s", error)
            metrics.LOST.labels(Loss.UNENCODABLE).inc()
            done(Published(0))
            return
        parts = _Parts(len(groups), partial(self._appended, publication, len(kept), once, done))
        for number, streams in groups.items():
            self._stores.each[number].append(
                Append(contents[number], streams, once, self._once_seconds), parts.take
            )

    def _appended(
        self,
        publication: Publication,
        kept: int,
        once: str,
        done: Done,
        outcomes: list[Appended | StoreUnavailable],
    ) -> None:
        """Deliver what was appended, and hand it to the others."""
        positions: dict[str, Position] = {}
        new: dict[str, Position] = {}
        failure: StoreUnavailable | None = None
        is_new = False
        for outcome in outcomes:
            if isinstance(outcome, StoreUnavailable):
                failure = outcome
                continue
            positions |= outcome.positions
            if not outcome.repeated:
                is_new = True
                new |= outcome.positions
        if not is_new:
            done(failure or Published(self._delivered.get(once, 0), positions, repeated=True))
            return
        # Over several servers a part may have failed, or be the repeated one of a first try that failed.
        addresses = publication.addresses
        if len(new) < kept and len(outcomes) > 1:
            addresses = tuple(one for one in addresses if one in new)
        publication = publication.placed(addresses, new or None)
        delivered = self._deliver_here(publication)
        self._hub.hand_over(publication)
        self._remember(once, delivered)
        done(failure or Published(delivered, positions))

    def _deliver_here(self, publication: Publication) -> int:
        if len(publication.addresses) == 1:
            return self._hub.deliver(publication)
        # Each server has an order of its own: its part may have to wait where another's has not.
        servers = self._stores.groups(dict.fromkeys(publication.addresses, None))
        if len(servers) == 1:
            return self._hub.deliver(publication)
        parts = (
            replace(publication, addresses=tuple(addresses), server=server, is_part=True)
            for server, addresses in servers.items()
        )
        return sum(self._hub.deliver(part) for part in parts)


class _Parts:
    """The outcomes of appends to several stores; `done` takes all of them."""

    def __init__(self, count: int, done: Callable[[list[Appended | StoreUnavailable]], None]) -> None:
        self._left = count
        self._done = done
        self._outcomes: list[Appended | StoreUnavailable] = []

    def take(self, outcome: Appended | StoreUnavailable) -> None:
        """One of them."""
        self._outcomes.append(outcome)
        self._left -= 1
        if not self._left:
            self._done(self._outcomes)


def _resolve(published: asyncio.Future[Published], outcome: Published | StoreUnavailable) -> None:
    if published.done():
        return
    if isinstance(outcome, StoreUnavailable):
        published.set_exception(outcome)
        published.exception()  # retrieved: the publisher may have stopped waiting
    else:
        published.set_result(outcome)
