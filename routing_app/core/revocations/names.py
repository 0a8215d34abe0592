"""Names that clients carry, and those that a revocation takes back; pure.

A client carries the network address that it comes from, and what its credential says: the `sub` and `jti` of
an access token, the prefix of an API key; a protocol adds its own (`Protocol.revocable`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from math import inf
from socket import AF_INET, AF_INET6, inet_pton
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from routing_app.core.delivery.connection import Peer

if TYPE_CHECKING:
    from routing_app.core.access.grants import Grant

MAPPED: Final = IPv6Network("::ffff:0:0/96")
"""IPv4 addresses as an IPv6 socket shows them."""
MAPPED_BITS: Final = 0xFFFF
"""Their first 96 bits."""
MAPPED_BYTES: Final = MAPPED.network_address.packed[:12]


class Kind(StrEnum):
    """The kinds of names, as the columns of `Revocation`."""

    SUBJECT = "subject"
    JTI = "jti"
    TOKEN = "token"  # noqa: S105 - a kind of name
    KEY = "key"
    NETWORK = "network"


class Name(NamedTuple):
    """What a revocation takes back; a network in CIDR form."""

    kind: Kind
    value: str


class Carried(NamedTuple):
    """A name that a client carries; of the kind NETWORK it is the client's address.

    `issued_at` is the Unix time at which the credential with this name was made; the default counts as before
    any other time.
    """

    kind: Kind
    value: str
    issued_at: float = -inf


class Row(NamedTuple):
    """A revocation: `until` and `issued_before` are Unix times, infinite where there is none."""

    id: int
    name: Name
    issued_before: float = inf
    until: float = inf

    def concerns(self, carried: Carried, now: float) -> bool:
        """True when a client with this name is not let in now."""
        if now >= self.until or carried.kind is not self.name.kind or carried.issued_at >= self.issued_before:
            return False
        if carried.kind is Kind.NETWORK:
            address = address_bits(carried.value)
            return address is not None and network_bits(self.name.value).hold(address)
        return carried.value == self.name.value

    def packed(self) -> list[Any]:
        """As JSON holds it."""
        bounds = (None if at == inf else at for at in (self.issued_before, self.until))
        return [self.id, *self.name, *bounds]

    @classmethod
    def unpack(cls, packed: list[Any]) -> Row:
        """The row of `packed`."""
        id, kind, value, issued_before, until = packed
        bounds = (inf if at is None else at for at in (issued_before, until))
        return cls(id, Name(Kind(kind), value), *bounds)


def of_peer(peer: Peer) -> Iterator[Carried]:
    """The name of the other end, where the server knows it."""
    if peer.host:
        yield Carried(Kind.NETWORK, peer.host)


def of_grant(grant: Grant) -> Iterator[Carried]:
    """The names of a credential."""
    if grant.subject:
        yield Carried(Kind.SUBJECT, grant.subject, grant.issued_at)
    if grant.jti:
        yield Carried(Kind.JTI, grant.jti, grant.issued_at)
    if grant.key_prefix:
        yield Carried(Kind.KEY, grant.key_prefix, grant.issued_at)


# --- networks -------------------------------------------------------------------------------------------


def network_name(text: str) -> str:
    """A network in the one form in which it is kept: no bits of a host, an IPv4 network as such.

    A single address is a network of one. Raises ValueError, also for an address with a zone (`fe80::1%eth0`):
    a client is looked for without its own.
    """
    if "%" in text:
        raise ValueError("a network has no zone")
    network: IPv4Network | IPv6Network = ip_network(text, strict=False)
    if isinstance(network, IPv6Network) and network.subnet_of(MAPPED):
        bits = int(network.network_address) & 0xFFFF_FFFF
        network = IPv4Network((bits, network.prefixlen - MAPPED.prefixlen))
    return str(network)


def is_network_name(text: str) -> bool:
    """True for an IPv4 network in that form, found out quickly; False says nothing."""
    first, _, length = text.partition("/")
    try:
        bits = int(length)
        value = int.from_bytes(inet_pton(AF_INET, first))
    except (ValueError, OSError):
        return False
    return 0 <= bits <= 32 and length == str(bits) and not value & (0xFFFF_FFFF >> bits)


class Bits(NamedTuple):
    """An address, or the beginning of those of a network: `length` bits of an IPv4 or IPv6 address."""

    version: int
    value: int
    length: int

    def hold(self, address: Bits) -> bool:
        """True when an address is in this network."""
        same = self.version == address.version
        return same and address.value >> (address.length - self.length) == self.value


def address_bits(host: str) -> Bits | None:
    """The bits of a client's address; None for what is none, such as the path of a Unix socket."""
    try:
        bits = _bits(host.partition("%")[0])
    except OSError:
        return None
    if bits.version == 6 and bits.value >> 32 == MAPPED_BITS:
        return Bits(4, bits.value & 0xFFFF_FFFF, 32)
    return bits


def holds(name: str) -> Callable[[str], bool]:
    """Tells clients' addresses that are in a network, which `network_name` has written: as `Bits.hold`, but
    quickly, for all clients of a worker."""
    version, value, length = network_bits(name)
    size, (whole, bits) = (4 if version == 4 else 16), divmod(length, 8)
    first, below, last = (value >> bits).to_bytes(whole), 8 - bits, value & ((1 << bits) - 1)

    def is_in(host: str) -> bool:
        address = _packed(host)
        return (
            len(address) == size
            and address.startswith(first)
            and (not bits or address[whole] >> below == last)
        )

    return is_in


def _packed(host: str) -> bytes:
    """The bytes of a client's address, 4 or 16; none of what is none."""
    try:
        if ":" not in host:
            return inet_pton(AF_INET, host)
        address = inet_pton(AF_INET6, host.partition("%")[0])
    except OSError:
        return b""
    return address[12:] if address.startswith(MAPPED_BYTES) else address


def network_bits(name: str) -> Bits:
    """The bits of a network that `network_name` has written."""
    first, _, length = name.partition("/")
    version, value, most = _bits(first)
    return Bits(version, value >> (most - int(length)), int(length))


def _bits(address: str) -> Bits:
    """The bits of a whole address. `ipaddress` takes ten times as long. Raises OSError."""
    if ":" in address:
        return Bits(6, int.from_bytes(inet_pton(AF_INET6, address)), 128)
    return Bits(4, int.from_bytes(inet_pton(AF_INET, address)), 32)


def network_of(address: Bits, length: int) -> str:
    """The name of the network of so many bits that an address is in."""
    shift = address.length - length
    first = address.value >> shift << shift
    return str((IPv4Network if address.version == 4 else IPv6Network)((first, length)))


def networks_around(host: str) -> list[str]:
    """The names of all networks that a client's address is in."""
    address = address_bits(host)
    return [] if address is None else [network_of(address, n) for n in range(address.length + 1)]


def named_by(carried: Iterable[Carried]) -> set[Name]:
    """Every name whose revocation could concern a client."""
    names: set[Name] = set()
    for kind, value, _ in carried:
        if kind is Kind.NETWORK:
            names.update(Name(kind, network) for network in networks_around(value))
        else:
            names.add(Name(kind, value))
    return names
