"""Limits of whoever an access token or an API key names, on every protocol."""

from __future__ import annotations

import json
import secrets
from contextlib import AsyncExitStack

import pytest
from websockets.exceptions import InvalidStatus

from tests.compliance.engineio.client import Site
from tests.rate_limits.client import Socket, get, refusals
from tests.rate_limits.outages import again_if_redis_was_out, async_again_if_redis_was_out
from tests.rooms.client import SOCKET_IO
from tests.services.issuing import add_issuer, token
from tests.services.limits import limited
from tests.services.server import Server

SOCKETS = ["/ws", "/layout", "/websocket", "/connection"]


@pytest.fixture(scope="module")
def shop(broker: Server) -> Server:
    """The server, which knows the issuer of the tokens."""
    add_issuer(broker)
    return broker


@pytest.fixture
def ann() -> str:
    return token(["*"], ["*"], sub=f"ann {secrets.token_hex(4)}")


@pytest.fixture
def bob() -> str:
    return token(["*"], ["*"], sub=f"bob {secrets.token_hex(4)}")


def status(server: Server, path: str, host: str, credential: str) -> int:
    """That of a handshake."""
    try:
        Socket(server, f"{path}?access_token={credential}", host, keyed=False).close()
    except InvalidStatus as refused:
        return refused.response.status_code
    return 101


@again_if_redis_was_out()
def test_a_subject_counts_on_all_protocols_together(
    shop: Server, host: str, other_host: str, ann: str, bob: str
):
    with limited(shop, "*", "connect", "identity", burst=3):
        assert [status(shop, path, host, ann) for path in SOCKETS] == [101, 101, 101, 429]
        assert [status(shop, path, other_host, ann) for path in SOCKETS] == [429] * 4
        stream = f"/api/stream?address=token:nobody&access_token={ann}"
        assert get(shop, stream, host)[0] == 429
        assert [status(shop, path, host, bob) for path in SOCKETS[:3]] == [101] * 3


@again_if_redis_was_out()
def test_a_subject_counts_its_calls_of_the_api(shop: Server, host: str, other_host: str, ann: str, bob: str):
    path = "/api/history?address=token:nobody&access_token="
    with limited(shop, "*", "api", "identity", burst=2):
        found = [get(shop, path + ann, place)[0] for place in (host, other_host, host)]
        assert found == [found[0], found[0], 429]
        assert get(shop, path + bob, host)[0] == found[0] != 429


@pytest.mark.parametrize("version", [3, 4])
@async_again_if_redis_was_out
async def test_a_namespace_is_refused_for_the_subject_that_it_is_entered_with(
    shop: Server, host: str, ann: str, bob: str, version: int
):
    async def enter(stack: AsyncExitStack, credential: str) -> str:
        frames = await Site(shop.port, version, SOCKET_IO).socket(stack, access_token=credential)
        await frames.receive()
        if version == 3:
            assert await frames.receive() == "40"
        await frames.send("40/layout" if version == 3 else "40/layout,")
        return str(await frames.receive())

    before = refusals(shop, "rooms")
    with limited(shop, "rooms", "connect", "identity", burst=1):
        async with AsyncExitStack() as stack:
            assert (await enter(stack, ann)).startswith("40/layout")
            refused = await enter(stack, ann)
            assert refused.startswith("44/layout")
            assert "too many, try again in" in refused
            assert (await enter(stack, bob)).startswith("40/layout")
    assert refusals(shop, "rooms") - before == 1


@again_if_redis_was_out()
def test_messages_of_a_subject_count_on_all_its_connections(shop: Server, host: str, ann: str, bob: str):
    frame = {
        "direction": "REQUEST",
        "type": "publish",
        "addresses": ["token:nobody"],
        "message": 1,
        "key": "k",
    }

    def is_refused(credential: str) -> bool:
        client = Socket(shop, f"/connection?access_token={credential}", host, keyed=False)
        client.send(json.dumps(frame))
        answer = client.texts('"k"')[-1]
        client.close()
        return '"code":"rate"' in answer

    with limited(shop, "requests", "publish", "identity", burst=2):
        assert [is_refused(one) for one in (ann, ann, ann, bob)] == [False, False, True, False]
