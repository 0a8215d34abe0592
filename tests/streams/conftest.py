"""Fixtures of the tests of streams: a store of each kind, and processes whose addresses have history."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest

from routing_app.core.cluster import relay, subscriptions
from routing_app.core.streams import lane, streams
from routing_app.core.streams.redis import RedisStore
from tests.core.layers import cluster
from tests.streams.client import Client
from tests.streams.harness import Clock, MemoryKind, RedisKind, StoreKind
from tests.streams.processes import Processes, SharedStore


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may take longer than publishers and subscribers wait."""
    for name in ("PATIENCE_SECONDS", "ANSWER_SECONDS", "CONNECT_SECONDS"):
        monkeypatch.setattr(lane, name, 30.0)
    for module in (streams, relay):
        monkeypatch.setattr(module, "PATIENCE_SECONDS", 30.0)
    monkeypatch.setattr(relay, "RETRY_SECONDS", 30.0)
    monkeypatch.setattr(subscriptions, "CONFIRM_SECONDS", 30.0)


@pytest.fixture(params=["memory", "redis"])
async def kind(request: pytest.FixtureRequest) -> AsyncIterator[StoreKind]:
    """A store, and what may happen to it."""
    clock = Clock()
    if request.param == "memory":
        yield MemoryKind(clock)
        return
    url = request.getfixturevalue("redis_url")
    one = RedisKind(clock, RedisStore(url, secrets.token_hex(4), clock.ahead))
    yield one
    await one.store.stop()


@pytest.fixture
async def two() -> AsyncIterator[Processes]:
    """Two processes whose tokens have history."""
    async with cluster("lagging") as processes:
        yield Processes(processes, SharedStore())


@pytest.fixture
def reader() -> Client:
    """A client that is not connected yet."""
    return Client()
