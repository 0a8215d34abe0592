"""The order in which one process delivers what has positions: each offset once, in every stream.

One that is missing is fetched from the store, after a moment in which it may still come, before what follows
is delivered. Every few seconds the ends of the streams that have subscribers here are looked for: the last
message may be what the layer has lost. Only what the store has no more is a gap.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from collections.abc import Sequence as Several
from time import monotonic
from typing import Any, Final

from routing_app.core.cluster import losses
from routing_app.core.delivery.connection import Connection
from routing_app.core.delivery.hub import Hub
from routing_app.core.delivery.publication import Position, Publication
from routing_app.core.streams.rules import RuleTable
from routing_app.core.streams.sequence import Place, Sequence
from routing_app.core.streams.store import Bounds, Page, StoreUnavailable
from routing_app.core.streams.stores import Stores

logger = logging.getLogger(__name__)

CHECKED: Final = 500
"""Streams that are looked at in one round."""
LATE_SECONDS: Final = 0.05
"""A publication that is missing may still come for so long before the store is asked."""
RETRY_SECONDS: Final = 0.25
GIVE_UP_SECONDS: Final = 10.0
"""Publications are held back for so long at most while the store does not answer."""
PAGE: Final = 200
MAX_HELD: Final = 5000
"""Publications to one address that are held back at once."""

Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class Ordering:
    """The sequences of the addresses that have subscribers in this process."""

    def __init__(self, hub: Hub, stores: Stores, spawn: Spawn) -> None:
        self._hub = hub
        self._stores = stores
        self._spawn = spawn
        self.rules = RuleTable()
        self._sequences: dict[str, Sequence] = {}
        self._taking = False
        self._next: deque[Publication] = deque()
        self._told: set[Connection] = set()
        """Connections that were told of a gap in this turn, while nothing was delivered."""

    def use(self, rules: RuleTable) -> None:
        """Have other rules. Of an address that has no history any more nothing is in order, or waited for."""
        before, self.rules = self.rules, rules
        if not rules.takes_history(before):
            return
        for sequence in [one for one in self._sequences.values() if rules.of(one.address).bounds is None]:
            self._end_replays(sequence.address)
            if sequence.held:
                self._gap(sequence)
            self.forget(sequence.address)

    # --- subscribing ----------------------------------------------------------------------------------------

    def expect(self, addresses: Iterable[str]) -> None:
        """Hold back what is published to addresses until `begin` has found the ends of their streams.

        Called before anybody is subscribed: those who are, came before the rule, and wait for nothing.
        """
        for address in addresses:
            if address not in self._sequences and (bounds := self.rules.of(address).bounds) is not None:
                self._sequences[address] = sequence = Sequence(address, bounds)
                if self._hub.has(address):
                    sequence.begin_anywhere()

    async def begin(self, addresses: Iterable[str]) -> None:
        """Find the ends of the streams of addresses: what is published from now on is waited for.

        Where the store does not answer, what comes first is taken for the next.
        """
        found = [one for address in addresses if (one := self._sequences.get(address)) is not None]
        new = [one for one in found if one.starting is None and not one.begun and not one.anywhere]
        if new:
            task = self._spawn(self._start_all(new))
            for one in new:
                one.starting = task
        # Shielded: others may wait for the same streams.
        for task in {one.starting for one in found if one.starting is not None}:
            await asyncio.shield(task)

    def position(self, address: str) -> Position | None:
        """The end of what was delivered here; None where nothing is known of the order."""
        sequence = self._sequences.get(address)
        return sequence.position if sequence is not None and sequence.begun else None

    def begin_at(self, address: str, position: Position) -> None:
        """Take the end of a stream for that of what was delivered, where the order began without the store.

        A replay brings what is before, so it must not come late any more. Other subscribers of that time may
        miss it, and are told.
        """
        sequence = self._sequences.get(address)
        if sequence is None or (sequence.begun and not sequence.floor):
            return
        if not sequence.begun:
            sequence.begin(position)
        sequence.floor = 0
        self._gap(sequence)
        self._take_all(sequence.release())

    def look(self, address: str) -> None:
        """Have the store asked for what was not delivered: there is more than that."""
        if (sequence := self._sequences.get(address)) is not None and sequence.begun:
            sequence.checking = True
            self._heal_soon(sequence)

    def forget(self, address: str) -> None:
        """Nobody here is subscribed to an address any more, or it has no history."""
        if (sequence := self._sequences.pop(address, None)) is None:
            return
        if sequence.healing is not None:
            sequence.healing.cancel()
        # Others may have waited for this order with what is for them, too.
        self._take_all(sequence.release())

    async def _start_all(self, sequences: Several[Sequence]) -> None:
        pages: dict[str, Page] = {}
        try:
            pages = await self._ends(sequences)
        except StoreUnavailable as error:
            logger.warning("streams cannot be read, so their order begins with what comes: %s", error)
        finally:
            for one in sequences:
                one.starting = None
                if not one.begun and not one.anywhere:  # else something was delivered meanwhile
                    self._begin(one, pages.get(one.address))
                for publication in one.release():
                    self.receive(publication)

    @staticmethod
    def _begin(sequence: Sequence, page: Page | None) -> None:
        if page is not None:
            sequence.begin(page.position)
        else:
            sequence.begin_anywhere()

    async def _ends(self, sequences: Iterable[Sequence]) -> dict[str, Page]:
        return await self._stores.positions({one.address: self._bounds(one) for one in sequences})

    def _bounds(self, sequence: Sequence) -> Bounds:
        """Those of the rule, or of the one before it was deleted."""
        return self.rules.of(sequence.address).bounds or sequence.bounds

    # --- delivering in order --------------------------------------------------------------------------------

    def receive(self, publication: Publication) -> int:
        """Deliver a publication with positions, or hold it back; how many connections got it now."""
        if self._taking:  # within a delivery: behind it
            self._next.append(publication)
            return 0
        self._taking = True
        try:
            delivered = self._take(publication)
            while self._next:
                self._take(self._next.popleft())
        finally:
            self._taking = False
        return delivered

    def _take(self, publication: Publication) -> int:
        found = self._places(publication)
        if not found:
            return self._hub.deliver_now(publication)
        if any(place is Place.AHEAD for _, _, place in found):
            self._hold(publication, found)
            return 0
        passed = {sequence.address for sequence, _, place in found if place is Place.PASSED}
        # At the others it is new: their order began before those of its addresses that have it already, or
        # they have none.
        if passed and not any(self._hub.reaches(one) for one in publication.addresses if one not in passed):
            return 0
        if self._told:
            self._told.clear()
        for sequence, position, _ in found:
            sequence.passed(position)
        # Whoever subscribed after it was published has a position before it, too: a time says nothing here.
        in_order = [sequence.address for sequence, _, place in found if place in (Place.NEXT, Place.LAST)]
        delivered = self._hub.deliver_now(publication, in_order, passed)
        for sequence, _, _ in found:
            if (following := sequence.next_held()) is not None:
                self._next.append(following)
        return delivered

    def _places(self, publication: Publication) -> list[tuple[Sequence, Position, Place]]:
        """The sequences of this process that a publication belongs to, and where it stands in each."""
        found = []
        for address in publication.addresses:
            position = (publication.positions or {}).get(address)
            if position is None:
                continue
            sequence = self._sequences.get(address)
            if sequence is None:
                if not self._hub.has(address):
                    continue
                # Its subscribers came before the rule.
                sequence = self._sequences[address] = Sequence(
                    address, self.rules.of(address).bounds or Bounds(1, 1)
                )
                sequence.begin_anywhere()
            found.append((sequence, position, sequence.place(position)))
        return found

    def _hold(self, publication: Publication, found: list[tuple[Sequence, Position, Place]]) -> None:
        for sequence, position, place in found:
            if place in (Place.NEXT, Place.AHEAD):
                if not sequence.held:
                    sequence.held_since = monotonic()
                sequence.held[position] = publication
        for sequence, _, _ in found:
            if len(sequence.held) > MAX_HELD:
                self._give_up(sequence)
            elif sequence.is_behind:
                self._heal_soon(sequence)

    def _heal_soon(self, sequence: Sequence) -> None:
        if sequence.healing is None:
            sequence.healing = self._spawn(self._heal(sequence))

    async def _heal(self, sequence: Sequence) -> None:
        """Fetch what is missing, and deliver it and what was held back for it."""
        try:
            await asyncio.sleep(LATE_SECONDS)
            while sequence.is_behind and self._sequences.get(sequence.address) is sequence:
                try:
                    page = await self._stores.of(sequence.address).read(
                        sequence.address, self._bounds(sequence), sequence.position, PAGE
                    )
                except StoreUnavailable:
                    if sequence.held and monotonic() - sequence.held_since > GIVE_UP_SECONDS:
                        self._give_up(sequence)
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                self._take_page(sequence, page)
        finally:
            sequence.healing = None

    def _take_page(self, sequence: Sequence, page: Page) -> None:
        if page.epoch != sequence.epoch:
            # What is held of the epoch before is in order as far as it goes; the rest of it is gone.
            sequence.checking = True
            if not sequence.switch(page):
                self._gap(sequence)
            self._take_all(sequence.leave())
            self._take_all(sequence.release())
            return
        if not page.recovered:
            sequence.checking = True
            self._gap(sequence)
            sequence.skip_to(page.first)
            self._take_all(sequence.release())
            return
        sequence.checking = page.more
        self._take_all(self._stores.part(entry.publication, sequence.address) for entry in page.entries)
        for position in [position for position in sequence.held if position.epoch != sequence.epoch]:
            # Of an epoch that was over before this process knew of it.
            publication = sequence.held.pop(position)
            sequence.close(position.epoch)
            self._take_all([publication])

    def _take_all(self, publications: Iterable[Publication]) -> None:
        for publication in publications:
            self._hub.deliver(publication)

    def _give_up(self, sequence: Sequence) -> None:
        """Deliver what is held, although something is missing before it."""
        self._gap(sequence)
        positions = [position for position in sequence.held if position.epoch == sequence.epoch]
        if positions:
            sequence.skip_to(min(position.offset for position in positions))
        else:
            sequence.former, sequence.epoch = sequence.position, ""
            sequence.begin_anywhere()
        self._take_all(sequence.release())

    # --- what may be missing --------------------------------------------------------------------------------

    def check(self, concerns: Callable[[str], bool]) -> set[str]:
        """Look into the streams of those addresses: the layer has lost something. Which have a sequence."""
        checked = {address for address, one in self._sequences.items() if one.begun and concerns(address)}
        for address in checked:
            self.look(address)
        return checked

    async def check_ends(self) -> None:
        """Look whether streams go further than what was delivered. Raises StoreUnavailable."""
        begun = [
            one
            for one in self._sequences.values()
            if one.begun and self.rules.of(one.address).bounds is not None
        ]
        for start in range(0, len(begun), CHECKED):
            some = begun[start : start + CHECKED]
            for address, page in (await self._ends(some)).items():
                sequence = self._sequences.get(address)
                if sequence is None or not sequence.begun:
                    continue
                if page.epoch != sequence.epoch or page.offset > sequence.offset:
                    self.look(address)

    def _gap(self, sequence: Sequence) -> None:
        """Tell the subscribers of an address that something is missing, before they get what follows it.

        Several streams in a row are one gap to those who get nothing in between.
        """
        self._tell(self._hub.concerned_by_gap(sequence.address))

    def _end_replays(self, address: str) -> None:
        """Have the hub bring again what is published to an address; what replays have not, is missing."""
        held = {one for one in self._hub.members(address) if self._hub.holds.has(one, address)}
        for connection in held:
            self._hub.holds.end(connection, address)
        self._tell(held)

    def _tell(self, connections: set[Connection]) -> None:
        concerned = connections - self._told
        if not self._told:
            asyncio.get_running_loop().call_soon(self._told.clear)
        self._told |= concerned
        for connection in concerned:
            connection.notify_gap()
        if concerned:
            losses.count_gap()
