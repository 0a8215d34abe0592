"""Fixtures of the core's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from routing_app.core import database
from routing_app.core.cluster import relay, subscriptions
from routing_app.core.leases import witness
from routing_app.core.protocol import register, unregister
from routing_app.core.rate_limits import redis as redis_counts
from routing_app.core.worker import Worker, current_worker, drop_worker
from tests.core.layers import Cluster, cluster
from tests.core.sockets import LINE, Ledger, Probe, ProbeProtocol

KINDS = ["process", "redis", "lagging"]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may need longer for all that waits for the layer, Redis or the database; tests of that
    set their own times.
    """
    monkeypatch.setattr(relay, "PATIENCE_SECONDS", 30.0)
    monkeypatch.setattr(relay, "RETRY_SECONDS", 30.0)
    monkeypatch.setattr(subscriptions, "CONFIRM_SECONDS", 30.0)
    for module in (redis_counts, witness):
        monkeypatch.setattr(module, "ANSWER_SECONDS", 30.0)
    monkeypatch.setattr(redis_counts, "CONNECT_SECONDS", 30.0)
    monkeypatch.setattr(database, "APART_SECONDS", 30.0)


@pytest.fixture(params=KINDS)
async def processes(request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    """Processes on one channel layer, of every kind in turn."""
    url = request.getfixturevalue("redis_url") if request.param == "redis" else ""
    async with cluster(request.param, url) as one:
        yield one


@pytest.fixture
async def lagging() -> AsyncIterator[Cluster]:
    """Processes on a layer that can be made to fail."""
    async with cluster("lagging") as one:
        yield one


@pytest.fixture
async def worker(settings) -> AsyncIterator[Worker]:
    """This process's worker, with its database and layer as the settings say."""
    settings.ORIGINS = {**settings.ORIGINS, LINE: ["self", "https://good.example"]}
    register(ProbeProtocol)
    one = current_worker()
    yield one
    await one.stop()
    drop_worker()
    unregister(ProbeProtocol)


@pytest.fixture
def probe() -> type[Probe]:
    """A protocol of its own for each test."""
    return type("Fresh", (Probe,), {"act": {}, "log": [], "seen": []})


@pytest.fixture
def ledger(worker: Worker) -> Ledger:
    return Ledger(worker)
