"""Headers in which reverse proxies name the client: read only from the addresses of trusted proxies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

UNIX = "unix"
"""Stands for the peer of a Unix socket, which has no address."""


class Proxies:
    """The trusted proxies: addresses, networks, and the word `unix`. Raises ValueError for anything else."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        self._networks: list[IPv4Network | IPv6Network] = []
        self._unix = False
        for word in words:
            if word == UNIX:
                self._unix = True
            else:
                self._networks.append(ip_network(word, strict=False))

    def trust(self, host: str) -> bool:
        """True for the address of a trusted proxy."""
        if host == UNIX:
            return self._unix
        address = _parse(host) if self._networks else None
        return address is not None and any(address in network for network in self._networks)

    def client(self, peer: str, forwarded_for: Sequence[bytes]) -> str:
        """The client's address: the last of X-Forwarded-For that no trusted proxy has, `peer` without one.

        Each proxy appends the address it sees, so a client can invent everything to the left of the first
        untrusted one.
        """
        client = peer
        words = b",".join(forwarded_for).decode("latin-1").split(",")
        for word in reversed([word.strip() for word in words if word.strip()]):
            address = _parse(_without_port(word))
            if address is None:
                break
            client = str(address)
            if not self.trust(client):
                break
        return client

    def port(self, forwarded_port: Sequence[bytes]) -> int:
        """The client's port by the header of the nearest proxy; 0 without a valid one."""
        word = _nearest(forwarded_port)
        return int(word) if word.isascii() and word.isdecimal() and len(word) <= 5 else 0

    def scheme(self, forwarded_proto: Sequence[bytes]) -> str:
        """The scheme by the header of the nearest proxy, lower-cased; empty without a valid one."""
        word = _nearest(forwarded_proto).lower()
        return word if word in ("http", "https", "ws", "wss") else ""


def _nearest(values: Sequence[bytes]) -> str:
    """The last word of a header: the nearest proxy has appended it."""
    return values[-1].decode("latin-1").rpartition(",")[2].strip() if values else ""


def _without_port(word: str) -> str:
    if word.startswith("["):
        return word[1:].partition("]")[0]
    return word.partition(":")[0] if word.count(":") == 1 else word


def _parse(host: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(host)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address
