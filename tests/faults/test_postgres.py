"""PostgreSQL restarts or falls silent under two real servers: told where it matters, unnoticed elsewhere."""

from __future__ import annotations

import asyncio
import logging
import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.faults.cluster import Member, Pair, Subscriber, publish, seconds_until, subscribe, subscribed
from tests.services.postgres import Postgres
from tests.services.waiting import until
from tests.tokens.client import form

pytestmark = pytest.mark.once
logger = logging.getLogger("measured")

COUNT = 410
"""Messages, of which the last ten are published when the database is back."""
CALLS = 50
ROUNDS = 10
POOL = 8 + 4
"""Connections of one worker: DATABASE_THREADS as it comes, and four."""


@pytest.fixture
def token() -> str:
    return secrets.token_hex(4)


@pytest.fixture
def database(pair: Pair, postgres: Postgres) -> str:
    """The database of the two servers, past their proxies."""
    return postgres.url(pair.one.server.database_url.rpartition("/")[2])


async def list_at_once(pair: Pair) -> list[int]:
    """The statuses of CALLS listings asked for at the same time, half of them at each server."""
    members = [pair.one, pair.two] * (CALLS // 2)
    with ThreadPoolExecutor(CALLS) as threads:
        loop = asyncio.get_running_loop()
        calls = [loop.run_in_executor(threads, member.call, "GET", "/api/clients/") for member in members]
        return [reply.status for reply in await asyncio.gather(*calls)]


async def most_connections_until_all_are_served(pair: Pair, database: str) -> int:
    """Ask for CALLS listings at once until all of them come; the most connections that the database had.

    Each call waits three seconds for a connection; a busy machine may not get through all of them at first.
    """
    most = 0
    for _ in range(ROUNDS):
        listing = asyncio.ensure_future(list_at_once(pair))
        most = max(most, await most_connections(database, listing))
        if set(listing.result()) == {200}:
            return most
    raise AssertionError(f"calls went unserved in each of {ROUNDS} rounds")


async def most_connections(database: str, while_running: asyncio.Future[Any]) -> int:
    """The most connections that the database had at a time, of others than us."""
    statement = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    most = 0
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        while not while_running.done():
            row = await (await connection.execute(statement)).fetchone()
            most = max(most, row[0] if row else 0)
            await asyncio.sleep(0.01)
    return most


def present(member: Member, token: str) -> int:
    """The number of clients of a token that are listed."""
    page = member.call("GET", f"/api/clients/?page_size=1000&address=token:{token}").json()
    return int(page["count"])


def received_all(subscribers: list[Subscriber], name: str, count: int) -> bool:
    return all(subscriber.numbers(name) == list(range(count)) for subscriber in subscribers)


def received_on(newcomer: Subscriber, name: str, count: int) -> bool:
    """True when one that came in the middle has received all from its first message to the last."""
    received = newcomer.numbers(name)
    return received != [] and received == list(range(received[0], count))


async def test_postgres_restarts_under_traffic(
    pair: Pair, postgres: Postgres, database: str, token: str
) -> None:
    async with (
        subscribed(pair.one.clients.port, token, 3) as near,
        subscribed(pair.two.clients.port, token, 3) as far,
        subscribed(pair.one.clients.port, f"{token}-one") as [sender],
    ):
        await seconds_until(lambda: present(pair.two, token) == 6)
        publishing = asyncio.ensure_future(publish(sender, "one", token, range(COUNT - 10)))

        await asyncio.to_thread(postgres.kill)
        async with subscribed(pair.two.clients.port, token, 2) as newcomers:
            await far[0].leave()
            refused = asyncio.ensure_future(
                asyncio.to_thread(form, pair.one.server, "registerToken", token="abc2")
            )
            assert set(await list_at_once(pair)) == {503}
            assert (await refused).status == 503
            await seconds_until(lambda: not pair.one.is_ready())  # it may say once more what it found before
            await asyncio.to_thread(postgres.serve)

            recovered = await seconds_until(pair.is_ready)
            most = await most_connections_until_all_are_served(pair, database)
            complete = await seconds_until(lambda: present(pair.one, token) == 7)
            await publishing
            # The newcomers may have come when all of that had been sent.
            await publish(sender, "one", token, range(COUNT - 10, COUNT))
            await seconds_until(lambda: received_all(near + far[1:], "one", COUNT))
            await seconds_until(lambda: all(received_on(newcomer, "one", COUNT) for newcomer in newcomers))
    logger.info("ready again after %.2f s, presence complete after %.2f s", recovered, complete)
    bound = 2 * (POOL + 1)  # one more of each worker receives notifications
    logger.info("connections at %d calls at once: %d of %d", CALLS, most, bound)
    assert 1 <= most <= bound


def keepalives(port: int) -> list[float]:
    """Seconds until each open connection to a port asks whether the other end is there (`proc(5)`)."""
    found = []
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, _, remote, state, _, timer, *_ = line.split()
        if state == "01" and remote.endswith(f":{port:04X}") and timer.startswith("02:"):
            found.append(int(timer[3:], 16) / 100)
    return found


async def test_a_database_whose_host_goes_away_is_found_out_in_seconds(pair: Pair) -> None:
    await asyncio.to_thread(pair.one.call, "GET", "/api/clients/")
    assert max(await until(lambda: keepalives(pair.one.postgres.port))) <= 11


async def test_a_silent_postgres_holds_up_no_socket(pair: Pair, token: str) -> None:
    """Half-open, both ways, then reset: as when the database's host goes away and comes back."""
    async with (
        subscribed(pair.one.clients.port, token, 2) as near,
        subscribed(pair.two.clients.port, token, 2) as far,
        subscribed(pair.one.clients.port, f"{token}-one") as [sender],
    ):
        for member in pair:
            member.postgres.swallow()
        newcomer = await subscribe(pair.one.clients.port, token)
        await publish(sender, "one", token, range(100))
        await seconds_until(lambda: received_all([*near, *far, newcomer], "one", 100))
        await seconds_until(lambda: not pair.one.is_ready())
        for member in pair:
            member.postgres.heal()
            member.postgres.cut()
        recovered = await seconds_until(pair.is_ready)
        complete = await seconds_until(lambda: present(pair.two, token) == 5)
        await newcomer.leave()
    logger.info("ready again after %.2f s, presence complete after %.2f s", recovered, complete)
