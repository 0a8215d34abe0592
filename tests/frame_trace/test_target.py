"""Targets: what they match, what is refused, and what the audit log says of them."""

from __future__ import annotations

import asyncio

import pytest

from routing_app.core.delivery.connection import Connection, Peer, new_id
from routing_app.core.delivery.outbox import Flusher
from routing_app.core.frame_trace.target import BadTarget, Target
from tests.core.harness import PLAIN, Recorder

pytestmark = pytest.mark.once

WORKER = "0123456789abcdef"


@pytest.fixture
async def connection() -> Connection:
    flusher = Flusher(asyncio.get_running_loop())
    connection = Connection(
        new_id(WORKER), "test", Recorder(), flusher, PLAIN, Peer("::ffff:192.0.2.7", 1234)
    )
    connection.identity = "alice"
    connection.addresses["token:abc"] = 0.0
    return connection


@pytest.mark.parametrize(
    ("kind", "value", "matches"),
    [
        ("identity", "alice", True),
        ("identity", "ali", False),
        ("network", "192.0.2.0/24", True),
        ("network", "192.0.2.7", True),
        ("network", "::ffff:192.0.2.0/120", True),
        ("network", "192.0.2.8", False),
        ("network", "2001:db8::/32", False),
        ("address", "token:abc", True),
        ("address", "token:ab", False),
    ],
)
async def test_a_target_matches_its_connections(connection: Connection, kind: str, value: str, matches: bool):
    assert Target.of(kind, value).matches(connection) is matches


async def test_a_connection_is_named_by_its_id_or_its_address(connection: Connection):
    by_id, by_address = (
        Target.of("connection", connection.id),
        Target.of("address", f"connection:{connection.id}"),
    )
    assert by_id == by_address
    assert by_id.matches(connection)
    assert not Target.of("connection", new_id(WORKER)).matches(connection)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("connection", "nothing"),
        ("identity", ""),
        ("identity", "a\nb"),
        ("identity", "x" * 600),
        ("identity", 7),
        ("identity", None),
        ("network", "192.0.2.0/33"),
        ("network", "fe80::1%eth0"),
        ("network", "example.org"),
        ("address", "abc"),
        ("address", "nothing:abc"),
        ("address", "token:"),
    ],
)
def test_anything_else_is_refused_with_a_sentence(kind: str, value: object):
    with pytest.raises(BadTarget, match=r"expected|written|unknown"):
        Target.of(kind, value)


def test_secrets_are_masked_for_the_audit_log():
    assert Target.of("identity", "secret-token").masked == "identity se… (12)"
    assert "secret" not in Target.of("address", "token:secret-token").masked
    assert Target.of("network", "192.0.2.7").masked == "network 192.0.2.7/32"
    assert Target.of("address", "channel:news").masked == "address channel:news"
