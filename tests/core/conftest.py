"""Fixtures of the core's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.core.layers import Cluster, cluster

KINDS = ["process", "redis", "lagging"]


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
