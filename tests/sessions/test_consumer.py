"""A player's socket: the three actions it sends, the five it receives, and how a session moves to another."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.services.waiting import until
from tests.sessions.conftest import EXPIRED, OK, TERMINATE, Broker, Customer, Play
from tests.sessions.http import Reply


async def test_requested_is_answered_ok_also_the_second_time(customer: Customer, play: Play) -> None:
    player = await play(await customer.create())

    assert await player.requested() == OK
    assert customer.events() == ["created", "bound"]


async def test_ok_is_sent_for_a_committed_row(customer: Customer, play: Play) -> None:
    await play(await customer.create())

    assert customer.rows() == 1
    assert customer.events()[-1] == "bound"


async def test_finished_frees_the_slot_at_once_and_leaves_the_socket_open(
    customer: Customer, play: Play
) -> None:
    customer.limit("offer", 1)
    player = await play(await customer.create())
    assert (await customer.create()).status == 409

    await player.send("FINISHED")

    assert await player.requested() == EXPIRED
    assert (await customer.create()).status == 200
    assert customer.events("finished") == ["finished"]


async def test_finished_before_requested_ends_the_session_and_stops_its_player(
    customer: Customer, play: Play
) -> None:
    reply = await customer.create()
    playing = await play(reply)
    other = await play(reply, bind=False)

    await other.send("FINISHED")

    assert await playing.receives() == TERMINATE
    assert await playing.receives() == ("closed", 4001)
    assert await other.requested() == EXPIRED
    assert customer.events("finished") == ["finished"]


async def test_finished_of_a_connection_that_has_lost_its_session_frees_nothing(
    customer: Customer, play: Play
) -> None:
    """As when its FINISHED and the TERMINATE to it meet half-way."""
    stale = await play(await customer.create())
    customer.broker.sql(
        "UPDATE sessions_app_session SET connection_id = 'another'"
        " WHERE account_id = (SELECT id FROM sessions_app_account WHERE customer = %s)",
        customer.id,
    )

    # The worker that looks whether its connections still have their sessions may have been quicker.
    with suppress(ConnectionClosed):
        await stale.send("FINISHED")
        await stale.send("REQUESTED")
    assert await stale.receives() in (EXPIRED, TERMINATE)
    assert customer.rows() == 1
    assert customer.events("finished") == []


async def test_second_connection_is_bound_and_the_first_terminated(customer: Customer, play: Play) -> None:
    reply = await customer.create()
    first = await play(reply)

    second = await play(reply)

    assert await first.receives() == TERMINATE
    assert await first.receives() == ("closed", 4001)
    assert await second.requested() == OK
    assert customer.events() == ["created", "bound", "rebound"]
    assert customer.rows() == 1


async def test_many_connections_of_one_session_leave_exactly_one(customer: Customer, play: Play) -> None:
    reply = await customer.create()
    players = [await play(reply, bind=False) for _ in range(12)]
    for player in players:
        await player.send("REQUESTED")
    # One that has lost the session again, by a player of another worker, need not be told that it had it.
    answers = [await player.receives() for player in players]
    assert [answer for answer in answers if answer not in (OK, TERMINATE)] == []

    await until(lambda: sum(player.socket.close_code == 4001 for player in players) == 11)
    [left] = [player for player in players if player.socket.close_code is None]
    assert answers[players.index(left)] == OK
    assert await left.requested() == OK


async def test_lost_connection_comes_back_within_the_grace(customer: Customer, play: Play) -> None:
    customer.limit("offer", 1)
    reply = await customer.create()
    player = await play(reply)

    player.vanish()
    await until(lambda: _unbound(customer))
    assert (await customer.create()).status == 409, "the slot is kept"
    await play(reply)

    assert customer.events() == ["created", "bound", "denied", "rebound"]


def _unbound(customer: Customer) -> bool:
    rows = customer.broker.sql(
        "SELECT s.connection_id FROM sessions_app_session s JOIN sessions_app_account a"
        " ON a.id = s.account_id WHERE a.customer = %s",
        customer.id,
    )
    return [tuple(row) for row in rows] == [("",)]


async def test_token_of_nobody_is_refused(broker: Broker) -> None:
    for query in (
        "",
        "?token=",
        "?token=x.y.z",
        f"?token={broker.token('somebody')}",
        "?token=" + "a" * 12000,
    ):
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"{broker.server.ws_url}/{query}")
        assert refused.value.response.status_code == 403


async def test_frames_without_sense_are_ignored_ten_times(customer: Customer, play: Play) -> None:
    player = await play(await customer.create())
    nonsense = [
        "",
        "hello",
        "[]",
        "null",
        '"OK"',
        '{"action":"OK"}',
        '{"action":1}',
        '{"action":null}',
        b"PONG",
    ]

    for frame in nonsense:
        await player.socket.send(frame)
    assert await player.requested() == OK
    await player.socket.send("{" * 100)

    assert await player.receives() == ("closed", 1008)


async def test_pong_before_requested_is_ignored(customer: Customer, play: Play) -> None:
    player = await play(await customer.create(), bind=False)

    for _ in range(100):
        await player.send("PONG")

    assert await player.requested() == OK


async def test_flood_of_one_player_is_answered_and_troubles_no_other(customer: Customer, play: Play) -> None:
    other = await play(await Customer(customer.broker, customer.http).create())
    player = await play(await customer.create())

    for _ in range(1000):
        await player.send("PONG")
        await player.send("REQUESTED")

    assert [await player.receives() for _ in range(1000)] == [OK] * 1000
    assert await other.requested() == OK
    assert customer.events() == ["created", "bound"]


async def test_players_receive_nothing_that_is_published(customer: Customer, play: Play) -> None:
    reply = await customer.create()
    player = await play(reply)
    session = reply.json["sessionId"]
    key = customer.broker.server.api_key

    for address in (f"session:{session}", f"customer:demo/{customer.id}"):
        refused = await _publish(customer, address, key)
        assert refused.status == 400

    async def listed() -> list[dict[str, Any]]:
        reply = await customer.http.request("GET", f"/api/clients/?address=session:{session}", X_API_Key=key)
        results: list[dict[str, Any]] = reply.json["results"]
        return results

    [client] = await until(listed)
    accepted = await _publish(customer, f"connection:{client['id']}", key)

    assert client["protocol"] == "sessions"
    assert client["identity"] == customer.id
    assert accepted.status == 200
    assert await player.requested() == OK, "the five actions only"


async def _publish(customer: Customer, address: str, key: str) -> Reply:
    body = {"addresses": [address], "message": "hello"}
    return await customer.http.request(
        "POST", "/api/publish", body, content_type="application/json", X_API_Key=key
    )
