"""A server for all tests of limits on sockets: each test comes from a network address of its own."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from routing_app.core.rate_limits import redis
from tests.services.databases import Databases
from tests.services.running import running
from tests.services.server import Server

_hosts = count(1)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have counts in this process wait for Redis as long as a busy machine may need."""
    monkeypatch.setattr(redis, "CONNECT_SECONDS", 60.0)
    monkeypatch.setattr(redis, "ANSWER_SECONDS", 60.0)


@pytest.fixture(scope="package")
def broker(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """It believes the tests which client they speak for."""
    with running(databases, tmp_path_factory.mktemp("limits"), TRUSTED_PROXIES="127.0.0.1") as server:
        yield server


@pytest.fixture
def host() -> str:
    number = next(_hosts)
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


@pytest.fixture
def other_host() -> str:
    return f"192.168.1.{next(_hosts) % 250 + 1}"
