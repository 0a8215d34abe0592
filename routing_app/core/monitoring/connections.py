"""The connections of one worker, filtered and sorted beside its other work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import lru_cache
from math import inf
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from routing_app.core.monitoring.counters import is_of_clients
from routing_app.core.monitoring.paging import Key, Smallest
from routing_app.core.revocations.names import holds, network_name

if TYPE_CHECKING:
    from routing_app.core.delivery.connection import Connection

SLICE: Final = 500
"""Connections looked at before other callbacks of the loop get a turn: about 0.5 ms."""
MAX_SUBSCRIPTIONS: Final = 1_000
"""Addresses of one connection that are shown."""
FIELDS: Final = (
    *("id", "protocol", "identity", "peer", "worker", "since"),
    *("received", "received_bytes", "sent", "sent_bytes", "backlog", "addresses"),
)
KNOWN_HOSTS: Final = 65_536
Matches = Callable[["Connection"], bool]


@dataclass(frozen=True, slots=True)
class Query:
    """Filters that all have to hold, each empty for none, and an order.

    `address` is one that connections are subscribed to. `search` is a part of an id, an identity or a network
    address; of the protocols in `masked`, whose identities the reader may not see, a whole identity.
    """

    protocol: str = ""
    identity: str = ""
    address: str = ""
    network: str = ""
    search: str = ""
    sort: str = "age"
    descending: bool = True
    masked: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """For another worker."""
        return asdict(self)


def backlog_of(connection: Connection) -> int:
    """Bytes that wait for the client."""
    return connection.outbox.size + connection.writer.held_bytes()


VALUES: Final[dict[str, Callable[[Any], float]]] = {
    "age": attrgetter("since"),
    "received": attrgetter("received"),
    "received_bytes": attrgetter("received_bytes"),
    "sent": attrgetter("outbox.sent"),
    "sent_bytes": attrgetter("outbox.sent_bytes"),
    "backlog": backlog_of,
}
"""What connections can be sorted by; the greatest age is the smallest `since`."""


def row_of(connection: Connection, worker: str) -> list[Any]:
    """The values of FIELDS. `identity` is whole: the asker masks it for its reader."""
    return [
        connection.id,
        connection.protocol,
        connection.identity,
        str(connection.peer),
        worker,
        connection.since,
        connection.received,
        connection.received_bytes,
        connection.outbox.sent,
        connection.outbox.sent_bytes,
        backlog_of(connection),
        len(connection.addresses),
    ]


def detail_of(connection: Connection, worker: str) -> dict[str, Any]:
    """One connection with all that is shown of it."""
    grant = connection.grant
    headers = (connection.handshake or {}).get("headers") or ()
    expires = None if grant.expires_at == inf else grant.expires_at
    agents = [value.decode("latin-1") for name, value in headers if name == b"user-agent"]
    return {
        **dict(zip(FIELDS, row_of(connection, worker), strict=True)),
        "user_agent": agents[-1] if agents else "",
        "subscriptions": list(connection.addresses)[:MAX_SUBSCRIPTIONS],
        "grant": {"kind": str(grant.kind), "name": grant.identity, "expires": expires},
        "host": connection.peer.host,
    }


async def select(
    connections: list[Connection], subscribed: Iterable[Connection] | None, query: Query, depth: int
) -> tuple[dict[str, int], list[tuple[Key, Connection]]]:
    """How many connections match, by protocol, and the first `depth` of them in their order.

    `subscribed` are the connections at the query's address, if it has one.
    """
    found = connections if subscribed is None else list(subscribed)
    matches, value = _filter_of(query), VALUES[query.sort]
    sign = 1 if query.descending is (query.sort == "age") else -1
    shown = {protocol: is_of_clients(protocol) for protocol in {one.protocol for one in found}}
    counts: dict[str, int] = {}
    smallest: Smallest[Connection] = Smallest(depth)
    for start in range(0, len(found), SLICE):
        rows = []
        for one in found[start : start + SLICE]:
            protocol = one.protocol
            if shown[protocol] and (matches is None or matches(one)):
                counts[protocol] = counts.get(protocol, 0) + 1
                rows.append(((sign * value(one), one.id), one))
        smallest.offer(rows)
        await asyncio.sleep(0)
    return counts, smallest.rows()


def check_network(text: str) -> None:
    """Raise ValueError for what is neither an address nor a network."""
    network_name(text)


def _filter_of(query: Query) -> Matches | None:
    filters: list[Matches] = []
    if query.protocol:
        filters.append(lambda one: one.protocol == query.protocol)
    if query.identity:
        filters.append(lambda one: one.identity == query.identity)
    if query.network:
        filters.append(_in_network(query.network))
    if query.search:
        filters.append(_search(query.search, frozenset(query.masked)))
    if not filters:
        return None
    return filters[0] if len(filters) == 1 else lambda one: all(matches(one) for matches in filters)


class _Hosts(dict[str, bool]):
    """Whether network addresses are in a network, by what was found out before."""

    def __init__(self, network: str) -> None:
        super().__init__()
        self._holds = holds(network)

    def __missing__(self, host: str) -> bool:
        if len(self) >= KNOWN_HOSTS:
            self.clear()
        self[host] = found = self._holds(host)
        return found


@lru_cache(maxsize=1)
def _in_network(text: str) -> Matches:
    """Kept, since a page asks for the same network again and again."""
    hosts = _Hosts(network_name(text))
    return lambda one: hosts[one.peer.host]


def _search(text: str, masked: frozenset[str]) -> Matches:
    def matches(one: Connection) -> bool:
        if text in one.id or text in one.peer.host:
            return True
        identity = one.identity
        return text == identity if one.protocol in masked else text in identity

    return matches
