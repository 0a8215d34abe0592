"""A worker, the database or the whole server goes: slots that count, players that come back."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import psycopg
import pytest

from routing_app.core.leases.reach import STEP_SECONDS
from routing_app.core.models import LEASE_SECONDS
from tests.conftest import ServerFactory
from tests.services.postgres import Postgres, find_postgres
from tests.services.waiting import until
from tests.sessions.conftest import Broker, Customer, Play, Player, Visit

GRACE_SECONDS = 30


def workers(broker: Broker) -> dict[str, int]:
    """Process ids of the living workers, by worker id."""
    rows = broker.sql("SELECT id, pid FROM core_workerrecord")
    return {id: pid for id, pid in rows if Path(f"/proc/{pid}").exists()}


def worker_of(customer: Customer) -> str:
    """The worker that a customer's only session is bound to."""
    [[id]] = customer.broker.sql(
        "SELECT worker_id FROM sessions_app_session s JOIN sessions_app_account a ON a.id = s.account_id"
        " WHERE a.customer = %s",
        customer.id,
    )
    return str(id)


def age_leases(broker: Broker, seconds: float) -> None:
    """Have the last renewal of every lease lie so far back, in time that counts (`core/leases/reach.py`): the
    clock loses what nobody was there to renew in, and runs on for STEP_SECONDS after the last renewal. The
    new worker's lease is of no matter.
    """
    if broker.server.database_url.startswith("sqlite"):
        form = "'%Y-%m-%d %H:%M:%f'"
        now = (
            f"(SELECT strftime({form}, min(strftime({form}, 'now'),"
            f" strftime({form}, witnessed_at, '+{STEP_SECONDS} seconds')),"
            " '-' || witnessed_lost || ' seconds', %s) FROM core_reach)"
        )
        back = f"-{seconds} seconds"
    else:
        now = (
            f"(SELECT least(statement_timestamp(), witnessed_at + interval '{STEP_SECONDS} seconds')"
            " - witnessed_lost * interval '1 second' - %s::interval FROM core_reach)"
        )
        back = f"{seconds} seconds"
    broker.sql(f"UPDATE core_workerrecord SET leased_at = {now}", back)


async def test_slots_of_a_crashed_worker_free_after_lease_and_grace_and_not_before(
    server: ServerFactory, play: Play, visit: Visit
) -> None:
    # Players of a worker that is gone are probed in vain, while the lease goes on.
    broker = Broker(server(SESSIONS_GRACE_SECONDS=str(GRACE_SECONDS), SESSIONS_PROBE_SECONDS="0.1"))
    customer = visit(broker)
    customer.limit("offer", 1)
    await play(await customer.create())

    broker.server.kill()
    broker.server.close()
    broker.server.start()
    await customer.http.close()

    # Longer than either of them, with as much time as can be until the customer is answered.
    age_leases(broker, max(LEASE_SECONDS, GRACE_SECONDS) + 1)
    assert (await customer.create()).status == 409, "lease and grace of the dead worker still vouch"
    age_leases(broker, LEASE_SECONDS + GRACE_SECONDS)
    assert (await customer.create()).status == 200
    assert customer.events("expired") == ["expired"]


async def test_players_of_a_crashed_server_come_back_to_their_slot(
    server: ServerFactory, play: Play, visit: Visit
) -> None:
    broker = Broker(server())
    customer = visit(broker)
    customer.limit("offer", 1)
    created = await customer.create()
    player: Player = await play(created)

    broker.server.kill()
    broker.server.close()
    assert (await player.receives())[0] == "closed"
    broker.server.start()

    await play(created)
    assert customer.events() == ["created", "bound", "rebound"]


async def test_players_of_a_stopped_server_keep_their_slot_for_the_grace(
    server: ServerFactory, play: Play, visit: Visit
) -> None:
    broker = Broker(server())
    customer = visit(broker)
    created = await customer.create()
    player: Player = await play(created)

    assert broker.server.stop() == 0

    assert await player.receives() == ("closed", 1012)
    rows = broker.sql("SELECT connection_id, worker_id FROM sessions_app_session")
    assert [tuple(row) for row in rows] == [("", None)], "unbound before the server ended"
    broker.server.start()
    await play(created)


@pytest.mark.soak
async def test_paused_worker_does_not_go_on_playing_sessions_that_were_given_away(
    server: ServerFactory, redis_url: str, play: Play, visit: Visit
) -> None:
    """A worker that sleeps loses its lease; its slot is granted to another; then it wakes up."""
    sleeper = Broker(server(SESSIONS_GRACE_SECONDS="1", REDIS_URL=redis_url))
    other = Broker(
        server(SESSIONS_GRACE_SECONDS="1", REDIS_URL=redis_url, DATABASE_URL=sleeper.server.database_url)
    )
    customer, elsewhere = visit(sleeper), visit(other)
    customer.limit("offer", 1)
    player: Player = await play(await customer.create())
    customer.http = elsewhere.http

    pid = workers(sleeper)[worker_of(customer)]
    os.kill(pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(60):
            while (await customer.create()).status != 200:
                await asyncio.sleep(1)
    finally:
        os.kill(pid, signal.SIGCONT)

    assert await player.receives() == {"action": "TERMINATE"}
    assert customer.most_at_once() == 1


@pytest.mark.once  # on a PostgreSQL of its own, which it stops
async def test_without_a_database_the_fail_mode_decides(
    server: ServerFactory, play: Play, visit: Visit
) -> None:
    if find_postgres() is None:
        pytest.skip("PostgreSQL is not installed (make test installs it)")
    with Postgres() as postgres:
        closed = visit(Broker(server(DATABASE_URL=postgres.url(), SESSIONS_FAIL_MODE="closed")))
        open_ = visit(Broker(server(DATABASE_URL=postgres.url(), SESSIONS_FAIL_MODE="open")))
        player: Player = await play(await closed.create())
        late: Player = await play(await closed.create(tag="live"), bind=False)
        await open_.create()
        postgres.stop()

        refused, granted, _ = await asyncio.gather(closed.create(), open_.create(), late.send("REQUESTED"))

        assert (refused.status, refused.json["code"]) == (503, "Unavailable")
        assert "details" not in refused.json
        assert int(refused.headers["retry-after"]) > 0
        assert granted.status == 200
        message = "Session tracking disabled."
        assert granted.json == {"status": "disabled", "message": message, "enabled": False}
        assert await late.receives() == ("closed", 4103), "no OK without a row"
        postgres.serve()
        await until(lambda: _answers(postgres))
        assert await player.requested() == {"action": "OK"}, "who played plays on"
        async with asyncio.timeout(60):
            while (await closed.create(tag="news")).status != 200:
                await asyncio.sleep(0.1)


def _answers(postgres: Postgres) -> bool:
    try:
        psycopg.connect(postgres.url(), connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True
