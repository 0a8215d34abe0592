"""A server that the tests of revocations share, and clients of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest
from django.conf import settings

from tests.revocations.clients import Issuer, call
from tests.services.databases import Databases
from tests.services.running import running
from tests.services.server import Server


@pytest.fixture(scope="package")
def broker(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two workers where the stack allows."""
    options = {"WORKERS": "2" if settings.REDIS_URL else "1"}
    with running(databases, tmp_path_factory.mktemp("revocations"), **options) as server:
        yield server


@pytest.fixture(scope="package")
def issuer(broker: Server) -> Issuer:
    """An issuer that the server knows."""
    one = Issuer("shop", "s" * 32)
    keys = [{"algorithm": "HS256", "secret": one.secret}]
    status, made = call(broker, "POST", "/api/issuers/", {"name": one.name, "keys": keys})
    assert status == 201, made
    return one


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """Closes what a test has opened."""
    async with AsyncExitStack() as stack:
        yield stack
