"""Rates and counts: what one connection, and one network address, may take."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address
from time import monotonic

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


class TokenBucket:
    """Allows `rate` events a second on average and `burst` at once; a rate of 0 allows everything."""

    __slots__ = ("_burst", "_clock", "_last", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = monotonic) -> None:
        self._rate = rate
        self._burst = max(burst, 1.0)
        self._clock = clock
        self._tokens = self._burst
        self._last = clock()

    def take(self) -> float:
        """Count one event; seconds to wait before it may happen, 0.0 when it may at once."""
        if not self._rate:
            return 0.0
        now = self._clock()
        # The count may go below zero. An event that has to wait is taken on credit, and the next ones wait
        # behind it: so a connection that always sends is held to the rate, without a queue.
        self._tokens = min(self._burst, self._tokens + (now - self._last) * self._rate) - 1.0
        self._last = now
        return max(0.0, -self._tokens / self._rate)

    def is_full(self) -> bool:
        """True when it allows as much at once as a new one."""
        return not self._rate or self._tokens + (self._clock() - self._last) * self._rate >= self._burst

    def try_take(self) -> float:
        """The same for what is refused rather than delayed: an event that has to wait is not counted."""
        wait = self.take()
        if wait:
            self._tokens += 1.0
        return wait


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
