"""A server that all tests of the stream protocol share."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from tests.requests.peer import call
from tests.services.databases import Databases
from tests.services.running import running
from tests.services.server import Server
from tests.services.waiting import wait_until

SITE = "https://page.example"


def publish(server: Server, message: Any, *addresses: str) -> dict[str, Any]:
    """The positions of a message."""
    status, answer = call(server, "/api/publish", {"addresses": addresses, "message": message})
    assert status == 200, answer
    positions: dict[str, Any] = answer.get("positions", {})
    return positions


@pytest.fixture(scope="package")
def broker(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Every address has history, but channels; comments come often, and a page of another site may read."""
    options = {"HISTORY_SIZE": "50", "STREAM_COMMENT_SECONDS": "0.2", "STREAM_ORIGINS": f"self,{SITE}"}
    with running(databases, tmp_path_factory.mktemp("stream"), **options) as server:
        rule = {"pattern": "channel:*", "history_size": 0, "history_seconds": 1}
        assert call(server, "/api/rules/", rule)[0] == 201
        wait_until(lambda: not publish(server, 0, "channel:1"))
        yield server


@pytest.fixture
def a() -> str:
    return f"token:{secrets.token_hex(4)}"


@pytest.fixture
def b() -> str:
    return f"token:{secrets.token_hex(4)}"


@pytest.fixture
def c() -> str:
    """An address without history."""
    return f"channel:{secrets.token_hex(4)}"
