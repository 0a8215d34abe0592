"""The position of one connection at all its addresses, as the events that it is sent move it on."""

from __future__ import annotations

from collections.abc import Mapping

from routing_app.core.delivery.publication import Position
from routing_app.stream import wire


class Progress:
    """`id` is the position behind the event that was written last.

    It never covers a message that was not sent. Streams of several Redis servers have no common order: there
    a replay may send a message to two addresses by its turn at the first, while older ones of the second
    still wait. So a message to several addresses moves each of them by one step only.
    """

    __slots__ = ("_jumps", "_positions", "_words", "id")

    def __init__(self, positions: Mapping[str, Position | None] = {}) -> None:
        self._positions = dict(positions)
        self._words = {address: wire.word(address, place) for address, place in positions.items()}
        self._jumps: set[str] = set()
        """Addresses that have a gap: their next message may have any offset."""
        self.id = self._joined()

    @property
    def addresses(self) -> list[str]:
        """Those of the connection."""
        return list(self._words)

    def advance(self, positions: Mapping[str, Position]) -> None:
        """A message is sent that stands at these positions."""
        alone = len(positions) == 1
        moved = False
        for address, position in positions.items():
            if address in self._words and self._follows(address, position, alone):
                self._positions[address] = position
                self._words[address] = wire.word(address, position)
                self._jumps.discard(address)
                moved = True
        if moved:
            self.id = self._joined()

    def jump(self) -> None:
        """Messages are missing."""
        self._jumps.update(self._words)

    def _follows(self, address: str, position: Position, alone: bool) -> bool:
        before = self._positions[address]
        if before is None or before.epoch != position.epoch:
            return True
        if alone or address in self._jumps:
            return position.offset > before.offset
        return position.offset == before.offset + 1

    def _joined(self) -> bytes:
        return ",".join(self._words.values()).encode()
