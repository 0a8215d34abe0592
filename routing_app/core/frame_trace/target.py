"""The connections that a trace follows: one, or those of an identity, a network or an address."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

from routing_app.core.access.masking import SecretAccess, mask, shown_address
from routing_app.core.address import MAX_LENGTH, AddressError, checked, worker_of
from routing_app.core.delivery.connection import Connection
from routing_app.core.revocations.names import Bits, address_bits, network_bits, network_name

OWN: Final = "connection:"
"""Beginning of the address of a connection itself, which it is not subscribed to."""
NOTHING: Final = SecretAccess()


class TargetKind(StrEnum):
    """The ways to name connections."""

    CONNECTION = "connection"
    IDENTITY = "identity"
    NETWORK = "network"
    ADDRESS = "address"


class BadTarget(ValueError):
    """A target that names no connections, with a sentence for the caller."""


@dataclass(frozen=True, slots=True)
class Target:
    """The connections with this id, identity, network (CIDR) or address."""

    kind: TargetKind
    value: str

    @classmethod
    def of(cls, kind: str, value: Any) -> Target:
        """A target from what an operator has named. Raises BadTarget."""
        if not isinstance(value, str) or not value or len(value) > MAX_LENGTH or not value.isprintable():
            raise BadTarget(f"expected 1 to {MAX_LENGTH} printable characters")
        return CHECKS[TargetKind(kind)](value)

    def matches(self, connection: Connection) -> bool:
        """True when a connection is followed, as it is now."""
        match self.kind:
            case TargetKind.CONNECTION:
                return connection.id == self.value
            case TargetKind.IDENTITY:
                return connection.identity == self.value
            case TargetKind.ADDRESS:
                return self.value in connection.addresses
            case TargetKind.NETWORK:
                address = address_bits(connection.peer.host)
                return address is not None and _network(self.value).hold(address)

    @property
    def masked(self) -> str:
        """The target for the audit log and for logs."""
        match self.kind:
            case TargetKind.IDENTITY:  # a token, where identities let clients in
                return f"{self.kind} {mask(self.value)}"
            case TargetKind.ADDRESS:
                return f"{self.kind} {shown_address(NOTHING, self.value)}"
        return f"{self.kind} {self.value}"


def _connection(value: str) -> Target:
    if not worker_of(value):
        raise BadTarget("expected the id of a connection")
    return Target(TargetKind.CONNECTION, value)


def _identity(value: str) -> Target:
    return Target(TargetKind.IDENTITY, value)


def _address(value: str) -> Target:
    if value.startswith(OWN):
        return _connection(value.removeprefix(OWN))
    kind, colon, name = value.partition(":")
    if not colon or not name:
        raise BadTarget("an address is written kind:name")
    try:
        return Target(TargetKind.ADDRESS, checked(kind, name))
    except AddressError as error:
        raise BadTarget(str(error)) from None


def _named_network(value: str) -> Target:
    try:
        return Target(TargetKind.NETWORK, network_name(value))
    except ValueError:
        raise BadTarget("expected a network address, or a network such as 192.0.2.0/24") from None


@lru_cache(maxsize=64)
def _network(value: str) -> Bits:
    return network_bits(value)


CHECKS: Final[dict[TargetKind, Callable[[str], Target]]] = {
    TargetKind.CONNECTION: _connection,
    TargetKind.IDENTITY: _identity,
    TargetKind.NETWORK: _named_network,
    TargetKind.ADDRESS: _address,
}
