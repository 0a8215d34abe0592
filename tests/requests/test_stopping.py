"""A worker that is told to stop ends, whoever still waits for an answer over its REST API."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from http.client import HTTPConnection

import pytest

from tests.requests.conftest import Connect
from tests.requests.serving import serving
from tests.services.databases import Databases
from tests.services.ports import LOOPBACK
from tests.services.server import Server
from tests.services.waiting import wait_until

pytestmark = pytest.mark.once  # its processes share a Redis on both stacks

ASKING = 5


def ask(server: Server, id: str) -> tuple[int, str | None]:
    """Ask a client that does not answer: status, and `Retry-After`."""
    body = json.dumps({"message": {"type": "q"}, "timeout": 60})
    headers = {"Content-Type": "application/json", "X-API-Key": server.api_key}
    with closing(HTTPConnection(LOOPBACK, server.port, timeout=120)) as connection:
        connection.request("POST", f"/api/connections/{id}/request", body, headers)
        response = connection.getresponse()
        return response.status, response.headers["Retry-After"]


def test_a_view_that_waits_for_a_client_elsewhere_does_not_keep_its_worker(
    databases: Databases, tmp_path_factory: pytest.TempPathFactory, redis_url: str, connect: Connect
) -> None:
    paths, shared = tmp_path_factory, {"REDIS_URL": redis_url}
    with (
        ThreadPoolExecutor(ASKING) as threads,
        serving(databases, paths, **shared) as one,
        serving(databases, paths, **shared, DATABASE_URL=one.database_url, DRAIN_SECONDS="1") as other,
    ):
        asked = connect(one)
        asking = [threads.submit(ask, other, asked.id) for _ in range(ASKING)]
        came: list[object] = []

        def all_came() -> bool:
            """Asks again where the asker took the worker for dead, as it may on a busy machine."""
            with suppress(TimeoutError):
                came.append(asked.next(timeout=1))
            for number, answer in enumerate(asking):
                if answer.done():
                    asking[number] = threads.submit(ask, other, asked.id)
            return len(came) >= ASKING

        wait_until(all_came)
        assert other.stop(60) == 0, other.log_text()
        assert [answer.result() for answer in asking] == [(503, "1")] * ASKING
        assert "Traceback" not in other.log_text()
