"""Forwarded headers are read from trusted addresses only."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard_server.proxy import Proxies
from tests.server.plain import Plain, PlainFactory

pytestmark = pytest.mark.once

TRUSTED = Proxies(["127.0.0.1", "10.0.0.0/8", "2001:db8::/32", "unix"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", [b"192.0.2.7"], "192.0.2.7"),
        ("127.0.0.1", [b"192.0.2.7:4711"], "192.0.2.7"),
        ("127.0.0.1", [b"[2001:db9::1]:4711"], "2001:db9::1"),
        ("::ffff:127.0.0.1", [b"192.0.2.7"], "192.0.2.7"),
        ("unix", [b"192.0.2.7"], "192.0.2.7"),
        # A header that the client itself sends stands on the left.
        ("127.0.0.1", [b"127.0.0.1, 192.0.2.7"], "192.0.2.7"),
        ("127.0.0.1", [b"203.0.113.9, 192.0.2.7, 10.1.2.3"], "192.0.2.7"),
        ("127.0.0.1", [b"203.0.113.9", b"192.0.2.7"], "192.0.2.7"),
        ("127.0.0.1", [b"unknown"], "127.0.0.1"),
        ("127.0.0.1", [b"evil, 10.1.2.3"], "10.1.2.3"),
    ],
)
def test_the_client_is_the_last_address_that_no_proxy_has(
    peer: str, forwarded: list[bytes], client: str
) -> None:
    assert TRUSTED.trust(peer)
    assert TRUSTED.client(peer, forwarded) == client


@given(st.lists(st.binary()), st.lists(st.binary()))
def test_no_header_breaks_it(forwarded: list[bytes], proto: list[bytes]) -> None:
    assert isinstance(TRUSTED.client("127.0.0.1", forwarded), str)
    assert TRUSTED.scheme(proto) in ("", "http", "https", "ws", "wss")


@pytest.mark.parametrize("host", ["192.0.2.1", "", "localhost", "11.0.0.1", "2001:db9::1"])
def test_nobody_else_is_trusted(host: str) -> None:
    assert not TRUSTED.trust(host)
    assert not Proxies().trust(host)


HEADERS = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}


def test_a_trusted_proxy_speaks_for_its_clients(plain: PlainFactory) -> None:
    server = plain("--trusted-proxies", "127.0.0.0/8")
    stats = server.get(**HEADERS)
    assert (stats["client"], stats["scheme"]) == (["192.0.2.7", 0], "https")


async def test_other_peers_keep_their_own_address(shared: Plain) -> None:
    stats = await shared.stats(**HEADERS)
    assert (stats["client"][0], stats["scheme"]) == ("127.0.0.1", "http")
    async with shared.open("/whoami", additional_headers=HEADERS) as client:
        said = json.loads(await client.recv())
    assert (said["client"][0], said["scheme"]) == ("127.0.0.1", "ws")
