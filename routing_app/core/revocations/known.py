"""The revocations that a worker knows: read at its start, told of when they are made, and read on.

No client that is revoked stays, and no lock is needed for it. A worker puts a name into its index first, and
looks through its connections then. A connection is known to the hub, with its credential, before it is looked
up in the index, or again after its credential has changed. So one of the two finds it, whichever comes first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from time import monotonic, time
from typing import TYPE_CHECKING, Any, Final

from routing_app.core.codes import REVOKED, UNAVAILABLE
from routing_app.core.database import query
from routing_app.core.delivery.connection import Connection, ConnectionState, Peer
from routing_app.core.delivery.publication import Publication
from routing_app.core.revocations import lookup
from routing_app.core.revocations.index import Index
from routing_app.core.revocations.names import Carried, Name, Row, named_by, of_grant, of_peer

if TYPE_CHECKING:
    from routing_app.core.access.grants import Grant
    from routing_app.core.delivery.hub import Hub
    from routing_app.core.protocol import Protocol

logger = logging.getLogger(__name__)

MADE: Final = "$revocations.made"
"""Event of a publication to every process; its message is a list of packed rows."""
LIFTED: Final = "$revocations.lifted"
"""Event that has every process ask the database again; its message is None."""
READ_SECONDS: Final = 2.0
"""Between two readings of new rows. A message that was lost is made up for so late. Between two attempts to
end what could not be ended, too.
"""
CONFIRMED_SECONDS: Final = 2.0
"""How long an answer of the database holds: clients that are not let in may try often."""
CONFIRMED: Final = 10_000
"""Names of which an answer is remembered."""
GAP_SECONDS: Final = 600.0
"""A transaction may commit so long after others that took later ids."""
GAPS: Final = 1_000
"""Ids that are looked for again; the last ones."""
TIDY_SECONDS: Final = 3600.0
"""Between two removals of what is over."""
STALE: Final = 10_000
"""Names in memory beyond twice the rows, before they are read anew."""
SLICE: Final = 500
"""Connections looked at before others get a turn of the loop."""

NOTHING: Final = Index()
_serving: set[Revocations] = set()
"""Those of the workers that serve in this process."""


class Revoked:
    """Some revocations that have just become known, for those who end what they concern."""

    def __init__(self) -> None:
        self.rows: dict[Name, list[Row]] = {}
        self._index = Index()

    def __bool__(self) -> bool:
        return bool(self.rows)

    def add(self, row: Row) -> None:
        """Add a row."""
        self.rows.setdefault(row.name, []).append(row)
        self._index.add(row.name)

    def concern(self, carried: Iterable[Carried]) -> bool:
        """True when a client with these names is not let in now."""
        carried = list(carried)
        found = self._index.find(carried)
        now = time()
        return any(row.concerns(one, now) for name in found for row in self.rows[name] for one in carried)


class Revocations:
    """One worker's; true when any client may be refused. `start` before the first one is served."""

    def __init__(
        self, hub: Hub, spawn: Callable[[Any], object], protocols: Callable[[], Mapping[str, Protocol]]
    ) -> None:
        self._hub = hub
        self._spawn = spawn
        self._protocols = protocols
        self._index = NOTHING
        self._next_index: Index | None = None
        """The index while it is read anew."""
        self._changes = 0
        """How often names came."""
        self._complete = False
        self._serves = False
        """True once connections may be here."""
        self._last = 0
        """The highest id that was read."""
        self._missing: dict[int, float] = {}
        """Ids below it that may still come, and when they were missed."""
        self._told: dict[int, None] = {}
        """Ids of rows of which a message has told."""
        self._confirmed: dict[Name, tuple[list[Row], float]] = {}
        self._pending = Revoked()
        self._ending = False
        self._left: dict[str, Revoked] = {}
        """What could not be ended, by the protocol that will try again."""
        self.on_made: list[Callable[[], None]] = []
        """Called when a revocation becomes known here."""
        hub.on(MADE, self._on_made)
        hub.on(LIFTED, self._on_lifted)

    def __bool__(self) -> bool:
        # Without all rows the index proves nothing, and the database is asked.
        return not self._complete or bool(self._index)

    def __len__(self) -> int:
        return len(self._index)

    # --- who is let in ------------------------------------------------------------------------------------

    async def concern(self, carried: Iterable[Carried]) -> bool:
        """True when a client with these names is not let in now. Raises what the database raises."""
        carried = list(carried)
        names = self._index.find(carried) if self._complete else named_by(carried)
        if not names:
            return False
        rows = await self._rows_of(names)
        now = time()
        return any(row.concerns(one, now) for row in rows for one in carried)

    def carried_by(self, connection: Connection) -> Iterator[Carried]:
        """The names of a connection: its address, its credential, and what its protocol adds."""
        yield from of_peer(connection.peer)
        yield from of_grant(connection.grant)
        protocol = self._protocols().get(connection.protocol)
        if protocol is not None:
            yield from protocol.revocable(connection)

    async def concern_connection(self, connection: Connection) -> bool:
        """The same for a connection; to be asked once the hub knows it, and when its names have changed."""
        return bool(self) and await self.concern(self.carried_by(connection))

    def look_at(self, connection: Connection) -> None:
        """Look again at a connection of the hub whose names have changed: it ends if it is revoked."""
        if self and (not self._complete or self._index.find(self.carried_by(connection))):
            self._spawn(self._look_at(connection))

    async def _look_at(self, connection: Connection) -> None:
        try:
            revoked = await self.concern_connection(connection)
        except Exception as error:
            logger.warning("revocations: the database does not answer: %s", type(error).__name__)
            connection.close(UNAVAILABLE)
            return
        if revoked:
            self._protocols()[connection.protocol].end_revoked(connection)

    async def concern_grant(self, grant: Grant) -> bool:
        """The same for a credential."""
        return bool(self) and await self.concern(of_grant(grant))

    async def concern_peer(self, peer: Peer) -> bool:
        """The same for a network address."""
        return bool(self) and await self.concern(of_peer(peer))

    async def _rows_of(self, names: set[Name]) -> list[Row]:
        now = monotonic()
        known = {name: self._confirmed[name] for name in names if name in self._confirmed}
        rows = [row for some, until in known.values() if now < until for row in some]
        asked = {name for name in names if name not in known or now >= known[name][1]}
        return rows + await self._ask(asked) if asked else rows

    async def _ask(self, names: set[Name]) -> list[Row]:
        changes = self._changes
        rows = await query(lookup.rows_of, names)
        if changes != self._changes:  # rows that came since need not be among them
            return rows
        if len(self._confirmed) >= CONFIRMED:
            self._confirmed.clear()
        for name in names:
            if some := [row for row in rows if row.name == name]:
                self._confirmed[name] = some, monotonic() + CONFIRMED_SECONDS
            elif self._complete:
                self._index.discard(name)  # it was lifted
        return rows

    # --- rows that come -----------------------------------------------------------------------------------

    def _on_made(self, publication: Publication) -> int:
        """A revocation was made somewhere, and is committed."""
        rows = [Row.unpack(packed) for packed in publication.message]
        self._told.update(dict.fromkeys(row.id for row in rows))
        while len(self._told) > GAPS:
            del self._told[next(iter(self._told))]
        self._take(rows)
        return len(rows)

    def _on_lifted(self, publication: Publication) -> int:
        self._confirmed.clear()
        self._changes += 1
        return 0

    def _take(self, rows: Iterable[Row]) -> None:
        now = time()
        current = [row for row in rows if now < row.until]
        if not current:
            return
        if self._index is NOTHING:
            self._index = Index()
        self._changes += 1
        for hook in self.on_made:
            hook()
        for row in current:
            self._index.add(row.name)
            if self._next_index is not None:
                self._next_index.add(row.name)
            self._confirmed.pop(row.name, None)
            if self._serves:
                self._pending.add(row)
        if self._pending and not self._ending:
            self._ending = True
            self._spawn(self._end())

    async def _end(self) -> None:
        """End what is revoked. Rows that come in the meantime are for one more round."""
        try:
            while self._pending:
                revoked, self._pending = self._pending, Revoked()
                await self._end_all(revoked)
        finally:
            self._ending = False

    async def _end_all(self, revoked: Revoked) -> None:
        protocols = self._protocols()
        for number, connection in enumerate(self._hub.connections(), 1):
            if connection.state is ConnectionState.OPEN:
                self._end_one(connection, revoked)
            if number % SLICE == 0:
                await asyncio.sleep(0)
        for protocol in protocols.values():
            await self._end_others(protocol, revoked)

    def _end_one(self, connection: Connection, revoked: Revoked) -> None:
        """End a connection if it is revoked; a protocol that fails at one keeps no other one open."""
        is_revoked = False
        try:
            is_revoked = revoked.concern(self.carried_by(connection))
            if is_revoked:
                self._protocols()[connection.protocol].end_revoked(connection)
        except Exception:
            logger.exception("%s: a connection could not be ended as revoked", connection.protocol)
            if is_revoked:
                connection.close(REVOKED)

    async def _end_others(self, protocol: Protocol, revoked: Revoked) -> None:
        """End what is revoked, and is not a connection of the hub; what cannot be ended is left for later."""
        try:
            await protocol.revoked(revoked)
        except Exception:
            logger.exception("%s: what was revoked could not all be ended, and is tried again", protocol.name)
            self._leave(protocol.name, revoked)

    def _leave(self, protocol: str, revoked: Revoked) -> None:
        left = self._left.setdefault(protocol, Revoked())
        for row in chain.from_iterable(revoked.rows.values()):
            left.add(row)

    async def end_left(self) -> None:
        """Try to end what could not be ended, but for what was lifted since. Raises what the database
        raises.
        """
        for name in list(self._left):
            revoked = self._left.pop(name)
            try:
                there = {row.id for row in await query(lookup.rows_of, set(revoked.rows))}
            except Exception:
                self._leave(name, revoked)
                raise
            still = Revoked()
            for row in chain.from_iterable(revoked.rows.values()):
                if row.id in there:
                    still.add(row)
            if still:
                await self._end_others(self._protocols()[name], still)

    # --- reading ------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Know all rows, and those that come, until the worker stops.

        While the database is out the worker serves all the same: it asks the database about each client.
        """
        await self._try_to_read()
        self._serves = True
        _serving.add(self)
        self._spawn(self._keep_reading())
        self._spawn(self._keep_ending())
        self._spawn(self._keep_tidy())

    def stop(self) -> None:
        """Its worker serves no longer."""
        _serving.discard(self)

    async def read(self) -> None:
        """Read the rows that came since the last time. Raises what the database raises."""
        while True:
            now = monotonic()
            self._missing = {id: since for id, since in self._missing.items() if now < since + GAP_SECONDS}
            rows = await query(lookup.rows_after, self._last, tuple(self._missing))
            self._take(row for row in rows if row.id not in self._told)
            for row in rows:
                self._missing.pop(row.id, None)
                self._note_gap(row.id, now)
            if len(rows) < lookup.ROWS_AT_ONCE:
                break
        self._complete = True

    def _note_gap(self, id: int, now: float) -> None:
        """Ids are given before a commit: those that are jumped over may belong to transactions that go on."""
        if id > self._last + 1:
            self._missing.update(dict.fromkeys(range(max(self._last + 1, id - GAPS), id), now))
            while len(self._missing) > GAPS:
                del self._missing[next(iter(self._missing))]
        self._last = max(self._last, id)

    async def _try_to_read(self) -> None:
        try:
            await self.read()
        except Exception as error:
            logger.warning("revocations cannot be read, and are tried again: %s", type(error).__name__)

    async def _keep_reading(self) -> None:
        while True:
            await asyncio.sleep(READ_SECONDS)
            await self._try_to_read()

    async def _keep_ending(self) -> None:
        while True:
            await asyncio.sleep(READ_SECONDS)
            try:
                await self.end_left()
            except Exception as error:
                logger.warning("what was revoked cannot be ended so far: %s", type(error).__name__)

    async def _keep_tidy(self) -> None:
        while True:
            await asyncio.sleep(TIDY_SECONDS)
            try:
                await self.tidy()
            except Exception as error:
                logger.warning("revocations that are over stay: %s", type(error).__name__)

    async def tidy(self) -> None:
        """Remove rows that have been over for long, and read the names anew where many are stale."""
        while await query(lookup.remove_old):
            await asyncio.sleep(0)
        if len(self._index) > 2 * await query(lookup.count) + STALE:
            await self._read_anew()

    async def _read_anew(self) -> None:
        index = self._next_index = Index()
        try:
            last = 0
            while rows := await query(lookup.rows_after, last):
                now = time()
                for row in rows:
                    if now < row.until:
                        index.add(row.name)
                last = rows[-1].id
            self._index = index
        finally:
            self._next_index = None


def is_revoked(carried: Iterable[Carried]) -> bool:
    """True when a client with these names is not let in now; for synchronous code, in any thread. Uses the
    ORM, but where this process serves and knows of no revocation.
    """
    if _serving and not any(_serving):
        return False
    return lookup.is_revoked(carried)
