"""Both clients recover what was missed, and publish once: the same scenes for each, by a scripted server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from switchboard_client import connect

from tests.clients.puppets import SECONDS, Puppet, node_puppet, python_puppet
from tests.clients.scripted import Peer, Scripted, scripted

pytestmark = pytest.mark.once

A, B, C = "channel:a", "channel:b", "channel:c"


def at(offset: int, epoch: str = "e") -> dict[str, Any]:
    return {"epoch": epoch, "offset": offset}


def recovered(offset: int, epoch: str = "e") -> dict[str, Any]:
    return {**at(offset, epoch), "recovered": True}


def lost(offset: int, epoch: str = "e") -> dict[str, Any]:
    return {**at(offset, epoch), "recovered": False}


@pytest.fixture
async def server() -> AsyncIterator[Scripted]:
    async with scripted() as server:
        yield server


@pytest.fixture(params=["python", "javascript"])
async def client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Puppet]:
    monkeypatch.setattr("random.uniform", lambda low, high: 0)  # attempts do not wait
    if request.param == "python":
        async with python_puppet() as python:
            yield python
    else:
        async with node_puppet(at_once=True) as node:
            yield node


async def connected(client: Puppet, server: Scripted, **options: Any) -> Peer:
    connecting = client.begin("connect", url=server.url, **options)
    peer = await server.accept()
    if "key" in options:
        await answer_key(client, peer)
    await asyncio.wait_for(connecting, SECONDS)
    return peer


async def answer_key(client: Puppet, peer: Peer) -> None:
    """JavaScript names its key in a first request, Python in the handshake."""
    if not hasattr(client, "connection"):
        await peer.answer("authenticate")


async def subscribed(
    client: Puppet, peer: Peer, *addresses: str, positions: dict[str, Any] | None = None, **options: Any
) -> dict[str, Any]:
    """Subscribe, and have it answered; the request."""
    subscribing = client.subscribe(*addresses, **options)
    asked = await peer.answer("subscribe", addresses=addresses, positions=positions or {})
    await asyncio.wait_for(subscribing, SECONDS)
    return asked


async def test_what_was_missed_is_asked_for_and_comes_after_it_is_told(
    client: Puppet, server: Scripted
) -> None:
    peer = await connected(client, server)
    asked = await subscribed(client, peer, A, recover=True, positions={A: at(5)})
    assert "since" not in asked
    await peer.deliver(A, "six", **at(6))
    await peer.deliver(A, "seven", **at(7))
    assert await client.next(2) == [["delivery", A, "six", 6], ["delivery", A, "seven", 7]]
    peer.cut()

    peer = await server.accept()
    asked = await peer.answer("subscribe", positions={A: recovered(8)})
    assert asked["since"] == {A: at(7)}
    await peer.deliver(A, "eight", **at(8))
    await peer.deliver(A, "nine", **at(9))
    assert await client.next(3, but="reconnect") == [
        ["recovered", A, at(8)],
        ["delivery", A, "eight", 8],
        ["delivery", A, "nine", 9],
    ]


async def test_a_replay_that_is_cut_goes_on_where_it_was(client: Puppet, server: Scripted) -> None:
    peer = await connected(client, server)
    await subscribed(client, peer, A, recover=True, positions={A: at(5)})
    for since, came in ((5, None), (5, 6), (6, 7), (7, None), (7, 9)):
        peer.cut()
        peer = await server.accept()
        asked = await peer.answer("subscribe", positions={A: recovered(20)})
        assert asked["since"] == {A: at(since)}
        assert await client.next(but="reconnect") == [["recovered", A, at(20)]]
        if came is not None:
            await peer.deliver(A, "missed", **at(came))
            assert await client.next(but="reconnect") == [["delivery", A, "missed", came]]


async def test_a_gap_is_told_and_the_position_of_the_reply_is_where_it_goes_on(
    client: Puppet, server: Scripted
) -> None:
    peer = await connected(client, server)
    await subscribed(client, peer, A, recover=True, positions={A: at(5)})
    for since, reply in (
        (at(5), lost(3, "f")),
        (at(3, "f"), lost(90, "f")),
        (at(90, "f"), recovered(90, "f")),
    ):
        await peer.close()
        peer = await server.accept()
        asked = await peer.answer("subscribe", positions={A: reply})
        assert asked["since"] == {A: since}
        told = await client.next(but="reconnect")
        assert told == [["recovered", A, at(90, "f")] if reply["recovered"] else ["gap", A]]
    await peer.deliver(A, "next", **at(91, "f"))
    assert await client.next(but="reconnect") == [["delivery", A, "next", 91]]


async def test_an_address_without_history_is_a_gap_after_each_reconnect(
    client: Puppet, server: Scripted
) -> None:
    peer = await connected(client, server)
    await subscribed(client, peer, A, B, recover=True, positions={B: at(5)})
    for since, positions in (
        ({B: at(5)}, {B: lost(0, "")}),
        ({}, {A: at(7)}),
        ({A: at(7)}, {A: recovered(7), B: at(2)}),
    ):
        await peer.close()
        peer = await server.accept()
        asked = await peer.answer("subscribe", positions=positions)
        assert asked.get("since", {}) == since
        told = await client.next(2, but="reconnect")
        is_recovered = positions.get(A) == recovered(7)
        assert told == [["recovered", A, at(7)] if is_recovered else ["gap", A], ["gap", B]]


async def test_without_recover_nothing_is_asked_for_nor_told(client: Puppet, server: Scripted) -> None:
    peer = await connected(client, server)
    await subscribed(client, peer, A, positions={A: at(5)})
    for _ in range(2):
        await peer.deliver(A, "again", **at(6))
    assert await client.next(2) == [["delivery", A, "again", 6]] * 2
    await peer.close()

    peer = await server.accept()
    asked = await peer.answer("subscribe", addresses=[A], positions={A: at(9)})
    assert asked.keys() == {"type", "addresses", "key", "direction"}
    assert await client.next() == [["reconnect"]]


async def test_what_has_come_before_is_dropped(client: Puppet, server: Scripted) -> None:
    peer = await connected(client, server)
    await subscribed(client, peer, A, recover=True, positions={A: at(5)})
    for place in (at(6), at(7), at(6), at(7), at(8), at(1, "f"), at(1, "f"), at(2, "f")):
        await peer.deliver(A, place["epoch"], **place)
    await peer.deliver(A, "without a position")
    assert await client.next(6) == [
        *(["delivery", A, "e", offset] for offset in (6, 7, 8)),
        *(["delivery", A, "f", offset] for offset in (1, 2)),
        ["delivery", A, "without a position", None],
    ]


async def test_a_message_to_several_addresses_has_a_position_in_each(
    client: Puppet, server: Scripted
) -> None:
    peer = await connected(client, server)
    await subscribed(client, peer, A, B, recover=True, positions={A: at(5), B: at(1, "b")})
    await subscribed(client, peer, C, positions={C: at(1, "c")})
    await peer.deliver(A, "both", **at(6), positions={A: at(6), B: at(2, "b"), C: at(2, "c")})
    assert await client.next() == [["delivery", A, "both", 6]]
    peer.cut()

    peer = await server.accept()
    asked = await peer.answer("subscribe", positions={A: recovered(8), B: recovered(3, "b")})
    assert asked["since"] == {A: at(6), B: at(2, "b")}
    assert set(asked["addresses"]) == {A, B, C}
    await client.next(2, but="reconnect")
    # It has come by way of both; only what is new in neither of them has come before.
    await peer.deliver(B, "both", **at(2, "b"), positions={A: at(6), B: at(2, "b")})
    await peer.deliver(A, "behind in b", **at(7), positions={A: at(7), B: at(1, "b")})
    await peer.deliver(B, "behind in a", **at(3, "b"), positions={A: at(2), B: at(3, "b")})
    assert await client.next(2, but="reconnect") == [
        ["delivery", A, "behind in b", 7],
        ["delivery", B, "behind in a", 3],
    ]
    peer.cut()
    asked = await (await server.accept()).asked("subscribe")
    assert asked["since"] == {A: at(7), B: at(3, "b")}


async def test_a_gap_of_the_connection_is_one_of_each_address_that_recovers(
    client: Puppet, server: Scripted
) -> None:
    peer = await connected(client, server)
    await subscribed(client, peer, A, B, recover=True, positions={A: at(5)})
    await subscribed(client, peer, C)
    await peer.send(type="gap")
    assert await client.next(3) == [["gap"], ["gap", A], ["gap", B]]


async def test_the_last_messages_come_once(client: Puppet, server: Scripted) -> None:
    peer = await connected(client, server)
    asked = await subscribed(client, peer, A, B, recover=True, last=3, positions={A: at(5), B: at(5)})
    assert (asked["last"], "since" in asked) == (3, False)
    await peer.deliver(A, "of before", **at(3))
    await peer.deliver(A, "of before", **at(4))
    assert await client.next(2) == [["delivery", A, "of before", offset] for offset in (3, 4)]
    peer.cut()

    asked = await (await server.accept()).asked("subscribe")
    assert "last" not in asked
    assert asked["since"] == {A: at(4), B: at(5)}


async def test_notices_of_presence_are_told_also_after_a_reconnect(client: Puppet, server: Scripted) -> None:
    peer = await connected(client, server)
    asked = await subscribed(client, peer, A, notices=True)
    assert asked["notices"] is True
    await subscribed(client, peer, B)
    ann = {"id": "1", "protocol": "rooms", "identity": "ann"}
    await peer.send(type="presence", address=A, count=1, joined=[ann], left=[])
    await peer.send(type="presence", address=A, count=400, truncated=True)
    assert await client.next(2) == [
        ["presence", {"address": A, "count": 1, "joined": [ann], "left": [], "truncated": False}],
        ["presence", {"address": A, "count": 400, "joined": [], "left": [], "truncated": True}],
    ]
    await peer.close()

    peer = await server.accept()
    both = [await peer.asked("subscribe") for _ in range(2)]
    assert {tuple(one["addresses"]): one.get("notices", False) for one in both} == {(A,): True, (B,): False}


async def test_a_resubscription_that_fails_for_now_is_tried_again_with_its_positions(
    client: Puppet, server: Scripted
) -> None:
    peer = await connected(client, server)
    await subscribed(client, peer, A, recover=True, positions={A: at(5)})
    publishing = client.publish(B, "once")
    first = await peer.asked("publish")
    peer.cut()
    for _ in range(3):
        peer = await server.accept()
        asked = await peer.asked("subscribe")
        assert asked["since"] == {A: at(5)}
        await peer.fail(asked, "unavailable")
        assert await client.next() == [["error", "unavailable"]]
    peer = await server.accept()
    asked = await peer.answer("subscribe", positions={A: recovered(5)})
    assert asked["since"] == {A: at(5)}
    assert await peer.answer("publish", delivered_to=1) == first
    assert await asyncio.wait_for(publishing, SECONDS) == {"delivered_to": 1}


async def test_positions_survive_many_reconnects(client: Puppet, server: Scripted) -> None:
    peer = await connected(client, server)
    await subscribed(client, peer, A, recover=True, positions={A: at(0)})
    for round in range(30):
        await peer.deliver(A, "x", **at(round + 1))
        assert await client.next(but="reconnect") == [["delivery", A, "x", round + 1]]
        peer.cut()
        peer = await server.accept()
        asked = await peer.answer("subscribe", positions={A: recovered(round + 1)})
        assert asked["since"] == {A: at(round + 1)}
        assert await client.next(but="reconnect") == [["recovered", A, at(round + 1)]]


async def test_an_address_that_is_given_up_is_forgotten(client: Puppet, server: Scripted) -> None:
    peer = await connected(client, server)
    await subscribed(client, peer, A, B, recover=True, positions={A: at(5), B: at(5)})
    asked = await subscribed(client, peer, A, recover=True, positions={A: recovered(5)})
    assert asked["since"] == {A: at(5)}, "subscribed to again, it goes on where it was"
    assert await client.next() == [["recovered", A, at(5)]]
    unsubscribing = client.begin("unsubscribe", addresses=[A])
    await peer.answer("unsubscribe")
    await asyncio.wait_for(unsubscribing, SECONDS)
    await peer.close()

    peer = await server.accept()
    asked = await peer.answer("subscribe", positions={B: recovered(5)})
    assert asked["addresses"] == [B]
    asked = await subscribed(client, peer, A, recover=True, positions={A: at(9)})
    assert "since" not in asked


async def test_many_addresses_go_on_in_requests_within_the_bounds(client: Puppet, server: Scripted) -> None:
    addresses = [f"channel:{n:03}/{'ä' * 100}" for n in range(600)]
    peer = await connected(client, server)
    subscribing = client.subscribe(*addresses, recover=True)
    left = set(addresses)
    while left:
        asked = await peer.asked("subscribe")
        left -= set(asked["addresses"])
        await peer.reply(asked, positions={address: at(5) for address in asked["addresses"]})
    await asyncio.wait_for(subscribing, SECONDS)
    peer.cut()

    peer = await server.accept()
    since: dict[str, Any] = {}
    while len(since) < len(addresses):
        asked = await peer.asked("subscribe")
        assert len(asked["addresses"]) <= 500
        assert set(asked["since"]) == set(asked["addresses"])
        since |= asked["since"]
        await peer.reply(asked, positions={address: recovered(5) for address in asked["addresses"]})
    assert since == {address: at(5) for address in addresses}
    told = await client.next(len(addresses), but="reconnect")
    assert {one[1] for one in told if one[0] == "recovered"} == set(addresses)


# --- publishing once ----------------------------------------------------------------------------------------


async def test_publishes_without_an_answer_are_sent_again_in_order_and_nothing_else_is(
    client: Puppet, server: Scripted
) -> None:
    peer = await connected(client, server, key="swk_a_key")
    await subscribed(client, peer, A)
    publishing = [client.publish(B, n) for n in range(4)]
    requesting = client.begin("request", message={"type": "publish", "addresses": [B], "id": "mine"})
    batching = client.begin("publish_batch", messages=[{"addresses": [B], "message": 4}])
    asked = [await peer.asked("publish") for _ in range(5)]
    batch = await peer.asked("publish_batch")
    ids = [one["id"] for one in asked]
    assert len({*ids, batch["messages"][0]["id"]}) == 6
    assert all(1 <= len(id) <= 64 for id in ids)
    await peer.reply(asked[1], accepted=True)
    assert await asyncio.wait_for(publishing[1], SECONDS) == {"accepted": True}
    peer.cut()
    assert await asyncio.wait_for(requesting, SECONDS) == {"closed": 1006}

    while_away = client.publish(B, 5)
    peer = await server.accept()
    await peer.answer("authenticate")
    await peer.answer("subscribe")
    for n in (0, 2, 3):
        assert await peer.answer("publish", accepted=True, repeated=n == 0) == asked[n]
        assert await asyncio.wait_for(publishing[n], SECONDS) == {"accepted": True, "repeated": n == 0}
    assert await peer.answer("publish_batch", results=[{"accepted": True}]) == batch
    assert await asyncio.wait_for(batching, SECONDS) == {"results": [{"accepted": True}]}
    assert (await peer.answer("publish", accepted=True))["message"] == 5
    assert await asyncio.wait_for(while_away, SECONDS) == {"accepted": True}


async def test_a_publish_that_is_refused_is_not_sent_again(client: Puppet, server: Scripted) -> None:
    peer = await connected(client, server)
    for code in ("forbidden", "unavailable"):
        publishing = client.publish(A, "x")
        await peer.fail(await peer.asked("publish"), code)
        assert await asyncio.wait_for(publishing, SECONDS) == {"error": code}
    await peer.close()
    peer = await server.accept()
    assert await client.next() == [["reconnect"]]
    publishing = client.publish(A, "y", id="y")
    asked = await peer.answer("publish", accepted=True)
    assert (asked["message"], asked["id"]) == ("y", "y")
    await asyncio.wait_for(publishing, SECONDS)


@pytest.mark.parametrize("code", [4003, 1000])
async def test_publishes_fail_when_the_server_says_to_stay_away(
    client: Puppet, server: Scripted, code: int
) -> None:
    peer = await connected(client, server)
    publishing = [client.publish(A, "x"), client.begin("publish_batch", messages=[{"addresses": [A]}])]
    await peer.asked("publish")
    await peer.close(code)
    assert await asyncio.wait_for(asyncio.gather(*publishing), SECONDS) == [{"closed": code}] * 2
    assert await client.next() == [["close", code]]
    assert await asyncio.wait_for(client.publish(A, "late"), SECONDS) == {"closed": 1006}


async def test_publishes_fail_when_this_end_is_closed(client: Puppet, server: Scripted) -> None:
    peer = await connected(client, server)
    publishing = client.publish(A, "x")
    await peer.asked("publish")
    await client.do("close")
    assert await asyncio.wait_for(publishing, SECONDS) == {"closed": 1000}


async def test_publishes_fail_at_once_where_nothing_comes_back(client: Puppet, server: Scripted) -> None:
    peer = await connected(client, server, reconnect=False)
    publishing = client.publish(A, "x")
    await peer.asked("publish")
    await peer.close(4200)
    assert await asyncio.wait_for(publishing, SECONDS) == {"closed": 4200}


async def test_a_publish_that_has_timed_out_is_not_sent_again(client: Puppet, server: Scripted) -> None:
    peer = await connected(client, server)
    publishing = client.publish(A, "impatient", timeout=0.01)
    await peer.asked("publish")
    assert await asyncio.wait_for(publishing, SECONDS) == {"timeout": True}
    peer.cut()
    peer = await server.accept()
    publishing = client.publish(A, "patient")
    assert (await peer.answer("publish"))["message"] == "patient"
    await asyncio.wait_for(publishing, SECONDS)


async def test_only_so_many_publishes_are_kept(client: Puppet, server: Scripted) -> None:
    peer = await connected(client, server)
    publishing = [client.publish(A, n) for n in range(1001)]
    assert [(await peer.asked("publish"))["message"] for _ in range(1001)] == list(range(1001))
    peer.cut()
    assert await asyncio.wait_for(publishing[-1], SECONDS) == {"closed": 1006}
    peer = await server.accept()
    for n in range(1000):
        assert (await peer.answer("publish"))["message"] == n
    await asyncio.wait_for(asyncio.gather(*publishing[:-1]), SECONDS)


async def test_a_batch_has_one_result_for_each_message_however_many_requests_it_takes(
    client: Puppet, server: Scripted
) -> None:
    peer = await connected(client, server)
    messages: list[dict[str, Any]] = [{"addresses": [A], "message": "ä" * 1000} for _ in range(90)]
    messages[7]["id"] = "seven"
    batching = client.begin("publish_batch", messages=messages)
    came: list[dict[str, Any]] = []
    while len(came) < len(messages):
        asked = await peer.asked("publish_batch")
        await peer.reply(
            asked, results=[{"error": str(len(came) + n)} for n in range(len(asked["messages"]))]
        )
        came += asked["messages"]
    assert len({one["id"] for one in came}) == len(messages)
    assert came[7]["id"] == "seven"
    assert [one["message"] for one in came] == [one["message"] for one in messages]
    answer = await asyncio.wait_for(batching, SECONDS)
    assert answer == {"results": [{"error": str(n)} for n in range(len(messages))]}


async def test_history_is_asked_for(client: Puppet, server: Scripted) -> None:
    peer = await connected(client, server)
    for options in ({}, {"since": at(3), "limit": 0}, {"reverse": True}):
        asking = client.begin("history", address=A, options=options)
        asked = await peer.asked("history")
        assert {
            name: asked[name] for name in asked.keys() - {"type", "address", "key", "direction"}
        } == options
        await peer.reply(asked, address=A, **at(5), messages=[])
        assert await asyncio.wait_for(asking, SECONDS) == {"address": A, **at(5), "messages": []}


# --- of Python alone ----------------------------------------------------------------------------------------


async def test_python_tells_the_handlers_that_a_subscription_was_given(
    server: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: 0)
    told: list[Any] = []
    connection = await connect(server.url)
    peer = await server.accept()
    connection.on("gap", lambda gap: told.append(["any gap", gap]))
    connection.on("reconnect", lambda _: told.append("reconnect"))
    subscribing = asyncio.gather(
        connection.subscribe(
            *(A, B),
            recover=True,
            on_recovered=lambda address, position: told.append([address, position]),
            on_gap=lambda address: told.append(["gap", address]),
        ),
        connection.subscribe(C, recover=True),
    )
    for _ in range(2):
        asked = await peer.asked("subscribe")
        await peer.reply(asked, positions={address: at(5) for address in asked["addresses"]})
    await asyncio.wait_for(subscribing, SECONDS)
    await peer.send(type="gap")
    await peer.close()
    peer = await server.accept()
    await peer.answer("subscribe", positions={A: recovered(6), B: lost(6), C: lost(6)})
    async with asyncio.timeout(SECONDS):
        while "reconnect" not in told:
            await asyncio.sleep(0.001)
    assert told == [
        ["any gap", connection],
        *(["gap", A], ["gap", B], ["any gap", C]),
        *([A, at(6)], ["gap", B], ["any gap", C]),
        "reconnect",
    ]
    await connection.close()
