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
from collections.abc import Callable, Iterable
from dataclasses import replace
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Final

from routing_app.core import metrics
from routing_app.core.address import AddressError
from routing_app.core.codes import BY_CODE, KICKED, Close, Loss
from routing_app.core.delivery.connection import Connection, ConnectionState, Encoder, FrameGroup
from routing_app.core.delivery.frame import Frame
from routing_app.core.delivery.outbox import Outbox, deliver
from routing_app.core.delivery.parts import ReachedByParts
from routing_app.core.delivery.publication import Publication

if TYPE_CHECKING:
    from routing_app.core.cluster.spread import AnyRelay

logger = logging.getLogger(__name__)

CLOSE: Final = "$close"
"""Event of a publication that ends the connections it reaches; its message is `[code, reason]`."""
REMEMBERED: Final = 4096
"""Ids kept, of publications to several addresses, to drop the repeats; one round of envelopes is far less."""

Members = dict[Connection, Outbox]
Index = dict[str, dict[Encoder, Members]]


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

    async def subscribe(self, connection: Connection, *addresses: str) -> None:
        """Subscribe `connection` to `addresses`. When this returns, every later publication reaches it.

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
        try:
            await self._relay.want(wanted)
        except BaseException:  # a cancellation as well: nobody is left who would unsubscribe later
            self.unsubscribe(connection, *new)
            raise

    def unsubscribe(self, connection: Connection, *addresses: str) -> None:
        """Unsubscribe `connection` from `addresses`; those it was not subscribed to are ignored."""
        for address in addresses:
            if address in connection.addresses:
                self._remove(connection, address)

    def drop(self, connection: Connection) -> None:
        """Forget a connection altogether; safe to call twice."""
        self._by_id.pop(connection.id, None)
        self.unsubscribe(connection, *tuple(connection.addresses))

    async def publish(self, publication: Publication) -> int:
        """Deliver here at once and hand over to the other processes; how many connections of this one got it.

        It waits only while the relay's backlog is full: a publisher is slowed before messages are lost.
        """
        if len(publication.addresses) > 1 and not publication.id:
            publication = replace(publication, id=secrets.token_hex(8))
        metrics.PUBLISHED.inc()
        delivered = self.deliver(publication)
        # While publications of `publish_soon` wait for room, this one queues behind them: offered at once it
        # would overtake them as soon as there is room.
        if self._late:
            self._offer_late(publication)
            if self._catching_up is not None:
                await asyncio.shield(self._catching_up)  # shared: others wait for the same task
        elif not self._relay.offer(publication):
            await self._relay.offer_later(publication)
        return delivered

    def publish_soon(self, publication: Publication) -> int:
        """The same without waiting, for synchronous code on the loop; how many of this process got it.

        While the relay's backlog is full, such publications wait in order and reach the others later.
        """
        if len(publication.addresses) > 1 and not publication.id:
            publication = replace(publication, id=secrets.token_hex(8))
        metrics.PUBLISHED.inc()
        delivered = self.deliver(publication)
        if self._late or not self._relay.offer(publication):
            self._offer_late(publication)
        return delivered

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
        """Give a publication to the connections of this process; repeats of one id reach nobody.

        It is only for those that had subscribed when it was published.
        """
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
        """
        concerned = [
            connection
            for connection in self._by_id.values()
            if any(at <= until and concerns(address) for address, at in connection.addresses.items())
        ]
        for connection in concerned:
            connection.notify_gap()
        return len(concerned)

    def members(self, address: str, published_at: float = inf) -> list[Connection]:
        """The connections of this process that were subscribed to an address when something was published, in
        the order in which they came.
        """
        by_encoder = self._subscribers(address, published_at)
        return [connection for members in by_encoder.values() for connection in members]

    def connections(self) -> list[Connection]:
        """All connections of this process."""
        return list(self._by_id.values())

    def addresses(self) -> list[str]:
        """The addresses that have a connection in this process."""
        return list(self._index)

    def _deliver_to_one(self, address: str, publication: Publication) -> int:
        delivered = 0
        # Over a list: a connection that turns out too slow is dropped within `_send`, and may have been the
        # last one with its encoder.
        for encoder, members in list(self._subscribers(address, publication.published_at).items()):
            if (frame := _encode(encoder, publication, address)) is not None:
                delivered += _send(members, frame, publication.exclude)
        metrics.DELIVERED.inc(delivered)
        return delivered

    def _deliver_to_many(self, publication: Publication, done: set[str]) -> int:
        """Deliver to each connection once, by the first of its addresses that the publication names.

        `done` are the ids of connections that have it already; those that get it now are added.
        """
        frames: dict[tuple[Encoder, str], Frame | FrameGroup | None] = {}
        delivered = 0
        for address in publication.addresses:
            for encoder, members in list(self._subscribers(address, publication.published_at).items()):
                key = (encoder, address if encoder.per_address else "")
                if key not in frames:
                    frames[key] = _encode(encoder, publication, address)
                if (frame := frames[key]) is not None:
                    new = {c: outbox for c, outbox in members.items() if c.id not in done}
                    done.update(c.id for c in new)
                    delivered += _send(new, frame, publication.exclude)
        metrics.DELIVERED.inc(delivered)
        return delivered

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

    def _remove(self, connection: Connection, address: str) -> None:
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
