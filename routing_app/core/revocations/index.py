"""The revoked names in the memory of a worker: 9 bytes for most of them, and a lookup of a microsecond.

A name that is found here is asked of the database, which knows until when and from when on: so a name of a
revocation that was lifted, or is over, may stay without harm, and a hash in place of the name is enough.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

from routing_app.core.revocations.names import Carried, Kind, Name, address_bits, network_bits, network_of

HEAD: Final = {4: 16, 6: 32}
"""Bits of an address, by version, by which the lengths of the networks that begin with them are known."""
BUCKET_BITS: Final = 12
SHIFT: Final = 64 - BUCKET_BITS
HASH: Final = 2**64 - 1


class HashSet:
    """A set of hashes of 64 bits, sorted in 4096 arrays: a `set` would take eight times the memory."""

    def __init__(self) -> None:
        self._buckets = [array("Q") for _ in range(2**BUCKET_BITS)]
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __contains__(self, hashed: int) -> bool:
        bucket = self._buckets[hashed >> SHIFT]
        place = bisect_left(bucket, hashed)
        return place < len(bucket) and bucket[place] == hashed

    def add(self, hashed: int) -> None:
        """Add a hash."""
        bucket = self._buckets[hashed >> SHIFT]
        place = bisect_left(bucket, hashed)
        if place == len(bucket) or bucket[place] != hashed:
            bucket.insert(place, hashed)
            self._size += 1

    def discard(self, hashed: int) -> None:
        """Remove a hash that may be there."""
        bucket = self._buckets[hashed >> SHIFT]
        place = bisect_left(bucket, hashed)
        if place < len(bucket) and bucket[place] == hashed:
            del bucket[place]
            self._size -= 1


class Index:
    """Names; true when there is one. For its event loop alone."""

    def __init__(self, names: Iterable[Name] = ()) -> None:
        self._hashes = HashSet()
        self._networks: dict[int, dict[int, set[int]]] = {4: {}, 6: {}}
        """By version and length of the prefix."""
        self._lengths: dict[int, dict[int, tuple[int, ...]]] = {4: {}, 6: {}}
        """By version and head, the lengths that are no shorter than a head: a look for each may be many."""
        self._short: dict[int, tuple[int, ...]] = {4: (), 6: ()}
        """By version, the other lengths."""
        self._network_count = 0
        for name in names:
            self.add(name)

    def __len__(self) -> int:
        return len(self._hashes) + self._network_count

    def add(self, name: Name) -> None:
        """Add a name."""
        if name.kind is not Kind.NETWORK:
            self._hashes.add(_hash(*name))
            return
        version, value, length = network_bits(name.value)
        networks = self._networks[version].get(length)
        if networks is None:
            networks = self._networks[version][length] = set()
            if length < HEAD[version]:
                self._short[version] = (*self._short[version], length)
        self._network_count -= len(networks)
        networks.add(value)
        self._network_count += len(networks)
        if (beyond := length - HEAD[version]) >= 0:
            lengths, head = self._lengths[version], value >> beyond
            known = lengths.get(head, ())
            if length not in known:
                lengths[head] = (*known, length)

    def discard(self, name: Name) -> None:
        """Remove a name that may be there."""
        if name.kind is not Kind.NETWORK:
            self._hashes.discard(_hash(*name))
            return
        version, value, length = network_bits(name.value)
        networks = self._networks[version].get(length, set())
        if value in networks:
            networks.discard(value)
            self._network_count -= 1

    def find(self, carried: Iterable[Carried]) -> set[Name]:
        """The names in here that concern a client."""
        found = set()
        for kind, value, _ in carried:
            if kind is Kind.NETWORK:
                if self._network_count:
                    found.update(self._networks_around(value))
            elif _hash(kind, value) in self._hashes:
                found.add(Name(kind, value))
        return found

    def _networks_around(self, host: str) -> list[Name]:
        address = address_bits(host)
        if address is None:
            return []
        version, value, bits = address
        networks = self._networks[version]
        lengths = self._lengths[version].get(value >> (bits - HEAD[version]), ())
        return [
            Name(Kind.NETWORK, network_of(address, length))
            for length in (*self._short[version], *lengths)
            if value >> (bits - length) in networks[length]
        ]


def _hash(kind: str, value: str) -> int:
    # Strings hash with a secret of the process: nobody can choose names that collide.
    return hash(kind + value) & HASH
