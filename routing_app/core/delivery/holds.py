"""Addresses at which a replay (`core.streams.replay`) brings a connection what is published, and not the hub.

A message to such an address is withheld at the other addresses of the connection, too, because the replay
brings it once for all of them. One that leaves the address before that would miss it at the others: it has
to be told of a gap.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from routing_app.core.delivery.connection import Connection, Encoder, NoEncoder
from routing_app.core.delivery.places import Index
from routing_app.core.delivery.publication import Publication

HELD: Final = NoEncoder()
"""Stands in the index for the encoder of a connection at an address where it is held."""


class Holds:
    """The connections of one hub that are held, and where."""

    def __init__(self, index: Index) -> None:
        """`index` is the hub's: a connection is under HELD there while it is held at an address."""
        self._index = index
        self._addresses: dict[Connection, set[str]] = {}
        self._withheld: dict[Connection, set[str]] = {}
        """Addresses whose replay brings something that was also published to another one."""

    def has(self, connection: Connection, address: str) -> bool:
        """True between `begin` and `end`."""
        return address in self._addresses.get(connection, ())

    def begin(self, connection: Connection, *addresses: str) -> None:
        """Hold a connection at addresses that it is subscribed to."""
        held = self._addresses.setdefault(connection, set())
        for address in addresses:
            if address not in held:
                held.add(address)
                self._move(connection, address, connection.encoder, HELD)

    def end(self, connection: Connection, *addresses: str) -> bool:
        """Hold it there no more; True when something was withheld at other addresses because of these."""
        if (held := self._addresses.get(connection)) is None:
            return False
        was_withheld = False
        for address in held.intersection(addresses):
            held.discard(address)
            self._move(connection, address, HELD, connection.encoder)
            was_withheld |= address in self._withheld.get(connection, ())
        if not held:
            del self._addresses[connection]
        if was_withheld:
            self._withheld[connection] &= held
            if not self._withheld[connection]:
                del self._withheld[connection]
        return was_withheld

    def withhold(self, publication: Publication, addresses: Iterable[str]) -> set[str]:
        """The ids of connections to which a replay brings a publication at any of these addresses of it."""
        if not self._addresses:
            return set()
        found = set()
        for address in addresses:
            for connection in self._index.get(address, {}).get(HELD, ()):
                found.add(connection.id)
                held = self._addresses[connection]
                if any(one in connection.addresses and one not in held for one in publication.addresses):
                    self._withheld.setdefault(connection, set()).add(address)
        return found

    def _move(self, connection: Connection, address: str, before: Encoder, after: Encoder) -> None:
        by_encoder = self._index[address]
        del by_encoder[before][connection]
        if not by_encoder[before]:
            del by_encoder[before]
        by_encoder.setdefault(after, {})[connection] = connection.outbox
