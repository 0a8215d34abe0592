"""PostgreSQL restarts while two servers send webhooks: every delivery arrives, none twice at once."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.faults.cluster import Pair, seconds_until
from tests.services.databases import sql
from tests.services.postgres import Postgres
from tests.webhooks.receiver import Receiver

pytestmark = pytest.mark.once

COUNT = 40


def write(url: str, webhook: int) -> set[str]:
    """Rows of the outbox, as a transaction that has committed leaves them; their ids."""
    ids = {f"msg_{webhook}_{n}" for n in range(COUNT)}
    body = json.dumps({"type": "user.registered", "timestamp": "2026-11-29T00:00:00Z", "data": {}})
    for id in ids:
        sql(
            url,
            "INSERT INTO core_delivery (id, webhook_id, type, body, status, attempts, last_error)"
            " VALUES (%s, %s, 'user.registered', %s, 'pending', 0, '')",
            *(id, webhook, body),
        )
    return ids


async def test_postgresql_restarts_while_webhooks_are_on_their_way(pair: Pair, postgres: Postgres):
    database = postgres.url(pair.one.server.database_url.rpartition("/")[2])
    with Receiver() as receiver:
        body = {"name": "a", "url": receiver.url("/hold"), "events": ["user.registered"]}
        made = pair.one.call("POST", "/api/webhooks/", body).json()
        ids = await asyncio.to_thread(write, database, made["id"])
        await seconds_until(lambda: len(receiver.calls) >= 16)

        await asyncio.to_thread(postgres.kill)
        receiver.release()
        await asyncio.to_thread(postgres.serve)
        await seconds_until(pair.is_ready)
        done = "SELECT count(*) FROM core_delivery WHERE webhook_id = %s AND status = 'done'"
        await seconds_until(lambda: sql(database, done, made["id"])[0][0] == COUNT)

        assert set(receiver.ids("/hold")) == ids
        assert receiver.twice_at_once == []
    assert pair.one.call("DELETE", f"/api/webhooks/{made['id']}").status == 204
