"""Seats: how many connections a worker holds, in all and per network address; and how an address counts."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address

from django.conf import settings


def counted_as(host: str) -> str:
    """The name under which a client's network address counts in every limit per address.

    A client has one IPv4 address but a whole network of IPv6 ones, so those count by prefix (IPV6_PREFIX).
    """
    return _network(host, settings.IPV6_PREFIX) if ":" in host else host


@lru_cache(maxsize=4096)
def _network(host: str, prefix: int) -> str:
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Network((address, prefix), strict=False))


class Seats:
    """Counts open connections, in all and per network address; 0 sets no bound per address."""

    def __init__(self, total: int, per_peer: int = 0) -> None:
        self._total = total
        self._per_peer = per_peer
        self._taken = 0
        self._by_peer: dict[str, int] = {}

    @property
    def taken(self) -> int:
        """Open connections."""
        return self._taken

    def take(self, host: str) -> bool:
        """Seat one more connection of `host`; False when there is no room for it."""
        host = counted_as(host)
        mine = self._by_peer.get(host, 0)
        if self._taken >= self._total or (self._per_peer and host and mine >= self._per_peer):
            return False
        self._taken += 1
        self._by_peer[host] = mine + 1
        return True

    def leave(self, host: str) -> None:
        """Give back a seat that `take` granted."""
        host = counted_as(host)
        left = self._by_peer[host] - 1
        self._taken -= 1
        if left:
            self._by_peer[host] = left
        else:
            del self._by_peer[host]
