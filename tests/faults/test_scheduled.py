"""Messages that are due while Redis is out wait in the outbox, and reach everybody once when it is back."""

from __future__ import annotations

import asyncio
import secrets

import pytest

from tests.faults.cluster import Pair, seconds_until, subscribed
from tests.services.databases import sql
from tests.services.postgres import Postgres

pytestmark = pytest.mark.once

COUNT = 40


async def test_messages_that_are_due_while_redis_is_out_come_once_and_in_order(
    pair: Pair, postgres: Postgres
):
    token = secrets.token_hex(4)
    database = postgres.url(pair.one.server.database_url.rpartition("/")[2])
    message = {"addresses": [f"token:{token}"], "delay": 0.05}

    def rows(table: str) -> int:
        return int(sql(database, f"SELECT count(*) FROM {table}")[0][0])

    async with (
        subscribed(pair.one.clients.port, token) as [near],
        subscribed(pair.two.clients.port, token) as [far],
    ):
        for member in pair:
            member.redis.down()
        await seconds_until(lambda: not any(member.is_ready() for member in pair))
        body = {"messages": [{**message, "message": f"n {number}"} for number in range(COUNT)]}
        answer = await asyncio.to_thread(pair.one.call, "POST", "/api/publish/batch", body)
        assert all("scheduled" in one for one in answer.json()["results"])
        await seconds_until(lambda: (rows("core_scheduledmessage"), rows("outbox_message")) == (0, COUNT))
        assert far.received == []

        pair.heal()
        await seconds_until(lambda: rows("outbox_message") == 0)
        await seconds_until(pair.is_ready)
        end = {"addresses": [f"token:{token}"], "message": "n -1"}
        assert (await asyncio.to_thread(pair.two.call, "POST", "/api/publish", end)).status == 200

        # A worker whose connection was cut asks for what it has missed: that may come behind the end.
        await seconds_until(lambda: len(near.received) > COUNT and len(far.received) > COUNT)
        for received in (near.numbers("n"), far.numbers("n")):
            assert [number for number in received if number >= 0] == list(range(COUNT))
            assert received.count(-1) == 1
