"""Both clients at a server that cannot yet answer what is sent again, and that is asked to take back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.clients.puppets import SECONDS, Puppet, node_puppet, python_puppet
from tests.clients.scripted import Scripted, scripted
from tests.clients.test_recovery import A, B, connected, subscribed

pytestmark = pytest.mark.once


@pytest.fixture
async def server() -> AsyncIterator[Scripted]:
    async with scripted() as server:
        yield server


@pytest.fixture(params=["python", "javascript"])
async def client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Puppet]:
    monkeypatch.setattr("random.uniform", lambda low, high: 0)  # attempts do not wait
    async with python_puppet() if request.param == "python" else node_puppet(at_once=True) as client:
        yield client


async def test_a_publish_that_was_sent_again_is_sent_until_its_failure_has_passed(
    client: Puppet, server: Scripted
) -> None:
    peer = await connected(client, server)
    publishing = client.publish(A, "x", id="x")
    first = await peer.asked("publish")
    peer.cut()
    peer = await server.accept()
    for code in ("unavailable", "rate", "internal"):
        assert await peer.asked("publish") == first
        await peer.fail(first, code)
    assert await peer.answer("publish", accepted=True, repeated=True) == first
    assert await asyncio.wait_for(publishing, SECONDS) == {"accepted": True, "repeated": True}


async def test_a_batch_that_was_sent_again_is_too_also_after_another_cut(
    client: Puppet, server: Scripted
) -> None:
    peer = await connected(client, server)
    batching = client.begin("publish_batch", messages=[{"addresses": [A], "message": "x"}])
    first = await peer.asked("publish_batch")
    for _ in range(2):
        peer.cut()
        peer = await server.accept()
        assert await peer.asked("publish_batch") == first
        await peer.fail(first, "unavailable")
        assert await peer.asked("publish_batch") == first
    await peer.reply(first, results=[{"accepted": True}])
    assert await asyncio.wait_for(batching, SECONDS) == {"results": [{"accepted": True}]}


async def test_one_that_was_sent_again_fails_for_good_where_the_server_says_no(
    client: Puppet, server: Scripted
) -> None:
    peer = await connected(client, server)
    publishing = client.publish(A, "x")
    await peer.asked("publish")
    peer.cut()
    peer = await server.accept()
    await peer.fail(await peer.asked("publish"), "forbidden")
    assert await asyncio.wait_for(publishing, SECONDS) == {"error": "forbidden"}


async def test_one_that_was_sent_once_after_a_reconnect_fails_with_its_first_answer(
    client: Puppet, server: Scripted
) -> None:
    peer = await connected(client, server)
    await subscribed(client, peer, B)
    peer.cut()
    peer = await server.accept()
    asked = await peer.asked("subscribe")
    publishing = client.publish(A, "x")  # waits until the subscriptions are back
    await peer.reply(asked)
    await peer.fail(await peer.asked("publish"), "unavailable")
    assert await asyncio.wait_for(publishing, SECONDS) == {"error": "unavailable"}


async def test_one_that_is_to_be_sent_again_fails_at_the_end(client: Puppet, server: Scripted) -> None:
    peer = await connected(client, server)
    publishing = client.publish(A, "x")
    await peer.asked("publish")
    peer.cut()
    peer = await server.accept()
    await peer.fail(await peer.asked("publish"), "unavailable")
    await client.do("close")
    assert await asyncio.wait_for(publishing, SECONDS) == {"closed": 1000}


# --- what is taken back while it is under way ---


async def test_an_address_that_was_given_up_while_it_was_asked_for_does_not_come_back(
    client: Puppet, server: Scripted
) -> None:
    peer = await connected(client, server)
    subscribing = client.subscribe(A, B)
    leaving = client.begin("unsubscribe", addresses=[A])
    asked = [await peer.asked("subscribe"), await peer.asked("unsubscribe")]
    for one in asked:
        await peer.reply(one, addresses=one["addresses"])
    await asyncio.wait_for(asyncio.gather(subscribing, leaving), SECONDS)
    peer.cut()
    peer = await server.accept()
    assert (await peer.answer("subscribe"))["addresses"] == [B]


async def test_one_that_was_asked_for_anew_comes_back(client: Puppet, server: Scripted) -> None:
    peer = await connected(client, server)
    commands = [
        client.subscribe(A),
        client.begin("unsubscribe", addresses=[A]),
        client.subscribe(A),
    ]
    asked = [await peer.asked(type) for type in ("subscribe", "unsubscribe", "subscribe")]
    for one in asked:
        await peer.reply(one, addresses=[A])
    await asyncio.wait_for(asyncio.gather(*commands), SECONDS)
    peer.cut()
    peer = await server.accept()
    assert (await peer.answer("subscribe"))["addresses"] == [A]
