"""/health: the services that `ready` depends on, the longest time it takes, and its answer while draining."""

from __future__ import annotations

import asyncio
import json
import signal
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from routing_app.broker import health
from routing_app.broker.health import Probe
from routing_app.core.models import ConnectionRecord
from tests.conftest import ServerFactory
from tests.server.plain import Raw, closed_with, handshake
from tests.services.databases import sql
from tests.services.ports import LOOPBACK
from tests.services.redis import Redis, find_redis
from tests.services.server import Server


async def ask(server: Server, path: str, method: str = "GET") -> tuple[int, Any]:
    """Status and body."""

    def get() -> tuple[int, Any]:
        request = urllib.request.Request(server.url + path, method=method)
        try:
            with urllib.request.urlopen(request, timeout=5) as response:
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
    assert await ask(one, "/health/ready") == (200, {"status": "ready", "database": "ok", "layer": "ok"})
    assert await ask(one, "/health/ready", "HEAD") == (200, {})
    assert (await ask(one, "/health/ready", "POST"))[0] == 405


async def test_ready_falls_first_and_health_is_answered_to_the_end(server: ServerFactory) -> None:
    switchboard = server()
    reader, writer = await asyncio.open_connection(LOOPBACK, switchboard.port)
    mute = Raw(reader, writer)
    await mute.request(handshake("/ws"))
    switchboard.process.send(signal.SIGTERM)
    await asyncio.sleep(0.3)
    assert await ask(switchboard, "/health/ready") == (503, {"status": "draining"})
    assert await ask(switchboard, "/health/live") == (200, {"status": "live"})
    assert await mute.read_close(answer=False) == 1012
    assert await asyncio.to_thread(switchboard.process.wait, 60) == 0
    await mute.close()


@pytest.mark.once
async def test_the_product_drains_500_clients(server: ServerFactory) -> None:
    switchboard = server()
    url = f"{switchboard.ws_url}/ws?RegisterToken=drained"
    clients: list[ClientConnection] = []
    while len(clients) < 500:
        clients += await asyncio.gather(*(connect(url, compression=None) for _ in range(50)))
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
        assert (await ask(switchboard, "/health/ready"))[0] == 200
        redis.kill()
        await asyncio.sleep(health.FRESH_SECONDS)
        status, body = await ask(switchboard, "/health/ready")
        assert (status, body["database"], body["status"]) == (503, "ok", "not ready")
        assert body["layer"] != "ok"
        redis.start()
        for _ in range(50):
            if (await ask(switchboard, "/health/ready"))[0] == 200:
                break
            await asyncio.sleep(0.2)
        else:
            pytest.fail("not ready although Redis is back")


@pytest.mark.once
async def test_a_service_that_hangs_is_asked_once_and_waited_for_briefly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "PROBE_SECONDS", 0.05)
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

    probe = Probe("service", once)
    assert await probe.result() == "ConnectionError"
    assert await probe.result() == "ConnectionError"
    monkeypatch.setattr(health, "FRESH_SECONDS", 0.0)
    assert await probe.result() == "ok"
