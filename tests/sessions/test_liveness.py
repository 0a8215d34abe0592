"""A player that is gone frees its slot, one that lives keeps it: deadlines, graces, PINGs, probes."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from websockets.exceptions import ConnectionClosed

from tests.conftest import ServerFactory
from tests.services.waiting import until
from tests.sessions.conftest import EXPIRED, OK, TERMINATE, Broker, Customer, Play, Player, Visit
from tests.sessions.http import Reply


async def test_session_that_is_never_bound_expires(hasty_customer: Customer) -> None:
    hasty_customer.limit("offer", 1)
    await hasty_customer.create()
    assert (await hasty_customer.create()).status == 409

    hasty_customer.broker.sql(
        "UPDATE sessions_app_session SET expires_at = '2020-01-01 00:00:00+00:00'"
        " WHERE account_id = (SELECT id FROM sessions_app_account WHERE customer = %s)",
        hasty_customer.id,
    )

    assert (await hasty_customer.create()).status == 200, "at once, whether something swept or not"
    assert hasty_customer.events() == ["created", "denied", "expired", "created"]


async def test_lost_connection_frees_its_slot_after_the_grace(hasty_customer: Customer, play: Play) -> None:
    created = await hasty_customer.create()
    (await play(created)).vanish()

    await until(lambda: hasty_customer.events("expired"))

    assert hasty_customer.events() == ["created", "bound", "expired"]
    assert await (await play(created, bind=False)).requested() == EXPIRED


async def test_player_that_answers_every_ping_keeps_its_session_and_neither_ping_nor_pong_writes(
    hasty_customer: Customer, play: Play
) -> None:
    player = await play(await hasty_customer.create())
    before = _row(hasty_customer)

    await until(lambda: player.pings >= 3)

    assert await player.requested() == OK
    assert _row(hasty_customer) == before
    assert hasty_customer.events() == ["created", "bound"]


def _row(customer: Customer) -> list[object]:
    rows = customer.broker.sql(
        "SELECT s.* FROM sessions_app_session s JOIN sessions_app_account a ON a.id = s.account_id"
        " WHERE a.customer = %s",
        customer.id,
    )
    return [tuple(row) for row in rows]


async def test_player_that_answers_no_ping_is_stopped_after_two(hasty_customer: Customer, play: Play) -> None:
    player = await play(await hasty_customer.create(), answers=False)

    assert await player.receives() == TERMINATE
    assert await player.receives() == ("closed", 4104)
    assert player.pings == 2
    await until(lambda: hasty_customer.events("expired"))
    assert hasty_customer.rows() == 0


async def test_socket_without_a_session_is_closed_after_a_while(
    server: ServerFactory, visit: Visit, play: Play
) -> None:
    customer = visit(Broker(server(SESSIONS_IDLE_SECONDS="2")))
    never = await play(await customer.create(), bind=False)
    finished: Player = await until(lambda: bound_in_time(customer, play))
    await finished.send("FINISHED")

    assert await never.receives() == ("closed", 1000)
    assert await finished.receives() == ("closed", 1000)


async def bound_in_time(customer: Customer, play: Play) -> Player | None:
    """A player that is bound; None where the while was over before, as it may be on a busy machine."""
    player: Player = await play(await customer.create(), bind=False)
    with suppress(ConnectionClosed):
        await player.send("REQUESTED")
    return player if await player.receives() == OK else None


async def test_others_are_pinged_when_a_session_is_created(customer: Customer, play: Play) -> None:
    film = await play(await customer.create(offerId="film"))
    stranger = await play(await Customer(customer.broker, customer.http).create())

    await customer.create(offerId="series")

    await until(lambda: film.pings == 1)
    assert await stranger.requested() == OK, "whatever was sent to it before has come"
    assert stranger.pings == 0


async def test_at_the_limit_silent_players_lose_their_slot(hasty_customer: Customer, play: Play) -> None:
    hasty_customer.limit("offer", 2)
    living = await play(await hasty_customer.create())
    silent = await play(await hasty_customer.create(), answers=False)

    replies = await asyncio.gather(*[hasty_customer.create() for _ in range(5)])

    assert sorted(reply.status for reply in replies) == [200, 409, 409, 409, 409]
    assert await silent.receives() == TERMINATE
    assert await silent.receives() == ("closed", 4104)
    assert await living.requested() == OK
    assert sorted(hasty_customer.events("expired", "denied")) == ["denied"] * 4 + ["expired"]


async def test_at_the_limit_answering_players_keep_their_slot(customer: Customer, play: Play) -> None:
    customer.limit("offer", 2)
    players = [await play(await customer.create()) for _ in range(2)]

    async def create_later(seconds: float) -> int:
        await asyncio.sleep(seconds)
        return (await customer.create()).status

    statuses = await asyncio.gather(*[create_later(number / 10) for number in range(20)])

    assert set(statuses) == {409}
    assert [await player.requested() for player in players] == [OK, OK]
    assert max(player.pings for player in players) < 20, "those who ask share a PING"
    assert customer.events("denied") == ["denied"] * 20


async def test_session_in_its_grace_is_not_taken_for_silent(customer: Customer, play: Play) -> None:
    customer.limit("offer", 1)
    created = await customer.create()
    await (await play(created)).leave()

    assert (await customer.create()).status == 409
    await play(created)


async def test_device_without_a_socket_lives_by_its_heartbeat(customer: Customer) -> None:
    created = await customer.create()
    ends = [await end_after_a_beat(customer, created, 30)]

    async def is_moved() -> bool:
        """Deadlines are times of a clock that stands still while no worker renews its lease."""
        ends.append(await end_after_a_beat(customer, created, 30))
        return bool(ends[0] < ends[-1])

    await until(is_moved)
    assert ends == sorted(ends)
    assert customer.events() == ["created", "bound"]


async def test_device_without_a_socket_that_beats_no_longer_is_gone(hasty_customer: Customer) -> None:
    created = await hasty_customer.create()
    await end_after_a_beat(hasty_customer, created, 1)

    await until(lambda: hasty_customer.events("expired"))
    assert hasty_customer.events() == ["created", "bound", "expired"]
    assert (await beat(hasty_customer, created)).status == 404


async def end_after_a_beat(customer: Customer, created: Reply, interval: int) -> Any:
    """A heartbeat, and the end of the session after it as the database has it."""
    answer = await beat(customer, created)
    assert answer.status == 200
    assert set(answer.json) == {"sessionId", "expiresAt", "heartbeatInterval"}
    assert answer.json["heartbeatInterval"] == interval
    [[end]] = customer.broker.sql(
        "SELECT expires_at FROM sessions_app_session WHERE account_id ="
        " (SELECT id FROM sessions_app_account WHERE customer = %s)",
        customer.id,
    )
    return end


async def beat(customer: Customer, created: Reply) -> Reply:
    path = f"/sessions/{created.json['sessionId']}/heartbeat"
    return await customer.http.request("POST", path, token=customer.token)


async def test_row_without_its_connection_is_unbound_again(
    hasty_broker: Broker, hasty_customer: Customer
) -> None:
    """As after an outage in which the end of a connection could not be written."""
    await hasty_customer.create()
    [[worker]] = hasty_broker.sql("SELECT id FROM core_workerrecord ORDER BY renewed_at DESC LIMIT 1")
    hasty_broker.sql(
        "UPDATE sessions_app_session SET connection_id = 'lost', worker_id = %s, expires_at = NULL"
        " WHERE account_id = (SELECT id FROM sessions_app_account WHERE customer = %s)",
        worker,
        hasty_customer.id,
    )

    await until(lambda: hasty_customer.events("expired"))


async def test_socket_whose_session_was_given_away_is_stopped(
    hasty_broker: Broker, hasty_customer: Customer, play: Play
) -> None:
    """As when the message to it was lost, or its worker slept while its lease ran out."""
    player = await play(await hasty_customer.create())
    hasty_broker.sql(
        "DELETE FROM sessions_app_session"
        " WHERE account_id = (SELECT id FROM sessions_app_account WHERE customer = %s)",
        hasty_customer.id,
    )

    assert await player.receives() == TERMINATE
    assert await player.receives() == ("closed", 4001)
