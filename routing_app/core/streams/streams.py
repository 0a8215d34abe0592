"""The streams of one worker: what it publishes goes into them first, and what it delivers keeps their order.

A publication to an address with history is appended to its streams, and then delivered here (`ordering`) and
handed to the relay, with its positions.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic
from typing import Final

from django.conf import settings

from routing_app.core import metrics, tracing
from routing_app.core.cluster import losses
from routing_app.core.cluster.spread import AnyRelay
from routing_app.core.codes import Loss
from routing_app.core.delivery.hub import Hub
from routing_app.core.delivery.publication import INTERNAL, Position, Publication
from routing_app.core.delivery.repeats import without_history
from routing_app.core.delivery.traced import until_done
from routing_app.core.eager import Spawn
from routing_app.core.fresh_rows import READ_SECONDS, FreshRows
from routing_app.core.standstill import comes_within
from routing_app.core.streams import record
from routing_app.core.streams.ordering import Ordering
from routing_app.core.streams.replay import Replays
from routing_app.core.streams.rules import RuleRow, RuleTable, rows
from routing_app.core.streams.store import Append, Appended, Bounds, Page, StoreUnavailable
from routing_app.core.streams.stores import Stores

logger = logging.getLogger(__name__)

RULES_CHANGED: Final = "$rules_changed"
"""Event that has every process read the rules of addresses."""
PATIENCE_SECONDS: Final = 1.0
"""Longest wait of a publisher for the store."""
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


class _RuleRows(FreshRows[list[RuleRow]]):
    """The rules of addresses, for the streams of this process."""

    rows_name = "the rules of addresses"

    def __init__(self, streams: Streams, spawn: Spawn) -> None:
        super().__init__(spawn)
        self._streams = streams

    def load(self) -> list[RuleRow]:
        """All of them. Uses the ORM."""
        return rows()

    def use(self, rows: list[RuleRow]) -> None:
        """Keep by these from now on."""
        self._streams.use_rows(rows)

    async def ready(self) -> None:
        """Wait for the end of the streams that former rules have left without history."""
        await self._streams.ended()


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
        self._unsettled: list[tuple[str, int]] = []
        """Names of messages that may not have left for the others yet, and the relay's failures before."""
        self._under_way = 0
        self._room = asyncio.Event()
        self._rule_rows = _RuleRows(self, spawn)
        self._knows_rows = False
        self._ends_streams = False
        """True in a worker: a process that publishes now and then leaves that to the workers."""
        self._ending: asyncio.Task[None] | None = None
        self.rules = RuleTable()
        self.use(RuleTable((), settings.HISTORY_SIZE, settings.HISTORY_SECONDS))
        hub.on(RULES_CHANGED, self._rule_rows.changed)

    # --- rules ----------------------------------------------------------------------------------------------

    def use(self, rules: RuleTable) -> None:
        """Have other rules from now on."""
        self.rules = rules
        self.order.use(rules)
        if rules:
            # From here on for good: sequences stay until their subscribers leave.
            self._hub.streams = self

    def use_rows(self, rows: list[RuleRow]) -> None:
        """Have the rules of these rows. What they leave without history must not be recovered from later."""
        rules = RuleTable(rows, settings.HISTORY_SIZE, settings.HISTORY_SECONDS)
        takes_history = not self._knows_rows or rules.takes_history(self.rules)
        self._knows_rows = True
        self.use(rules)
        if takes_history and self._ends_streams:
            self._ending = self._spawn(self._end_others())

    async def ended(self) -> None:
        """Wait for the end of streams without history, so that they begin new epochs where they have some."""
        if self._ending is not None:
            await asyncio.wait({self._ending}, timeout=PATIENCE_SECONDS)

    async def _end_others(self) -> None:
        """By the rules of the moment: they may have changed while the store did not answer."""
        while True:
            try:
                await self._stores.end(lambda address: self.rules.of(address).bounds is not None)
                return
            except StoreUnavailable:
                await asyncio.sleep(READ_SECONDS)

    async def read_rules(self) -> None:
        """Read the rules; where that fails those that are known stay."""
        await self._rule_rows.read()

    @property
    def are_known(self) -> bool:
        """False before the rules were read."""
        return self._rule_rows.are_known

    async def freshen(self) -> None:
        """Know the rules: in a process that does not keep them fresh, such as a script, and in a worker whose
        first look at them has failed. Raises StoreUnavailable.
        """
        try:
            await self._rule_rows.freshen()
        except Exception as error:
            logger.warning("the rules of addresses are not known: %s", type(error).__name__)
            raise StoreUnavailable("the rules of addresses are not known") from error

    def bounds(self, address: str) -> Bounds | None:
        """How much history an address has; None for none."""
        return self.rules.of(address).bounds if self.rules else None

    def servers(self, kept: Mapping[str, Bounds]) -> tuple[int, ...]:
        """The numbers of the stores of some addresses."""
        return tuple(self._stores.groups(kept))

    def kept(self, publication: Publication) -> dict[str, Bounds]:
        """The addresses of a publication whose streams it goes into."""
        if not self.rules or publication.event.startswith(INTERNAL):
            return {}
        found = {address: self.rules.of(address).bounds for address in publication.addresses}
        return {address: bounds for address, bounds in found.items() if bounds is not None}

    # --- life -----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Keep the rules fresh, and look after the streams, until the worker stops."""
        self._ends_streams, self._knows_rows = True, False
        await self._rule_rows.start()
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

    async def publish(
        self, publication: Publication, id: str = "", caller: str = "", surely: bool = False
    ) -> Published:
        """Publish, once for each `id` of one `caller`.

        Raises StoreUnavailable where an address has history. Without history the message is published also
        while the store is out, and its id is then not remembered, unless it has to be `surely` once.
        """
        if self._ends_streams and not (self.are_known or publication.event.startswith(INTERNAL)):
            await self.freshen()  # a message must not pass for one without history because no rule is known
        kept = self.kept(publication)
        if not id and not kept:
            return Published(await self._hub.publish(publication))
        if not id or len(kept) == len(publication.addresses):
            return await self.publish_kept(publication, kept, id, caller)
        return await self._publish_named(publication, kept, id, caller, surely)

    async def _publish_named(
        self, publication: Publication, kept: Mapping[str, Bounds], id: str, caller: str, surely: bool
    ) -> Published:
        """Publish under an id to addresses without history, some or all.

        The worker that named the message before may have died before it sent it to the others. Until it has
        said that it did, the message is sent again by the same name, and those who have it drop it.
        """
        once = f"{caller}\n{id}"
        # Streams remember the id by itself.
        name = f"{once}\nplain" if kept else once
        named = await self._name(name)
        if named is None and surely:
            raise StoreUnavailable("no answer in time")
        known = named or Appended({})
        if known.repeated and not known.pending:
            return Published(self._delivered.get(once, 0), known.positions, repeated=True)
        publication = publication.named(known.pending)
        failures = self._relay.failures
        published = Published(0, repeated=known.repeated)
        if kept:
            published = await self.publish_kept(publication, kept, id, caller)
        # Where the streams alone know the id, it is of another message.
        if not kept or (published.repeated and known.repeated):
            others = tuple(one for one in publication.addresses if one not in kept)
            again = publication.placed(others, None)
            if kept and publication.id:
                again = again.named(without_history(publication.id))
            delivered = await self._hub.publish(again, id)
            if not published.repeated:
                published = Published(delivered)
                self._remember(once, delivered)
        if known.pending:
            self._settle_soon(name, failures)
        return published

    async def _name(self, once: str) -> Appended | None:
        """Have the store remember a name alone; None where the store does not answer."""
        answer: asyncio.Future[Appended | StoreUnavailable] = asyncio.get_running_loop().create_future()

        def answered(outcome: Appended | StoreUnavailable) -> None:
            if not answer.done():
                answer.set_result(outcome)

        # Any store does, but always the same.
        pending = secrets.token_hex(8) if self._relay.reaches_others else ""
        self._stores.each[0].append(Append(b"", {}, once, self._once_seconds, pending), answered)
        if await comes_within(answer, PATIENCE_SECONDS) and isinstance(outcome := answer.result(), Appended):
            return outcome
        return None

    def _settle_soon(self, once: str, failures: int) -> None:
        """Have the store know that a message has left for all others, when it has."""
        self._unsettled.append((once, failures))
        if len(self._unsettled) == 1:
            self._spawn(self._settle_names())

    async def _settle_names(self) -> None:
        while names := self._unsettled[:]:
            await self._relay.flushed(0)
            for once, failures in names:
                if failures == self._relay.failures:
                    append = Append(b"", {}, once, self._once_seconds, settles=True)
                    self._stores.each[0].append(append, lambda outcome: None)
            del self._unsettled[: len(names)]

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
        # An answer that comes later still delivers the message.
        if not (published.done() or await comes_within(published, PATIENCE_SECONDS)):
            raise StoreUnavailable("no answer in time")
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
        begun = monotonic()
        if tracing.spans is not None:
            done = until_done(publication, done)
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
        parts = _Parts(len(groups), partial(self._appended, begun, publication, len(kept), once, id, done))
        for number, streams in groups.items():
            self._stores.each[number].append(
                Append(contents[number], streams, once, self._once_seconds), parts.take
            )

    def _appended(
        self,
        begun: float,
        publication: Publication,
        kept: int,
        once: str,
        id: str,
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
        if self._hub.published is not None:
            self._hub.published.note(publication, id)
        if self._hub.rates is not None:
            self._hub.rates.note(publication)
        delivered = self._deliver_here(begun, publication)
        self._hub.hand_over(publication)
        self._remember(once, delivered)
        done(failure or Published(delivered, positions))

    def _deliver_here(self, begun: float, publication: Publication) -> int:
        if len(publication.addresses) == 1:
            return self._hub.deliver_since(begun, publication)
        # Each server has an order of its own: its part may have to wait where another's has not.
        servers = self._stores.groups(dict.fromkeys(publication.addresses, None))
        if len(servers) == 1:
            return self._hub.deliver_since(begun, publication)
        parts = (
            replace(publication, addresses=tuple(addresses), server=server, is_part=True)
            for server, addresses in servers.items()
        )
        return self._hub.deliver_since(begun, *parts)


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
