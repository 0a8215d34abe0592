"""How the last connections of a network ended."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from time import time
from typing import Any, Final

from routing_app.core.monitoring.counters import is_of_clients

NETWORKS: Final = 1000
"""Networks that are remembered; of more, those without an end for the longest time are forgotten."""
KEPT: Final = 10
"""Ends of each network."""
PREFIXES: Final = {4: 24, 6: 64}


@lru_cache(maxsize=4096)
def network_of(host: str) -> str:
    """The network of an address, a /24 or a /64; the host itself where it is not an address."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(ip_network((address, PREFIXES[address.version]), strict=False))


class Closes:
    """The last ends of connections, by network."""

    def __init__(self) -> None:
        self._kept: dict[str, list[tuple[float, int, str, str]]] = {}

    def note(self, host: str, code: int, name: str, protocol: str) -> None:
        """A connection has ended."""
        if not is_of_clients(protocol):
            return
        network = network_of(host)
        # Taken out and put back: the first key is the one without an end for the longest time.
        ends = self._kept.pop(network, [])
        self._kept[network] = [*ends[1 - KEPT :], (time(), code, name, protocol)]
        if len(self._kept) > NETWORKS:
            del self._kept[next(iter(self._kept))]

    def of(self, host: str) -> list[dict[str, Any]]:
        """The last ends in the network of an address, the oldest first."""
        return [
            {"at": at, "code": code, "name": name, "protocol": protocol}
            for at, code, name, protocol in self._kept.get(network_of(host), ())
        ]
