"""How much is published to which address, counted while somebody watches."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Final

from routing_app.core.delivery.publication import INTERNAL, Publication

SECONDS: Final = 10
"""Rates are those of so many seconds."""
ADDRESSES: Final = 100_000
"""Addresses that are counted; a publication to more is not."""


class AddressRates:
    """Publications of one worker by address: all since it began to count, and those of the last seconds."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._begun = clock()
        self._total: dict[str, int] = {}
        self._slots: list[tuple[int, dict[str, int]]] = []
        """Counts by second, the oldest first; at most SECONDS + 1 of them."""

    def note(self, publication: Publication) -> None:
        """Something is published."""
        if publication.event.startswith(INTERNAL):
            return
        counts, total = self._now(), self._total
        for address in publication.addresses:
            if address in total:
                total[address] += 1
            elif len(total) < ADDRESSES:
                total[address] = 1
            else:
                continue
            counts[address] = counts.get(address, 0) + 1

    def published(self, address: str) -> int:
        """Publications to an address since the count began."""
        return self._total.get(address, 0)

    def recent(self) -> dict[str, int]:
        """Publications of the last SECONDS seconds by address, of this second so far too."""
        self._now()
        found: dict[str, int] = {}
        for _, counts in self._slots:
            for address, count in counts.items():
                found[address] = found.get(address, 0) + count
        return found

    @property
    def seconds(self) -> float:
        """The time that `recent` spans; less than SECONDS just after the count began."""
        return max(1.0, min(SECONDS, self._clock() - self._begun))

    def _now(self) -> dict[str, int]:
        second = int(self._clock())
        slots = self._slots
        if not slots or slots[-1][0] != second:
            slots.append((second, {}))
            while slots[0][0] <= second - SECONDS:
                del slots[0]
        return slots[-1][1]
