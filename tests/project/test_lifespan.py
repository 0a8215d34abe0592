"""A worker lives as long as its server, whichever ASGI server that is."""

from __future__ import annotations

import asyncio

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from routing_app.core.codes import RESTART
from routing_app.core.models import WorkerRecord
from tests.conftest import ServerFactory
from tests.services.databases import sql
from tests.services.server import Server
from tests.services.waiting import until_equal

RUNNERS = ["serve", "daphne", "uvicorn"]


def workers(server: Server) -> int:
    """Leases in the server's database."""
    return int(sql(server.database_url, f"SELECT count(*) FROM {WorkerRecord._meta.db_table}")[0][0])


@pytest.mark.parametrize("runner", RUNNERS)
async def test_a_worker_starts_before_its_clients_and_a_signal_tells_them_and_gives_the_lease_back(
    server: ServerFactory, runner: str
):
    broker = await asyncio.to_thread(server, runner)
    if runner != "daphne":  # which has no lifespan: there the worker starts with its first client
        await until_equal(1, lambda: asyncio.to_thread(workers, broker))
    async with connect(f"{broker.ws_url}/ws?RegisterToken=a", proxy=None) as client:
        await until_equal(1, lambda: asyncio.to_thread(workers, broker))

        stopping = asyncio.create_task(asyncio.to_thread(broker.stop))
        with pytest.raises(ConnectionClosed) as closed:
            await asyncio.wait_for(client.recv(), 60)

    await stopping
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code in {RESTART.code, RESTART.portable_code}
    assert await asyncio.to_thread(workers, broker) == 0
