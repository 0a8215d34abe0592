"""Which IP addresses a call may go to: those of the internet, not of the server's own network."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

_INTERNET: Final = IPv6Network("2000::/3")
"""Global unicast; all else of IPv6 is local, reserved or not in use."""
_NAT64: Final = IPv6Network("64:ff9b::/96")
_6TO4: Final = IPv6Network("2002::/16")
_SERVICES: Final = (
    IPv4Network("168.63.129.16/32"),  # Azure's own service for its machines, with metadata
    IPv4Network("192.0.0.0/24"),  # for protocols; one is Oracle's service with metadata
    IPv4Network("192.88.99.0/24"),  # relays of 6to4
)
"""Addresses that look public and are answered inside a network."""
_LOOPBACK: Final = "localhost"
"""Never of the internet (RFC 6761, section 6.3), nor is a name below it, however it resolves."""


def is_loopback_name(host: str) -> bool:
    """True for `localhost` and the names below it, also with the final dot."""
    name = host.lower().removesuffix(".")
    return name == _LOOPBACK or name.endswith(f".{_LOOPBACK}")


def is_public(address: str) -> bool:
    """False for loopback, private, link-local (with the metadata of clouds), shared, multicast and reserved
    addresses, also where IPv6 has one of IPv4 inside. Raises ValueError for text that is not an address.
    """
    ip = ip_address(address)
    if isinstance(ip, IPv4Address):
        return _is_public_v4(ip)
    if ip.ipv4_mapped is not None:
        return _is_public_v4(ip.ipv4_mapped)
    if ip in _NAT64:
        return _is_public_v4(IPv4Address(ip.packed[-4:]))
    if ip in _6TO4:
        return _is_public_v4(IPv4Address(ip.packed[2:6]))
    return _is_public_v6(ip)


def _is_public_v4(ip: IPv4Address) -> bool:
    if ip.is_multicast or ip.is_reserved or not ip.is_global:
        return False
    return not any(ip in network for network in _SERVICES)


def _is_public_v6(ip: IPv6Address) -> bool:
    return ip in _INTERNET and ip.is_global
