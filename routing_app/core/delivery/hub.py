"""The hub: address -> connections of this process, with ONE layer subscription per address and process.

`publish` serves local receivers at once and hands the publication to the `Relay`, which carries it to the
other processes; what comes from them is delivered here. A connection gets a publication at most once,
however many of its addresses match; order is kept per sender and address.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Final

from routing_app.core import metrics
from routing_app.core.address import AddressError
from routing_app.core.codes import BY_CODE, KICKED, Close, Loss
from routing_app.core.delivery.connection import Connection, ConnectionState, Encoder, FrameGroup, NoEncoder
from routing_app.core.delivery.frame import Frame
from routing_app.core.delivery.outbox import deliver
from routing_app.core.delivery.parts import ReachedByParts
from routing_app.core.delivery.places import Members, by_places, places_of, shown_at
from routing_app.core.delivery.publication import Publication

if TYPE_CHECKING:
    from routing_app.core.cluster.spread import AnyRelay
    from routing_app.core.presence_notices.notices import PresenceNotices
    from routing_app.core.streams.streams import Streams

logger = logging.getLogger(__name__)

CLOSE: Final = "$close"
"""Event of a publication that ends the connections it reaches; its message is `[code, reason]`."""
REMEMBERED: Final = 4096
"""Ids kept, of publications to several addresses, to drop the repeats; one round of envelopes is far less."""

Index = dict[str, dict[Encoder, Members]]
Frames = dict[tuple[Encoder, str, str, tuple[str, ...]], Frame | FrameGroup | None]
"""Frames by encoder, id of the publication, address, and the addresses whose positions are told."""
HELD: Final = NoEncoder()
"""Stands for the encoder of connections to which a replay brings what is published, and not the hub."""


class Hub:
    """The connections of one process, by address."""

    def __init__(self, relay: AnyRelay, clock: Callable[[], float] = monotonic) -> None:
        self._relay = relay
        self._clock = clock
        self._subscribed_at = -inf
        """Time of the last subscription: a later publication is for all subscribers of its addresses."""
        self._index: Index = {}
        self._by_id: dict[str, Connection] = {}
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._reached = ReachedByParts()
        self._late: list[Publication] = []
        self._catching_up: asyncio.Task[None] | None = None
        self._handlers: dict[str, Callable[[Publication], int]] = {}
        self._held: dict[Connection, set[str]] = {}
        """The addresses at which a connection is in the index under HELD."""
        self.streams: Streams | None = None
        """Set once any address may have history."""
        self.notices: PresenceNotices | None = None
        """Set while presence notices of any address are wanted in any process."""
        self.on_gap: list[Callable[[], None]] = []
        """Called when publications of other processes are missing."""
        relay.receive_with(self.deliver, self.tell_gap)

    def on(self, event: str, handler: Callable[[Publication], int]) -> None:
        """Have `handler` take every publication of a protocol's internal `event` that reaches this process.

        No connection gets such a publication by itself; the number that `handler` returns counts as
        delivered. Besides addresses of connections, `worker:<id>` reaches the handler in one process.
        """
        self._handlers[event] = handler

    def add(self, connection: Connection) -> None:
        """Make a connection known; from here on its own address, `connection:<id>`, reaches it."""
        self._by_id[connection.id] = connection

    async def subscribe(self, connection: Connection, *addresses: str, held: Collection[str] = ()) -> None:
        """Subscribe `connection` to `addresses`. When this returns, every later publication reaches it; at
        those that are `held`, once they are released.

        Nothing happens for a connection that is gone. Raises LayerUnavailable when the channel layer cannot
        subscribe; the connection then has none of the addresses that were new to it. Raises AddressError
        for the address of another connection.
        """
        wanted = _without_own(connection, addresses)
        if connection.state is ConnectionState.CLOSED:
            return
        new = [address for address in wanted if address not in connection.addresses]
        # Indexed before the layer subscribes: a message may come as soon as the layer has the address, and
        # before it says so here. The connection then gets it early rather than not at all.
        for address in new:
            self._add(connection, address)
            if address in held:
                self.hold(connection, address)
        if self.streams is not None:
            self.streams.order.expect(wanted)
        try:
            await self._relay.want(wanted)
            if self.streams is not None:
                await self.streams.order.begin(wanted)
        except BaseException:  # a cancellation as well: nobody is left who would unsubscribe later
            self.unsubscribe(connection, *new)
            raise

    def unsubscribe(self, connection: Connection, *addresses: str) -> None:
        """Unsubscribe `connection` from `addresses`; those it was not subscribed to are ignored."""
        for address in addresses:
            if address in connection.addresses:
                self._remove(connection, address)

    def hold(self, connection: Connection, *addresses: str) -> None:
        """Have a replay (`core.streams.replay`) bring what is published with a position to addresses that a
        connection is subscribed to.
        """
        held = self._held.setdefault(connection, set())
        for address in addresses:
            if address not in held:
                held.add(address)
                self._move(connection, address, connection.encoder, HELD)

    def release(self, connection: Connection, *addresses: str) -> None:
        """Deliver again what is published to addresses from now on."""
        for address in addresses:
            if address in self._held.get(connection, ()):
                self._move(connection, address, HELD, connection.encoder)
                self._unhold(connection, address)

    def is_held(self, connection: Connection, address: str) -> bool:
        """True between `hold` and `release`."""
        return address in self._held.get(connection, ())

    def drop(self, connection: Connection) -> None:
        """Forget a connection altogether; safe to call twice."""
        self._by_id.pop(connection.id, None)
        self.unsubscribe(connection, *tuple(connection.addresses))

    async def publish(self, publication: Publication) -> int:
        """Deliver here at once and hand over to the other processes; how many connections of this one got it.

        It waits while the relay's backlog is full, so that a publisher is slowed before messages are lost; to
        an address with history, while the store has many to answer, and what that does not take is counted.
        """
        if self.streams is not None and (kept := self.streams.kept(publication)):
            return await self.streams.publish_for_client(publication, kept)
        if len(publication.addresses) > 1:
            publication = self.with_id(publication)
        metrics.PUBLISHED.inc()
        delivered = self.deliver(publication)
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
        delivered = self.deliver(publication)
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
        return await self.publish(Publication((address,), [close.code, close.reason], event=CLOSE))

    def deliver(self, publication: Publication) -> int:
        """Give a publication to the connections of this process, one with positions in their order.

        It is only for those that had subscribed when it was published.
        """
        if publication.positions and self.streams is not None:
            return self.streams.order.receive(publication)
        return self.deliver_now(publication)

    def deliver_now(self, publication: Publication) -> int:
        """The same without a look at positions; repeats of one id reach nobody."""
        addresses = publication.addresses
        if len(addresses) > 1 or publication.is_part:
            # Another process sends a publication once to each address that is subscribed to here.
            key = f"{publication.id}/{publication.server}" if publication.is_part else publication.id
            if key in self._seen:
                return 0
            self._seen[key] = None
            if len(self._seen) > REMEMBERED:
                self._seen.popitem(last=False)
        if publication.event == CLOSE:
            return self._close_here(publication)
        if (handler := self._handlers.get(publication.event)) is not None:
            return handler(publication)
        if publication.is_part:
            with self._reached.of(publication.id) as done:
                return self._deliver_to_many(publication, done)
        if len(addresses) == 1:
            return self._deliver_to_one(addresses[0], publication)
        return self._deliver_to_many(publication, set())

    def tell_gap(self, until: float = inf, concerns: Callable[[str], bool] = lambda address: True) -> int:
        """Tell connections that they may have missed messages of other processes, published up to `until`:
        those that had subscribed by then to an address which it `concerns`; how many they are.

        Addresses with history are left out: what is missing there is fetched.
        """
        for hook in self.on_gap:
            hook()
        healed = self.streams.order.check(concerns) if self.streams is not None else set()
        concerned = [
            connection
            for connection in self._by_id.values()
            if any(
                at <= until and address not in healed and concerns(address)
                for address, at in connection.addresses.items()
            )
        ]
        for connection in concerned:
            connection.notify_gap()
        return len(concerned)

    def concerned_by_gap(self, address: str) -> dict[Connection, None]:
        """The subscribers of an address to which no replay brings what is missing."""
        members = self.members(address)
        return {one: None for one in members if not self.is_held(one, address)}

    def has(self, address: str) -> bool:
        """True when a connection of this process is subscribed to an address."""
        return address in self._index

    def members(self, address: str, published_at: float = inf) -> list[Connection]:
        """The connections of this process that were subscribed to an address when something was published, in
        the order in which they came.
        """
        by_encoder = self._subscribers(address, published_at)
        return [connection for members in by_encoder.values() for connection in members]

    def count(self, address: str) -> int:
        """The number of connections of this process that are subscribed to an address."""
        return sum(map(len, self._index.get(address, {}).values()))

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
            frames[key] = _encode(connection.encoder, shown_at(publication, places), address)
        if (frame := frames[key]) is None:
            return False
        if isinstance(frame, FrameGroup):
            sent = connection.send_group(frame)
        else:
            sent = connection.outbox.push(frame)
        metrics.DELIVERED.inc(sent)
        return sent

    def _deliver_to_one(self, address: str, publication: Publication) -> int:
        delivered = 0
        # Over a list: a connection that turns out too slow is dropped within `_send`, and may have been the
        # last one with its encoder.
        for encoder, members in list(self._subscribers(address, publication.published_at).items()):
            if encoder is HELD:
                delivered += self._deliver_to_held(address, members, publication)
            elif (frame := _encode(encoder, publication, address)) is not None:
                delivered += _send(members, frame, publication.exclude)
        metrics.DELIVERED.inc(delivered)
        return delivered

    def _deliver_to_many(self, publication: Publication, done: set[str]) -> int:
        """Deliver to each connection once, by the first of its addresses that the publication names.

        `done` are the ids of connections that have it already; those that get it now are added.
        """
        frames: dict[tuple[Encoder, str, tuple[str, ...]], Frame | FrameGroup | None] = {}
        delivered = 0
        if publication.positions and self._held:
            # A replay brings it, by whichever of its addresses.
            for address in publication.positions:
                done.update(one.id for one in self._index.get(address, {}).get(HELD, ()))
        for address in publication.addresses:
            for encoder, members in list(self._subscribers(address, publication.published_at).items()):
                new = {c: outbox for c, outbox in members.items() if c.id not in done}
                done.update(c.id for c in new)
                if encoder is HELD:
                    delivered += self._deliver_to_held(address, new, publication)
                    continue
                for places, some in by_places(encoder, new, publication).items():
                    key = (encoder, address if encoder.per_address else "", places)
                    if key not in frames:
                        frames[key] = _encode(encoder, shown_at(publication, places), address)
                    if (frame := frames[key]) is not None:
                        delivered += _send(some, frame, publication.exclude)
        metrics.DELIVERED.inc(delivered)
        return delivered

    def _deliver_to_held(self, address: str, members: Members, publication: Publication) -> int:
        """Deliver what no replay brings, since it was published before the rule of the address was known."""
        if publication.positions and address in publication.positions:
            return 0
        return sum(self.send_to(connection, publication) for connection in list(members))

    def _subscribers(self, address: str, published_at: float = inf) -> dict[Encoder, Members]:
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

    def _close_here(self, publication: Publication) -> int:
        code, reason = publication.message
        close = BY_CODE.get(code, KICKED)
        at = publication.published_at
        doomed = {connection for address in publication.addresses for connection in self.members(address, at)}
        for connection in doomed:
            connection.close(replace(close, reason=reason))
        return len(doomed)

    def _add(self, connection: Connection, address: str) -> None:
        self._subscribed_at = connection.addresses[address] = self._clock()
        by_encoder = self._index.get(address)
        if by_encoder is None:
            by_encoder = self._index[address] = {}
            metrics.ADDRESSES.inc()
        by_encoder.setdefault(connection.encoder, {})[connection] = connection.outbox
        if self.notices is not None:
            self.notices.joined(connection, address)

    def _move(self, connection: Connection, address: str, before: Encoder, after: Encoder) -> None:
        by_encoder = self._index[address]
        del by_encoder[before][connection]
        if not by_encoder[before]:
            del by_encoder[before]
        by_encoder.setdefault(after, {})[connection] = connection.outbox

    def _unhold(self, connection: Connection, address: str) -> None:
        held = self._held[connection]
        held.discard(address)
        if not held:
            del self._held[connection]

    def _remove(self, connection: Connection, address: str) -> None:
        self.release(connection, address)
        del connection.addresses[address]
        by_encoder = self._index[address]
        members = by_encoder[connection.encoder]
        del members[connection]
        if not members:
            del by_encoder[connection.encoder]
        if not by_encoder:
            del self._index[address]
            metrics.ADDRESSES.dec()
            self._relay.unwant(address)
            if self.streams is not None:
                self.streams.order.forget(address)
        if self.notices is not None:
            self.notices.left(connection, address)


def _without_own(connection: Connection, addresses: Iterable[str]) -> list[str]:
    """Addresses to subscribe to. A connection receives `connection:<its id>` anyway, and never another's."""
    own = f"connection:{connection.id}"
    others = [address for address in addresses if address != own]
    if any(address.startswith("connection:") for address in others):
        raise AddressError("a connection's own address is for itself alone")
    return others


def _encode(encoder: Encoder, publication: Publication, address: str) -> Frame | FrameGroup | None:
    """The frame of one protocol; an encoder that fails loses the message for its own clients, counted."""
    try:
        encoded = encoder(publication, address)
    except Exception:
        logger.exception("encoder %s failed", encoder)
        metrics.LOST.labels(Loss.UNENCODABLE).inc()
        return None
    return Frame(encoded) if isinstance(encoded, str) else encoded


def _send(members: Members, frame: Frame | FrameGroup, exclude: str) -> int:
    """Push one frame, or a group, to all members but the excluded one; how many took it.

    Over a copy: a connection that turns out too slow may be dropped at once.
    """
    if isinstance(frame, FrameGroup):
        receivers = [connection for connection in members if connection.id != exclude]
        return sum(connection.send_group(frame) for connection in receivers)
    outboxes = list(members.values())
    if exclude:
        outboxes = [outbox for connection, outbox in members.items() if connection.id != exclude]
    return deliver(outboxes, frame)
