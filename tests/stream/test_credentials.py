"""Access tokens and limited API keys on `/api/stream`: what each may read, and for how long."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any, Final

import pytest

from tests.services.databases import Databases
from tests.services.issuing import add_issuer, add_key, bad_tokens, token
from tests.services.running import running
from tests.services.server import Server
from tests.stream.conftest import publish
from tests.stream.reader import Reader, reading

LIVES: Final = (5, 30, 90)
"""Seconds of a token that is to expire. A busy machine may need more before its stream has begun."""


@pytest.fixture(scope="module")
def server(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(databases, tmp_path_factory.mktemp("stream"), HISTORY_SIZE="50") as one:
        add_issuer(one)
        yield one


def bearer(credential: str) -> dict[str, Any]:
    return {"headers": {"Authorization": f"Bearer {credential}"}}


def by_query(credential: str) -> dict[str, Any]:
    return {"headers": {}, "access_token": credential}


def status(server: Server, *addresses: str, **options: Any) -> int:
    with Reader(server, *addresses, **options) as reader:
        return reader.status


@pytest.mark.parametrize("way", [bearer, by_query])
def test_a_token_reads_what_it_may_subscribe_to(server: Server, a: str, b: str, way: Any) -> None:
    with reading(server, a, **way(token([a]))) as reader:
        publish(server, "one", a)
        assert reader.messages(1) == ["one"]
    assert status(server, a, b, **way(token([a, f"{b}x"]))) == 403
    assert status(server, a, **way(token([], ["*"]))) == 403
    assert status(server, a, b, **way(token(["token:*"]))) == 200


@pytest.mark.parametrize("name", ["expired", "unknown issuer", "other secret", "not a JWT"])
def test_a_bad_token_is_refused(server: Server, a: str, name: str) -> None:
    bad = bad_tokens()[name]
    assert status(server, a, **by_query(bad)) == 401
    assert status(server, a, **bearer(bad)) == 401


def test_a_key_reads_its_addresses(server: Server, a: str, b: str) -> None:
    key = add_key(server, "limited", ["read"], [a])
    assert status(server, a, headers={"X-API-Key": key}) == 200
    assert status(server, a, b, headers={"X-API-Key": key}) == 403


def expiring(stack: ExitStack, server: Server, address: str, published: list[Any]) -> Reader:
    """A stream that has brought a message, and whose token expires soon; all messages are noted."""
    for seconds in LIVES:
        soon = token([address], exp=int(time.time()) + seconds)
        reader = stack.enter_context(Reader(server, address, **bearer(soon)))
        with suppress(EOFError):
            if reader.status == 200 and reader.opened():
                publish(server, seconds, address)
                published.append(seconds)
                assert reader.messages(1) == [seconds]
                return reader
    raise AssertionError(f"of the tokens none lived long enough: {LIVES}")


def test_a_token_that_expires_ends_its_stream_in_order(server: Server, a: str) -> None:
    late, published = token([a]), list[Any]()
    with ExitStack() as stack, reading(server, a, **bearer(late)) as lasting:
        ending = expiring(stack, server, a, published)
        assert ending.rest() == []
        publish(server, "two", a)
        assert lasting.messages(len(published) + 1) == [*published, "two"]
        last = ending.last_event_id
    with reading(server, a, **bearer(late), last_event_id=last) as again:
        assert again.messages(1) == ["two"]


def test_a_key_whose_addresses_change_reads_no_longer(server: Server, a: str, b: str) -> None:
    key = add_key(server, "changing", ["read"], [a, b])
    with (
        reading(server, a, headers={"X-API-Key": key}) as lasting,
        reading(server, a, b, headers={"X-API-Key": key}) as ending,
    ):
        change = "from routing_app.core.models import ApiKey; ApiKey.objects.filter(name='changing')"
        server.manage("shell", "-v0", "-c", f"{change}.update(addresses=['{a}'])")
        assert ending.rest() == []
        publish(server, "on", a)
        assert lasting.messages(1) == ["on"]
