"""The hub: address -> connections of this process, with ONE layer subscription per address and process.

`publish` serves local receivers at once and hands the publication to the `Relay`, which carries it to the
other processes; what comes from them is delivered here. A connection gets a publication at most once,
however many of its addresses match; order is kept per sender and address.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Collection, Set
from math import inf
from time import monotonic
from typing import TYPE_CHECKING

from routing_app.core import metrics
from routing_app.core.cluster import losses
from routing_app.core.codes import KICKED, Close
from routing_app.core.delivery import gaps
from routing_app.core.delivery.closing import CLOSE, close_members
from routing_app.core.delivery.connection import Connection, ConnectionState, Encoder, FrameGroup
from routing_app.core.delivery.frame import Frame
from routing_app.core.delivery.holds import HELD, Holds
from routing_app.core.delivery.outbox import UntilWritten
from routing_app.core.delivery.parts import ReachedByParts
from routing_app.core.delivery.places import Index, Members, by_places, places_of, shown_at
from routing_app.core.delivery.publication import Publication
from routing_app.core.delivery.repeats import Repeats, have_it
from routing_app.core.delivery.sending import encode, send

if TYPE_CHECKING:
    from routing_app.core.cluster.spread import AnyRelay
    from routing_app.core.frame_trace.traces import FrameTraces
    from routing_app.core.monitoring.rates import AddressRates
    from routing_app.core.presence_notices.notices import PresenceNotices
    from routing_app.core.streams.streams import Streams
    from routing_app.core.webhooks.occupancy import Occupancy
    from routing_app.core.webhooks.published import PublishedMessages

logger = logging.getLogger(__name__)

Frames = dict[tuple[Encoder, str, str, tuple[str, ...]], Frame | FrameGroup | None]
"""Frames by encoder, id of the publication, address, and the addresses whose positions are told."""


class Hub:
    """The connections of one process, by address."""

    def __init__(
        self,
        relay: AnyRelay,
        clock: Callable[[], float] = monotonic,
        until_written: UntilWritten | None = None,
    ) -> None:
        """`until_written`: the flusher's, of the connections that will be added."""
        self._relay = relay
        self._until_written = until_written or UntilWritten()
        self._clock = clock
        self._subscribed_at = -inf
        """Time of the last subscription: a later publication is for all subscribers of its addresses."""
        self._index: Index = {}
        self.holds = Holds(self._index)
        self._by_id: dict[str, Connection] = {}
        self._repeats = Repeats(self.reaches, clock)
        self._reached = ReachedByParts()
        self._late: list[Publication] = []
        self._catching_up: asyncio.Task[None] | None = None
        self._handlers: dict[str, Callable[[Publication], int]] = {}
        self.streams: Streams | None = None
        """Set once any address may have history."""
        self.notices: PresenceNotices | None = None
        """Set while presence notices of any address are wanted in any process."""
        self.occupancy: Occupancy | None = None
        """Set while a webhook wants to know which addresses have subscribers."""
        self.published: PublishedMessages | None = None
        """Set while a webhook wants messages that are published."""
        self.traces: FrameTraces | None = None
        """Set while the frames of any connection are traced."""
        self.rates: AddressRates | None = None
        """Set while somebody watches how much is published to which address."""
        self.on_gap: list[Callable[[], None]] = []
        """Called when publications of other processes are missing."""
        relay.receive_with(self._receive, self.tell_gap)
        self.on(losses.LOST, lambda publication: gaps.tell_of_loss(self, publication))

    def on(self, event: str, handler: Callable[[Publication], int]) -> None:
        """Have `handler` take every publication of a protocol's internal `event` that reaches this process.

        No connection gets such a publication by itself; the number that `handler` returns counts as
        delivered. Besides addresses of connections, `worker:<id>` reaches the handler in one process.
        """
        self._handlers[event] = handler

    def add(self, connection: Connection) -> None:
        """Make a connection known; from here on its own address, `connection:<id>`, reaches it."""
        self._by_id[connection.id] = connection
        if self.traces is not None:
            self.traces.look_at(connection)

    async def subscribe(self, connection: Connection, *addresses: str, held: Collection[str] = ()) -> None:
        """Subscribe `connection` to `addresses`. When this returns, every later publication reaches it; at
        those that are `held`, once they are released.

        Nothing happens for a connection that is gone. Raises LayerUnavailable when the channel layer cannot
        subscribe; the connection then has none of the addresses that were new to it. Raises AddressError
        for the address of another connection.
        """
        wanted = connection.without_own(addresses)
        if connection.state is ConnectionState.CLOSED:
            return
        new = [address for address in wanted if address not in connection.addresses]
        if self.streams is not None:
            self.streams.order.expect(wanted)
        # Indexed before the layer subscribes: a message may come as soon as the layer has the address, and
        # before it says so here. The connection then gets it early rather than not at all.
        for address in new:
            self._add(connection, address)
            if address in held:
                self.holds.begin(connection, address)
        try:
            await self._relay.want(wanted)
            if self.streams is not None:
                await self.streams.order.begin(wanted)
        except BaseException:  # a cancellation as well: nobody is left who would unsubscribe later
            self.unsubscribe(connection, *new)
            raise

    def unsubscribe(self, connection: Connection, *addresses: str) -> None:
        """Unsubscribe `connection` from `addresses`; those it was not subscribed to are ignored.

        It is told of a gap where a replay of these would have brought it something for others.
        """
        for address in addresses:
            if address in connection.addresses:
                self._remove(connection, address)

    def drop(self, connection: Connection) -> None:
        """Forget a connection altogether; safe to call twice."""
        self._by_id.pop(connection.id, None)
        if self.traces is not None:
            self.traces.forget(connection)
        self.unsubscribe(connection, *tuple(connection.addresses))

    async def publish(self, publication: Publication, id: str = "") -> int:
        """Deliver here at once and hand over to the other processes; how many connections of this one got it.
        `id` is the one that the publisher gave.

        It waits while the relay's backlog is full, so that a publisher is slowed before messages are lost; to
        an address with history, while the store has many to answer, and what that does not take is counted.
        """
        if self.streams is not None and (kept := self.streams.kept(publication)):
            return await self.streams.publish_for_client(publication, kept)
        if len(publication.addresses) > 1:
            publication = self.with_id(publication)
        metrics.PUBLISHED.inc()
        # One that is sent again, because it may not have left, was told of before.
        if self.published is not None and publication.id not in self._repeats:
            self.published.note(publication, id)
        if self.rates is not None:
            self.rates.note(publication)
        if not (until := self._until_written).published:
            until.begun = monotonic()
        if delivered := self.deliver(publication):
            until.published += 1
        # While publications of `publish_soon` wait for room, this one queues behind them: offered at once it
        # would overtake them as soon as there is room.
        if self._late:
            self._offer_late(publication)
            await self.caught_up()
        elif not self._relay.offer(publication):
            await self._relay.offer_later(publication)
        return delivered

    def publish_soon(self, publication: Publication) -> int:
        """The same without waiting, for synchronous code on the loop; how many of this process got it.

        While the relay's backlog is full, such publications wait in order and reach the others later.
        """
        if self.streams is not None and (kept := self.streams.kept(publication)):
            return self.streams.publish_soon(publication, kept)
        if len(publication.addresses) > 1:
            publication = self.with_id(publication)
        metrics.PUBLISHED.inc()
        if self.published is not None:
            self.published.note(publication)
        if self.rates is not None:
            self.rates.note(publication)
        if not (until := self._until_written).published:
            until.begun = monotonic()
        if delivered := self.deliver(publication):
            until.published += 1
        self.hand_over(publication)
        return delivered

    def hand_over(self, publication: Publication) -> None:
        """Give a publication to the other processes, behind those that wait for room."""
        if self._late or not self._relay.offer(publication):
            self._offer_late(publication)

    async def caught_up(self) -> None:
        """Wait while publications wait for room."""
        if self._catching_up is not None:
            await asyncio.shield(self._catching_up)  # shared: others wait for the same task

    @staticmethod
    def with_id(publication: Publication) -> Publication:
        """The publication, with an id if it has none."""
        return publication if publication.id else publication.named(secrets.token_hex(8))

    def _offer_late(self, publication: Publication) -> None:
        self._late.append(publication)
        if self._catching_up is None:
            self._catching_up = asyncio.ensure_future(self._catch_up())

    async def _catch_up(self) -> None:
        try:
            # The first one stays in the list while it waits, so that `publish` still sees that it is not
            # alone.
            while self._late:
                await self._relay.offer_later(self._late[0])
                del self._late[0]
        finally:
            self._catching_up = None

    async def close(self, address: str, close: Close = KICKED) -> int:
        """End every connection of an address, in every process; how many ended in this one."""
        return await self.close_all((address,), close)

    async def close_all(self, addresses: tuple[str, ...], close: Close) -> int:
        """The same of several addresses; a connection of two of them counts once."""
        return await self.publish(Publication(addresses, [close.code, close.reason, close.name], event=CLOSE))

    def _receive(self, publication: Publication) -> int:
        """Deliver what another process has published."""
        if not (until := self._until_written).published:
            until.begun = monotonic()
        if delivered := self.deliver(publication):
            until.published += 1
        return delivered

    def deliver_since(self, begun: float, *parts: Publication) -> int:
        """Deliver a publication, or its parts, that began at a time of `monotonic`, and time it."""
        if delivered := sum(map(self.deliver, parts)):
            self._until_written.add(begun)
        return delivered

    def deliver(self, publication: Publication) -> int:
        """Give a publication to the connections of this process, one with positions in their order.

        It is only for those that had subscribed when it was published.
        """
        if publication.positions and self.streams is not None:
            return self.streams.order.receive(publication)
        return self.deliver_now(publication)

    def deliver_now(
        self, publication: Publication, in_order: Collection[str] = (), passed: Set[str] = frozenset()
    ) -> int:
        """The same without a look at positions; repeats of one id reach nobody.

        At the addresses in `in_order` it is the next one for all subscribers, however late it comes: their
        position is the one before. `passed` are other streams of it that are further here.
        """
        # Another process sends a publication once to each address that is subscribed to here. One that died
        # may have sent it before, without a position (`transactional`).
        done: set[str] = set()
        if publication.id:
            if not publication.positions:
                if self._repeats.has(publication):
                    return 0
            elif len(publication.addresses) > 1 or publication.is_part:
                before = self._repeats.before(publication, passed)
                if before or passed:
                    done = have_it(self, publication, before, passed)
                    done |= self.holds.withhold(publication, passed)
                    publication = publication.without(before.keys() | passed)
        if publication.event == CLOSE:
            return close_members(self, publication)
        if (handler := self._handlers.get(publication.event)) is not None:
            return handler(publication)
        if publication.is_part:
            with self._reached.of(publication.id) as reached:
                reached.update(done)
                return self._deliver_to_many(publication, reached, in_order)
        if len(publication.addresses) == 1 and not done:
            return self._deliver_to_one(publication.addresses[0], publication, in_order)
        return self._deliver_to_many(publication, done, in_order)

    def tell_gap(self, until: float = inf, concerns: Callable[[str], bool] = lambda address: True) -> int:
        """Tell connections that they may have missed messages of other processes, published up to `until`:
        those that had subscribed by then to an address which it `concerns`; how many they are.

        Addresses with history are left out: what is missing there is fetched.
        """
        concerned = gaps.concerned(self, until, concerns)
        for connection in concerned:
            connection.notify_gap()
        return len(concerned)

    def tell_of_death(self) -> None:
        """A worker has died with what it had not sent: tell those who can be told without a close.

        As after a gap, those whose addresses all have history have nothing to miss.
        """
        losses.count_worker_died()
        gaps.tell_without_close(gaps.concerned(self, inf, lambda address: True))

    def concerned_by_gap(self, address: str) -> set[Connection]:
        """The subscribers of an address to which no replay brings what is missing."""
        return {one for one in self.members(address) if not self.holds.has(one, address)}

    def has(self, address: str) -> bool:
        """True when a connection of this process is subscribed to an address."""
        return address in self._index

    def reaches(self, address: str) -> bool:
        """True when a connection of this process gets what is published to an address; it may be its own."""
        return bool(self.subscribers(address))

    def members(self, address: str, published_at: float = inf) -> list[Connection]:
        """The connections of this process that were subscribed to an address when something was published, in
        the order in which they came.
        """
        by_encoder = self.subscribers(address, published_at)
        return [connection for members in by_encoder.values() for connection in members]

    def count(self, address: str) -> int:
        """The number of connections of this process that are subscribed to an address."""
        by_encoder = self._index.get(address)
        return 0 if by_encoder is None else sum(map(len, by_encoder.values()))

    def connections(self) -> list[Connection]:
        """All connections of this process."""
        return list(self._by_id.values())

    def addresses(self) -> list[str]:
        """The addresses that have a connection in this process."""
        return list(self._index)

    def send_to(self, connection: Connection, publication: Publication, frames: Frames | None = None) -> bool:
        """Send a publication to one subscriber, by the first of its addresses that the publication names;
        True when it was sent. `frames` are those that were made before for others.
        """
        address = next((one for one in publication.addresses if one in connection.addresses), None)
        if address is None or connection.id == publication.exclude:
            return False
        frames = {} if frames is None else frames
        places = places_of(publication, connection)
        key = connection.encoder, publication.id, address, places
        if key not in frames:
            frames[key] = encode(connection.encoder, shown_at(publication, places), address)
        if (frame := frames[key]) is None:
            return False
        if isinstance(frame, FrameGroup):
            sent = connection.send_group(frame)
        else:
            sent = connection.outbox.push(frame)
        metrics.DELIVERED.inc(sent)
        return sent

    def _deliver_to_one(self, address: str, publication: Publication, in_order: Collection[str]) -> int:
        delivered = 0
        at = inf if address in in_order else publication.published_at
        # Over a list: a connection that turns out too slow is dropped within `_send`, and may have been the
        # last one with its encoder.
        for encoder, members in list(self.subscribers(address, at).items()):
            if encoder is HELD:
                delivered += self._deliver_to_held(address, members, publication)
            elif (frame := encode(encoder, publication, address)) is not None:
                delivered += send(members, frame, publication.exclude)
        metrics.DELIVERED.inc(delivered)
        return delivered

    def _deliver_to_many(self, publication: Publication, done: set[str], in_order: Collection[str]) -> int:
        """Deliver to each connection once, by the first of its addresses that the publication names.

        `done` are the ids of connections that have it already; those that get it now are added.
        """
        frames: dict[tuple[Encoder, str, tuple[str, ...]], Frame | FrameGroup | None] = {}
        delivered = 0
        if publication.positions:
            done |= self.holds.withhold(publication, publication.positions)
        for address in publication.addresses:
            at = inf if address in in_order else publication.published_at
            for encoder, members in list(self.subscribers(address, at).items()):
                new = {c: outbox for c, outbox in members.items() if c.id not in done}
                done.update(c.id for c in new)
                if encoder is HELD:
                    delivered += self._deliver_to_held(address, new, publication)
                    continue
                for places, some in by_places(encoder, new, publication).items():
                    key = (encoder, address if encoder.per_address else "", places)
                    if key not in frames:
                        frames[key] = encode(encoder, shown_at(publication, places), address)
                    if (frame := frames[key]) is not None:
                        delivered += send(some, frame, publication.exclude)
        metrics.DELIVERED.inc(delivered)
        return delivered

    def _deliver_to_held(self, address: str, members: Members, publication: Publication) -> int:
        """Deliver what no replay brings, since it was published before the rule of the address was known."""
        if publication.positions and address in publication.positions:
            return 0
        return sum(self.send_to(connection, publication) for connection in list(members))

    def subscribers(self, address: str, published_at: float = inf) -> dict[Encoder, Members]:
        """The subscribers of an address at `published_at`, by encoder."""
        by_encoder = self._index.get(address)
        if by_encoder is None:
            # A connection's own address is not in the index: every connection has one, and most never use it.
            if not address.startswith("connection:"):
                return {}
            connection = self._by_id.get(address.removeprefix("connection:"))
            return {connection.encoder: {connection: connection.outbox}} if connection else {}
        if published_at >= self._subscribed_at:
            return by_encoder
        # Only a publication of another process that was late, or sent again, comes here: some connection may
        # have subscribed after it was published, and must not get a message from before its subscription.
        return {
            encoder: {
                one: outbox for one, outbox in members.items() if one.addresses[address] <= published_at
            }
            for encoder, members in by_encoder.items()
        }

    def _add(self, connection: Connection, address: str) -> None:
        self._subscribed_at = connection.addresses[address] = self._clock()
        by_encoder = self._index.get(address)
        if by_encoder is None:
            by_encoder = self._index[address] = {}
            metrics.ADDRESSES.inc()
            if self.occupancy is not None:
                self.occupancy.came(address)
        by_encoder.setdefault(connection.encoder, {})[connection] = connection.outbox
        if self.notices is not None:
            self.notices.joined(connection, address)
        if self.traces is not None:
            self.traces.look_at(connection)

    def _remove(self, connection: Connection, address: str) -> None:
        was_withheld = self.holds.end(connection, address)
        del connection.addresses[address]
        by_encoder = self._index[address]
        members = by_encoder[connection.encoder]
        del members[connection]
        if not members:
            del by_encoder[connection.encoder]
        if not by_encoder:
            del self._index[address]
            metrics.ADDRESSES.dec()
            if self.occupancy is not None:
                self.occupancy.left(address)
            self._relay.unwant(address)
            if self.streams is not None:
                self.streams.order.forget(address)
        if self.notices is not None:
            self.notices.left(connection, address)
        if was_withheld and connection.state is ConnectionState.OPEN:
            connection.notify_gap()
