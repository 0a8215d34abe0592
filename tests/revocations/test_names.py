"""Names that are revoked, and the index of them in memory: pure."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing_app.core.access.grants import NOBODY, Grant, GrantKind
from routing_app.core.delivery.connection import Peer
from routing_app.core.revocations.index import HashSet, Index
from routing_app.core.revocations.names import (
    Carried,
    Kind,
    Name,
    Row,
    address_bits,
    holds,
    named_by,
    network_bits,
    network_name,
    of_grant,
    of_peer,
)

pytestmark = pytest.mark.once

HASHES = st.integers(0, 2**64 - 1) | st.integers(0, 20).map(lambda n: n << 52)
ADDRESSES = st.ip_addresses()
WORDS = st.text("ab", min_size=1, max_size=2)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("10.1.2.3", "10.1.2.3/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:DB8:0::/32", "2001:db8::/32"),
        ("::ffff:10.1.2.3", "10.1.2.3/32"),
        ("::ffff:10.1.0.0/112", "10.1.0.0/16"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::/0", "::/0"),
    ],
)
def test_a_network_has_one_form(text: str, name: str):
    assert network_name(text) == name


HOSTS = ADDRESSES.map(str) | st.sampled_from(["::ffff:10.1.2.3", "fe80::1%eth0", "/run/a.sock", "", "10.0.0"])


@given(ADDRESSES, st.integers(0, 128), HOSTS)
def test_a_network_holds_the_same_addresses_quickly(first: IPv4Address | IPv6Address, bits: int, host: str):
    name = network_name(f"{first}/{min(bits, first.max_prefixlen)}")
    address = address_bits(host)
    expected = address is not None and network_bits(name).hold(address)
    assert holds(name)(host) is expected
    if address is not None and address.length == first.max_prefixlen:
        assert holds(network_name(host.partition("%")[0]))(host)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10.0.0.0/33",
        "somewhere",
        "10.0.0",
        "fe80::1%eth0/zz",
        "fe80::1%eth0",
        "fe80::%eth0/64",
        "1.2.3.4/8/8",
    ],
)
def test_what_is_no_network_is_refused(text: str):
    with pytest.raises(ValueError, match="."):
        network_name(text)


@given(st.sets(HASHES), st.sets(HASHES))
def test_a_set_of_hashes_holds_what_was_added_and_not_what_was_discarded(added: set[int], out: set[int]):
    hashes = HashSet()
    for one in [*added, *added]:
        hashes.add(one)
    assert len(hashes) == len(added)
    for one in out:
        hashes.discard(one)
    assert {one for one in added | out if one in hashes} == added - out
    assert len(hashes) == len(added - out)


@given(st.lists(ADDRESSES, min_size=1), st.integers(0, 32), st.integers(0, 128), ADDRESSES)
def test_an_address_is_found_by_every_network_around_it(
    addresses: list[IPv4Address | IPv6Address], four: int, six: int, other: IPv4Address | IPv6Address
):
    networks = {network_name(f"{address}/{four if address.version == 4 else six}") for address in addresses}
    index = Index(Name(Kind.NETWORK, network) for network in networks)
    for address in [*addresses, other]:
        plain = ip_address(address)
        if isinstance(plain, IPv6Address) and plain.ipv4_mapped is not None:
            plain = plain.ipv4_mapped
        around = {Name(Kind.NETWORK, name) for name in networks if plain in ip_network(name)}
        assert index.find([Carried(Kind.NETWORK, str(address))]) == around
    assert len(index) == len(networks)


def test_the_address_of_an_ipv6_socket_is_found_as_ipv4():
    index = Index([Name(Kind.NETWORK, "10.0.0.0/8")])
    assert index.find([Carried(Kind.NETWORK, "::ffff:10.1.2.3")])
    assert not index.find([Carried(Kind.NETWORK, "::ffff:11.1.2.3")])
    assert index.find([Carried(Kind.NETWORK, "10.1.2.3%eth0")])
    assert not index.find([Carried(Kind.NETWORK, "/run/some.sock"), Carried(Kind.NETWORK, "")])


@given(st.sets(st.tuples(st.sampled_from([Kind.SUBJECT, Kind.JTI, Kind.TOKEN, Kind.KEY]), WORDS)), WORDS)
def test_a_name_is_found_by_its_kind_and_value(names: set[tuple[Kind, str]], value: str):
    index = Index(Name(*name) for name in names)
    for kind in (Kind.SUBJECT, Kind.JTI, Kind.TOKEN, Kind.KEY):
        assert bool(index.find([Carried(kind, value)])) is ((kind, value) in names)
    for name in names:
        index.discard(Name(*name))
    assert not index


def test_a_discarded_network_is_not_found():
    index = Index([Name(Kind.NETWORK, "10.0.0.0/8"), Name(Kind.NETWORK, "10.0.0.0/16")])
    index.discard(Name(Kind.NETWORK, "10.0.0.0/8"))
    index.discard(Name(Kind.NETWORK, "10.0.0.0/9"))
    assert index.find([Carried(Kind.NETWORK, "10.0.0.1")]) == {Name(Kind.NETWORK, "10.0.0.0/16")}
    assert not index.find([Carried(Kind.NETWORK, "10.9.0.1")])


@pytest.mark.parametrize(
    ("row", "carried", "now", "concerned"),
    [
        (Row(1, Name(Kind.SUBJECT, "a")), Carried(Kind.SUBJECT, "a"), 0.0, True),
        (Row(1, Name(Kind.SUBJECT, "a")), Carried(Kind.JTI, "a"), 0.0, False),
        (Row(1, Name(Kind.SUBJECT, "a"), until=9.0), Carried(Kind.SUBJECT, "a"), 8.9, True),
        (Row(1, Name(Kind.SUBJECT, "a"), until=9.0), Carried(Kind.SUBJECT, "a"), 9.0, False),
        (Row(1, Name(Kind.SUBJECT, "a"), 5.0), Carried(Kind.SUBJECT, "a", 4.9), 0.0, True),
        (Row(1, Name(Kind.SUBJECT, "a"), 5.0), Carried(Kind.SUBJECT, "a", 5.0), 0.0, False),
        (Row(1, Name(Kind.SUBJECT, "a"), 5.0), Carried(Kind.SUBJECT, "a"), 0.0, True),
        (Row(1, Name(Kind.NETWORK, "10.0.0.0/8")), Carried(Kind.NETWORK, "10.9.9.9"), 0.0, True),
        (Row(1, Name(Kind.NETWORK, "10.0.0.0/8")), Carried(Kind.NETWORK, "::ffff:10.9.9.9"), 0.0, True),
        (Row(1, Name(Kind.NETWORK, "10.0.0.0/8")), Carried(Kind.NETWORK, "::a09:909"), 0.0, False),
        (Row(1, Name(Kind.NETWORK, "10.0.0.0/8")), Carried(Kind.NETWORK, "/run/socket"), 0.0, False),
    ],
)
def test_a_row_concerns_by_kind_value_and_time(row: Row, carried: Carried, now: float, concerned: bool):
    assert row.concerns(carried, now) is concerned
    assert Row.unpack(json.loads(json.dumps(row.packed()))) == row


def test_a_grant_carries_what_its_credential_says():
    token = Grant(GrantKind.TOKEN, subject="u", jti="j", issued_at=7.0)
    assert list(of_grant(token)) == [Carried(Kind.SUBJECT, "u", 7.0), Carried(Kind.JTI, "j", 7.0)]
    assert list(of_grant(Grant(GrantKind.KEY, key_prefix="sb_12345"))) == [Carried(Kind.KEY, "sb_12345")]
    assert list(of_grant(NOBODY)) == []
    assert list(of_peer(Peer())) == []
    assert list(of_peer(Peer("10.0.0.1", 1))) == [Carried(Kind.NETWORK, "10.0.0.1")]


def test_every_network_of_an_address_names_it():
    names = named_by([Carried(Kind.NETWORK, "10.0.0.1"), Carried(Kind.JTI, "j", -inf)])
    assert len(names) == 33 + 1
    assert {Name(Kind.NETWORK, "10.0.0.1/32"), Name(Kind.NETWORK, "0.0.0.0/0"), Name(Kind.JTI, "j")} <= names
