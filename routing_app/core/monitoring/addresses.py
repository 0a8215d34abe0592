"""The addresses of one worker that have subscribers, or to which something is published, for lists of all."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from routing_app.core.delivery.connection import NO_ENCODER
from routing_app.core.delivery.holds import HELD
from routing_app.core.monitoring.paging import Smallest
from routing_app.core.monitoring.rates import AddressRates

if TYPE_CHECKING:
    from routing_app.core.delivery.hub import Hub

SLICE: Final = 1_000
SORTS: Final = ("subscribers", "rate")
FEW: Final = 2_000
"""A worker with so many addresses that match sends all of them: then the order of all workers is exact."""
Numbers = list[Any]
"""Of one address in one worker: `[{protocol: subscribers}, publications, publications a second]`."""


@dataclass(frozen=True, slots=True)
class AddressQuery:
    """Filters, each empty for none. `search` is a part of an address; of the kinds in `masked`, whose names
    the reader may not see, a whole address.
    """

    search: str = ""
    kind: str = ""
    sort: str = "subscribers"
    masked: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """For another worker."""
        return asdict(self)

    @property
    def is_of_all(self) -> bool:
        """True without a filter."""
        return not (self.kind or self.search)

    def matches(self, address: str) -> bool:
        """True for an address that is looked for."""
        kind = address.partition(":")[0]
        if self.kind and kind != self.kind:
            return False
        if not self.search:
            return True
        return self.search == address if kind in self.masked else self.search in address


async def select(
    hub: Hub, rates: AddressRates, query: AddressQuery, depth: int, few: int = FEW
) -> dict[str, Any]:
    """`{"count", "complete", "rows": [[-value, address, subscribers]]}`: all that match where they are few,
    else the first `depth` by what this worker alone knows.
    """
    recent = rates.recent()
    addresses = [*hub.addresses(), *(one for one in recent if not hub.has(one))]
    everything = query.is_of_all
    # Of all, one knows before that they are not few.
    enough = depth if everything and len(addresses) > few else max(depth, few)
    count, found = 0, Smallest[int](enough)
    for start in range(0, len(addresses), SLICE):
        matching = addresses[start : start + SLICE]
        if not everything:
            matching = [one for one in matching if query.matches(one)]
        count += len(matching)
        counted = ((one, hub.count(one)) for one in matching)
        if query.sort == "rate":
            found.offer(((-recent.get(one, 0), one), subscribers) for one, subscribers in counted)
        else:
            found.offer(((-subscribers, one), subscribers) for one, subscribers in counted)
        await asyncio.sleep(0)
    complete = count <= few
    rows = found.rows()[: None if complete else depth]
    return {
        "count": count,
        "complete": complete,
        "rows": [[*key, subscribers] for key, subscribers in rows],
    }


def numbers_of(hub: Hub, rates: AddressRates, addresses: list[str]) -> list[Numbers]:
    """The numbers of some addresses in this worker."""
    recent, seconds = rates.recent(), rates.seconds
    return [[_subscribers(hub, one), rates.published(one), recent.get(one, 0) / seconds] for one in addresses]


def _subscribers(hub: Hub, address: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    for encoder, members in hub.subscribers(address).items():
        # An encoder is one protocol's, but for two that stand for none: 10,000 members need not be asked.
        if encoder is HELD or encoder is NO_ENCODER:
            for one in members:
                counts[one.protocol] = counts.get(one.protocol, 0) + 1
        elif members:
            protocol = next(iter(members)).protocol
            counts[protocol] = counts.get(protocol, 0) + len(members)
    return counts
