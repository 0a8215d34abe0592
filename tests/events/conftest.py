"""One server with walkers for all tests that do not need settings of their own, and two users on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.conf import settings

from tests.events.client import User, new_user
from tests.services.databases import Databases
from tests.services.server import Server

APPS = "tests.events.app,examples.chat"


@pytest.fixture(scope="session")
def events(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the tests' walkers and the example's, on the stack of this run."""
    url = databases.create()
    options = {
        "DATABASE_URL": url,
        "REDIS_URL": settings.REDIS_URL,
        "EXTRA_APPS": APPS,
        "EVENTS_LOGIN_RATE": "0",
        "EVENTS_WALKER_SECONDS": "1",
    }
    server = Server(tmp_path_factory.mktemp("events"), options)
    try:
        server.start()
        yield server
    finally:
        server.close()
        databases.drop(url)


@pytest.fixture(scope="session")
def ann(events: Server) -> User:
    return new_user(events)


@pytest.fixture(scope="session")
def bob(events: Server) -> User:
    return new_user(events)
