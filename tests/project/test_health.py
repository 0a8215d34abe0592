"""/health: the services that `ready` depends on, the longest time it takes, and its answer while draining."""

from __future__ import annotations

import asyncio
import json
import signal
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from routing_app.broker import health
from routing_app.broker.health import Probe
from routing_app.core.models import ConnectionRecord
from tests.conftest import ServerFactory
from tests.server.plain import Raw, begin_post, closed_with, handshake
from tests.services.databases import sql
from tests.services.ports import LOOPBACK
from tests.services.redis import Redis, find_redis
from tests.services.server import Server
from tests.services.waiting import until, until_equal


async def ask(server: Server, path: str, method: str = "GET") -> tuple[int, Any]:
    """Status and body."""

    def get() -> tuple[int, Any]:
        request = urllib.request.Request(server.url + path, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, json.loads(response.read() or b"{}")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read() or b"{}")

    return await asyncio.to_thread(get)


@pytest.mark.parametrize("runner", ["serve", "uvicorn"])
async def test_health_under_our_server_and_under_others(server: ServerFactory, runner: str) -> None:
    one = server(runner)
    if runner != "serve":
        one.manage("migrate")
    assert await ask(one, "/health/live") == (200, {"status": "live"})
    ready = {"status": "ready", "database": "ok", "layer": "ok"}
    await until_equal((200, ready), partial(ask, one, "/health/ready"))
    await until_equal((200, {}), partial(ask, one, "/health/ready", "HEAD"))
    assert (await ask(one, "/health/ready", "POST"))[0] == 405


async def test_ready_falls_first_and_health_is_answered_to_the_end(server: ServerFactory) -> None:
    switchboard = server(DRAIN_SECONDS="60")
    mute = Raw(*await asyncio.open_connection(LOOPBACK, switchboard.port))
    await mute.request(handshake("/ws"))
    unfinished = await begin_post(switchboard.port, "/")
    assert await ask(switchboard, "/health/live") == (200, {"status": "live"})
    switchboard.process.send(signal.SIGTERM)
    await until_equal((503, {"status": "draining"}), partial(ask, switchboard, "/health/ready"))
    assert await ask(switchboard, "/health/live") == (200, {"status": "live"})
    assert await mute.read_close(answer=False) == 1012
    unfinished.writer.write(b"b")
    assert await asyncio.to_thread(switchboard.process.wait, 60) == 0
    await mute.close()
    await unfinished.close()


@pytest.mark.once
async def test_the_product_drains_500_clients(server: ServerFactory) -> None:
    switchboard = server()
    url = f"{switchboard.ws_url}/ws?RegisterToken=drained"
    clients: list[ClientConnection] = []
    while len(clients) < 500:
        clients += await asyncio.gather(*(connect(url, compression=None, open_timeout=60) for _ in range(50)))
    assert await asyncio.to_thread(switchboard.stop, 60) == 0
    assert [await closed_with(client) for client in clients] == [1012] * 500
    [[count]] = sql(switchboard.database_url, f"SELECT count(*) FROM {ConnectionRecord._meta.db_table}")
    assert count == 0


async def test_a_layer_that_is_down_is_not_ready_until_it_is_back(
    server: ServerFactory, tmp_path: Path
) -> None:
    if find_redis() is None:
        pytest.skip("redis-server is not installed (make test installs it)")
    with Redis(tmp_path) as redis:
        switchboard = server(REDIS_URL=redis.url)

        async def is_ready() -> bool | None:
            """False when the layer, and nothing else, is said to be out; None where the database was slow."""
            status, body = await ask(switchboard, "/health/ready")
            if body["database"] == "no answer":  # a busy machine takes its time
                return None
            one_is_out = (status, body["status"], body["database"]) == (503, "not ready", "ok")
            if one_is_out and body["layer"] != "ok":
                return False
            return status == 200 or pytest.fail(f"{status} {body}")

        await until(is_ready)
        redis.kill()
        await until_equal(False, is_ready)
        redis.start()
        await until_equal(True, is_ready)


@pytest.mark.once
async def test_a_service_that_hangs_is_asked_once_and_waited_for_briefly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "PROBE_SECONDS", 0.05)
    monkeypatch.setattr(health, "FRESH_SECONDS", 3600.0)
    asked = 0
    answer = asyncio.Event()

    async def hang() -> None:
        nonlocal asked
        asked += 1
        await answer.wait()

    probe = Probe("service", hang)
    assert await asyncio.gather(*(probe.result() for _ in range(50))) == ["no answer"] * 50
    assert await probe.result() == "no answer"
    assert asked == 1
    answer.set()
    await asyncio.sleep(0)
    assert await probe.result() == "ok"
    assert asked == 1


@pytest.mark.once
async def test_a_result_is_asked_for_again_when_it_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes: list[Exception | None] = [ConnectionError("down"), None]

    async def once() -> None:
        if (outcome := outcomes.pop(0)) is not None:
            raise outcome

    monkeypatch.setattr(health, "FRESH_SECONDS", 3600.0)
    probe = Probe("service", once)
    assert await probe.result() == "ConnectionError"
    assert await probe.result() == "ConnectionError"
    monkeypatch.setattr(health, "FRESH_SECONDS", 0.0)
    assert await probe.result() == "ok"
