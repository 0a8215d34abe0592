"""Brings a connection what it missed, before anything newer: from a position on, or the last messages.

    attachment = await replays.attach(connection, addresses, since={A: Position(…)}, last={B: 10})
    … answer the client with attachment.places …
    attachment.start()

From `attach` on the connection is subscribed, but held (`Hub.holds`): what is published waits in the streams,
not in memory. After `start` a replay reads the streams and sends, at the pace of the client's reading, until
it has sent all that was delivered to others here; in that very step the connection is released. So nothing
comes twice, nothing is left out, and nothing newer comes before.

A connection has one replay for all its addresses with history: a message to several of them has a place in
each, comes once, and comes in the order of each. What the streams lose before it is read is told as a gap.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from routing_app.core.cluster import losses
from routing_app.core.delivery.connection import Connection, ConnectionState
from routing_app.core.delivery.hub import Frames, Hub
from routing_app.core.delivery.publication import Position
from routing_app.core.streams.ordering import Ordering, Spawn
from routing_app.core.streams.pages import Pages, SharedPage
from routing_app.core.streams.store import Bounds, Entry, StoreUnavailable
from routing_app.core.streams.stores import Stores

logger = logging.getLogger(__name__)

PAGE: Final = 100
"""Messages of one reading."""
READ_AT_ONCE: Final = 8
"""Addresses whose first messages are read with their position; of more of them they would fill the memory."""
SHARE: Final = 0.5
"""The part of the outbox that a replay fills; the rest is for what else is sent."""
LEAST_PAUSE: Final = 0.005
LONGEST_PAUSE: Final = 0.25
"""Between two looks whether the client has read, or messages on their way to this process have come."""
MAX_SENT: Final = 10_000
"""Messages to several addresses that one replay remembers: so many may come between one and its repeat."""
RETRY_SECONDS: Final = 0.5
"""Until the store is asked again after it did not answer."""


@dataclass(frozen=True, slots=True)
class Place:
    """The end of a stream when a connection was attached; `recovered` is None where it named no position."""

    position: Position
    recovered: bool | None = None


@dataclass(frozen=True, slots=True)
class Attachment:
    """`places` by address: of those with history, and of those that were given a position.

    `start` has the replay begin, and must be called. `begins` are the positions that a client has before the
    first message: what follows them comes.
    """

    places: dict[str, Place]
    start: Callable[[], None]
    begins: dict[str, Position]


NO_PLACE: Final = Place(Position("", 0), recovered=False)
"""Of an address without history."""


@dataclass(slots=True)
class _Reading:
    """One stream as a replay reads it."""

    address: str
    bounds: Bounds
    at: Position
    """The last message that was sent, or is from before."""
    entries: deque[Entry] = field(default_factory=deque)
    """Read and not sent."""
    frames: Frames = field(default_factory=dict)
    """Of these entries, for all that read them."""
    is_over: bool = False
    """The store has another epoch by now: these entries are all that can be had of this one."""

    def is_before(self, position: Position) -> bool:
        """True when something before a position is still to be sent."""
        return self.at.epoch != position.epoch or self.at.offset < position.offset


class Replays:
    """The replays of one process."""

    def __init__(self, hub: Hub, stores: Stores, order: Ordering, spawn: Spawn) -> None:
        self.hub = hub
        self.pages = Pages(stores)
        self._stores = stores
        self.order = order
        self.spawn = spawn
        self._running: dict[Connection, Replay] = {}

    async def attach(
        self,
        connection: Connection,
        addresses: Collection[str],
        since: Mapping[str, Position] = {},
        last: Mapping[str, int] = {},
    ) -> Attachment:
        """Subscribe a connection; after `start` it gets what follows `since` at each address, or, where none
        is given, the `last` messages. Of an address that it had before it gets all that it was not sent yet.

        Raises StoreUnavailable, LayerUnavailable and AddressError; it is then subscribed to nothing new.
        """
        kept = self._kept(addresses)
        asked = {one for one in kept if last.get(one) or one in since}
        places = {one: NO_PLACE for one in addresses if one in since and one not in kept}
        replay = self._running.get(connection)
        if not asked and replay is None:
            await self.hub.subscribe(connection, *addresses)
            ends = self.ends(kept)
            return Attachment(places | ends, _nothing, {one: end.position for one, end in ends.items()})
        if replay is None:
            replay = self._running[connection] = Replay(self, connection)
        new = [one for one in addresses if one not in connection.addresses]
        replay.pause()
        try:
            replay.take_over(asked)
            await self.hub.subscribe(connection, *addresses, held=kept)
            found = await asyncio.gather(
                *(self._find(one, kept[one], since.get(one), last.get(one, 0), len(asked)) for one in asked)
            )
        except BaseException:
            self.hub.unsubscribe(connection, *new)
            replay.release_others()
            replay.resume()
            raise
        for reading, place in found:
            replay.read(reading, leaves_out=reading.address in since)
            places[reading.address] = place
        places |= replay.follow({one: kept[one] for one in kept.keys() - asked})
        replay.release_others()
        return Attachment(places, replay.resume, replay.positions(addresses))

    def begun(self, replay: Replay) -> None:
        """A replay runs; it may have failed before."""
        self._running.setdefault(replay.connection, replay)

    def ended(self, replay: Replay) -> None:
        """A replay has sent everything, or its connection is closed."""
        if self._running.get(replay.connection) is replay:
            del self._running[replay.connection]

    def _kept(self, addresses: Iterable[str]) -> dict[str, Bounds]:
        if not (rules := self.order.rules):
            return {}
        bounds = {one: rules.of(one).bounds for one in addresses}
        return {one: bound for one, bound in bounds.items() if bound is not None}

    def ends(self, addresses: Iterable[str]) -> dict[str, Place]:
        """Where addresses stand that are followed from now on; not those whose stream cannot be read."""
        ends = {one: self.order.position(one) for one in addresses}
        return {one: Place(position) for one, position in ends.items() if position is not None}

    async def _find(
        self, address: str, bounds: Bounds, since: Position | None, last: int, count: int
    ) -> tuple[_Reading, Place]:
        """The beginning of a replay. Raises StoreUnavailable."""
        limit = PAGE if count <= READ_AT_ONCE else 0
        if since is not None:
            shared = await self.pages.read(address, bounds, since, limit)
            page = shared.page
            place = Place(page.position, page.recovered)
            at = since if page.recovered else page.position
        else:
            end = await self._stores.of(address).read(address, bounds, None, 0)
            place = Place(end.position)
            at = Position(end.epoch, max(0, end.offset - last))
            shared = await self.pages.read(address, bounds, at, limit)
            page = shared.page
            if not page.recovered:
                at = Position(page.epoch, page.first - 1)
        self.order.begin_at(address, page.position)
        return _Reading(address, bounds, at, deque(page.entries), shared.frames), place


class Replay:
    """All that one connection still has to be sent from streams."""

    def __init__(self, replays: Replays, connection: Connection) -> None:
        self.connection = connection
        self._replays = replays
        self._hub = replays.hub
        self._order = replays.order
        self._readings: dict[str, _Reading] = {}
        self._sent: dict[str, dict[str, Position | None]] = {}
        """Messages to several addresses by id, and their positions; None where the client was not told."""
        self._latest: _Reading | None = None
        self._pauses = 0
        self._go = asyncio.Event()
        self._running = False

    def pause(self) -> None:
        """Send nothing until `resume`."""
        self._pauses += 1
        self._go.clear()

    def resume(self) -> None:
        """Go on; called once for each `pause`."""
        self._pauses -= 1
        if not self._pauses:
            self._go.set()
            if not self._running:
                self._running = True
                self._replays.begun(self)
                self._replays.spawn(self._run())

    def take_over(self, asked: Collection[str]) -> None:
        """Bring also what the hub has brought until now: a message to several addresses must come once.

        `asked` are addresses that will be read, be it that nothing is known of their order yet.
        """
        for address in self.connection.addresses:
            if address in self._readings or self._hub.holds.has(self.connection, address):
                continue
            bounds, position = self._order.rules.of(address).bounds, self._order.position(address)
            if bounds is not None and position is not None:
                self._hub.holds.begin(self.connection, address)
                self._readings[address] = _Reading(address, bounds, position)
            elif address in asked:
                self._hub.holds.begin(self.connection, address)

    def read(self, reading: _Reading, leaves_out: bool) -> None:
        """Read a stream from a position on; `leaves_out` what was still to be sent before that, as well."""
        before = self._readings.get(reading.address)
        if before is None or leaves_out or not before.is_before(reading.at):
            self._readings[reading.address] = reading

    def follow(self, addresses: Mapping[str, Bounds]) -> dict[str, Place]:
        """Read streams on from where they are read, or from what was delivered; where that is."""
        for one, end in self._replays.ends(addresses.keys() - self._readings.keys()).items():
            self._readings[one] = _Reading(one, addresses[one], end.position)
        return {one: Place(place) for one, place in self.positions(addresses).items()}

    def positions(self, addresses: Iterable[str]) -> dict[str, Position]:
        """Where the streams of addresses are read from next."""
        return {one: self._readings[one].at for one in addresses if one in self._readings}

    def release_others(self) -> None:
        """Leave addresses to the hub whose streams cannot be read, or that have none any more."""
        held = [one for one in self.connection.addresses if self._hub.holds.has(self.connection, one)]
        others = [one for one in held if one not in self._readings]
        self._hub.holds.end(self.connection, *others)
        if any(self._order.position(one) is not None for one in others):
            self._tell_gap()  # something has come that was left to this replay

    async def _run(self) -> None:
        try:
            pause = LEAST_PAUSE
            while self.connection.state is ConnectionState.OPEN:
                await self._go.wait()
                self._forget_others()
                has_sent = self._send_some()
                if self._is_done():
                    return
                # Nothing is awaited between the look at the ends and the release in `finally`.
                if unread := self._unread():
                    await self._fill(unread)
                    await asyncio.sleep(0)
                    pause = LEAST_PAUSE
                elif has_sent:
                    await asyncio.sleep(0)
                    pause = LEAST_PAUSE
                else:
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, LONGEST_PAUSE)
        except Exception:
            logger.exception("a replay failed")
            self._tell_gap()
        finally:
            self._running = False
            self._hub.holds.end(self.connection, *self._readings)
            self._replays.ended(self)

    def _forget_others(self) -> None:
        """Read no more of addresses that the client has left, or that have no history any more."""
        for address in [one for one in self._readings if not self._hub.holds.has(self.connection, one)]:
            del self._readings[address]

    def _is_done(self) -> bool:
        """True when it has sent exactly what the hub has delivered to others."""
        return not self._pauses and all(
            reading.at == self._order.position(reading.address) for reading in self._readings.values()
        )

    def _unread(self) -> list[_Reading]:
        """The streams that have more than what was read."""
        found = []
        for reading in self._readings.values():
            end = self._order.position(reading.address)
            if end is None or reading.at == end or reading.is_over:
                continue
            if reading.at.epoch != end.epoch:
                found.append(reading)  # also with entries: their epoch may be over
            elif reading.at.offset > end.offset:
                self._order.look(reading.address)  # on its way to this process: another one had it already
            elif not reading.entries:
                found.append(reading)
        return found

    # --- reading ------------------------------------------------------------------------------------------

    async def _fill(self, readings: list[_Reading]) -> None:
        for start in range(0, len(readings), READ_AT_ONCE):
            some = readings[start : start + READ_AT_ONCE]
            pages = await asyncio.gather(*map(self._page, some), return_exceptions=True)
            for reading, page in zip(some, pages, strict=True):
                if isinstance(page, StoreUnavailable):
                    await asyncio.sleep(RETRY_SECONDS)
                elif isinstance(page, BaseException):
                    raise page
                elif self._readings.get(reading.address) is not reading:
                    continue
                elif reading.entries:
                    await self._compare(reading, page)
                else:
                    self._take(reading, page)

    async def _page(self, reading: _Reading) -> SharedPage:
        end = self._order.position(reading.address)
        return await self._replays.pages.read(reading.address, reading.bounds, reading.at, PAGE, end)

    async def _compare(self, reading: _Reading, shared: SharedPage) -> None:
        """Entries are of another epoch than what is delivered here: either that is over, or comes yet."""
        if shared.page.epoch != reading.at.epoch:
            reading.is_over = True
            return
        self._order.look(reading.address)
        await asyncio.sleep(LONGEST_PAUSE)

    def _take(self, reading: _Reading, shared: SharedPage) -> None:
        page = shared.page
        if page.epoch != reading.at.epoch:
            former = page.former
            ended = former is not None and former.epoch == reading.at.epoch
            if former is None or not ended or reading.at.offset < former.offset:
                self._tell_gap()
            reading.at = Position(page.epoch, page.base)
        elif not page.recovered:
            self._tell_gap()
            reading.at = Position(page.epoch, page.first - 1)
        else:
            reading.entries.extend(page.entries)
            reading.frames = shared.frames

    def _tell_gap(self) -> None:
        self.connection.notify_gap()
        losses.count_gap()

    # --- sending ------------------------------------------------------------------------------------------

    def _send_some(self) -> bool:
        """Send what may be sent now, as much as the client has room for; True when it was anything."""
        has_sent = False
        outbox = self.connection.outbox
        while not self._pauses and outbox.filled <= SHARE and (reading := self._next()) is not None:
            self._send(reading)
            has_sent = True
        return has_sent

    def _next(self) -> _Reading | None:
        """A stream whose next message may be sent: mostly the one of before."""
        before = self._latest
        if before is not None and self._readings.get(before.address) is before and self._may_follow(before):
            return before
        found = next((one for one in self._readings.values() if self._may_follow(one)), None)
        self._latest = self._in_a_circle() if found is None else found
        return self._latest

    def _may_follow(self, reading: _Reading) -> bool:
        """True when the next message of a stream was delivered here, and is next in all its streams."""
        return self._was_delivered(reading) and self._before(reading) is None

    def _before(self, reading: _Reading) -> _Reading | None:
        """Another stream of the next message, which has others to be sent before it."""
        if len(self._readings) == 1:
            return None
        return next(
            (
                other
                for other, place in self._places(reading.entries[0])
                if other is not reading and self._is_ahead(other, place)
            ),
            None,
        )

    def _is_ahead(self, reading: _Reading, place: Position) -> bool:
        """True when a stream has others to be sent before what has a place in it."""
        if place.epoch == reading.at.epoch:
            return place.offset > reading.at.offset + 1
        # What was delivered here is of the place's epoch: the reading will come to it.
        end = self._order.position(reading.address)
        return end is not None and end.epoch == place.epoch

    def _was_delivered(self, reading: _Reading) -> bool:
        if not reading.entries:
            return False
        if reading.is_over:
            return True
        end = self._order.position(reading.address)
        return end is not None and end.epoch == reading.at.epoch and reading.entries[0].offset <= end.offset

    def _in_a_circle(self) -> _Reading | None:
        """A stream whose next message waits for another one, which waits for it: streams of several servers
        have no common order.
        """
        for first in self._readings.values():
            passed: list[_Reading] = []
            one: _Reading | None = first
            while one is not None and self._was_delivered(one):
                if one in passed:
                    return one
                passed.append(one)
                one = self._before(one)
        return None

    def _send(self, reading: _Reading) -> None:
        publication = reading.entries[0].publication
        positions = {}
        for other, place in self._places(reading.entries[0]):
            if place == Position(other.at.epoch, other.at.offset + 1):
                positions[other.address] = other.at = place
                if other.entries and other.entries[0].offset == place.offset:
                    other.entries.popleft()
                    other.is_over = other.is_over and bool(other.entries)
        if len(publication.addresses) > 1:
            if not self._is_new(publication.id, positions):
                return
            self._sent[publication.id] = {one: positions.get(one) for one in publication.positions or {}}
            if len(self._sent) > MAX_SENT:
                del self._sent[next(iter(self._sent))]
            if len(positions) < len(publication.positions or {}):
                # At the others the client is elsewhere: further, or in another epoch.
                elsewhere = (publication.positions or {}).keys() - positions
                rest = tuple(one for one in publication.addresses if one not in elsewhere)
                publication = publication.placed(rest, positions)
        self._hub.send_to(self.connection, publication, reading.frames)

    def _is_new(self, id: str, positions: Mapping[str, Position]) -> bool:
        """False for a message that was sent; a position that the client was not told with it is a gap."""
        if (told := self._sent.get(id)) is None:
            return True
        if any(told.get(one, place) not in (None, place) for one, place in positions.items()):
            return True  # in another epoch: the store had lost the first one, and its id
        if any(one in told and told[one] is None for one in positions):
            self._tell_gap()
        return False

    def _places(self, entry: Entry) -> list[tuple[_Reading, Position]]:
        positions = entry.publication.positions or {}
        return [(self._readings[one], place) for one, place in positions.items() if one in self._readings]


def _nothing() -> None:
    """There is nothing to replay."""
