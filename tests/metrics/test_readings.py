"""Gauges of what a worker is connected to."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer
from django.db.backends.postgresql.base import DatabaseWrapper
from django.db.utils import ConnectionHandler

from routing_app.broker import stores
from routing_app.core import readings
from routing_app.core.cluster import relay as module
from routing_app.core.worker import Worker
from tests.core.harness import metric
from tests.services.waiting import until

pytestmark = pytest.mark.once


class Layer(InMemoryChannelLayer):
    """A layer that takes everything, and may bring nothing back."""

    is_cut = False

    async def group_send(self, group: str, message: dict) -> None:
        if not self.is_cut:
            await super().group_send(group, message)


async def test_a_layer_that_brings_nothing_back_is_down_until_it_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.02)
    monkeypatch.setattr(module, "SILENT_SECONDS", 0.2)
    layer = Layer()
    worker = Worker(layer, asyncio.get_running_loop())
    await worker.relay.want(["token:metrics"])
    monkeypatch.setattr(readings, "PAUSE_SECONDS", 0.01)
    reading = asyncio.ensure_future(readings.Readings(worker.hub, worker.relay).read_all())
    await until(lambda: metric("switchboard_redis_up") == 1)

    layer.is_cut = True
    await until(lambda: metric("switchboard_redis_up") == 0)
    # It stays down, though the relay has the layer connect again after each silence.
    seen = []
    for _ in range(30):
        await asyncio.sleep(0.02)
        seen.append(metric("switchboard_redis_up"))
    assert set(seen) == {0}

    layer.is_cut = False
    await until(lambda: metric("switchboard_redis_up") == 1)
    reading.cancel()
    await worker.stop()


def test_the_pool_is_read_without_a_connection(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DatabaseWrapper, "_connection_pools", {})  # not that of the other tests
    handler = ConnectionHandler({"default": stores.database(postgres_url, tmp_path, 4, 5.0)})
    monkeypatch.setattr(readings, "connections", handler)

    def states() -> dict[str, float]:
        readings._read_pool()
        names = ("used", "idle", "waiting")
        return {name: metric("switchboard_database_pool", state=name) for name in names}

    assert states() == {"used": 0, "idle": 0, "waiting": 0}
    connection: Any = handler["default"]
    with connection.pool as pool:  # opens it
        pool.wait()
        with pool.connection():
            assert states() == {"used": 1, "idle": 0, "waiting": 0}
        assert states() == {"used": 0, "idle": 1, "waiting": 0}
