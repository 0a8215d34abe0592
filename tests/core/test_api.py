"""`/api/clients/`, and edges of every listing: nothing in a URL is an error of the server's."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client
from django.utils import timezone

from routing_app.broker.routing import Sockets
from routing_app.core.access import keys
from routing_app.core.models import ConnectionRecord, Subscription, WorkerRecord
from tests.core.harness import Counted

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def api() -> Client:
    """A caller whose key may do everything."""
    _, key = keys.issue("all")
    return Client(headers={"X-API-Key": key})


@pytest.fixture
def connected() -> list[str]:
    """Ids of two clients of a living worker, the newest first."""
    worker = WorkerRecord.objects.create(id="0123456789abcdef", host="host", pid=1)
    ids = [f"{worker.id}{number:012x}" for number in range(2)]
    for id, name in zip(ids, ["tokens", "events"], strict=True):
        row = ConnectionRecord.objects.create(
            id=id, worker=worker, protocol=name, connected_at=timezone.now()
        )
        Subscription.objects.create(connection=row, address=f"token:{name}")
    return ids[::-1]


def ids(api: Client, query: str = "") -> list[str]:
    return [row["id"] for row in api.get(f"/api/clients/{query}").json()["results"]]


def test_clients_are_listed_and_narrowed(api: Client, connected: list[str]) -> None:
    events, tokens = connected

    assert ids(api) == [events, tokens]
    assert ids(api, "?protocol=tokens") == [tokens]
    assert ids(api, "?address=token:events") == [events]
    assert ids(api, "?protocol=tokens&address=token:events") == []
    assert ids(api, "?page_size=1&page=2") == [tokens]
    assert api.get(f"/api/clients/{tokens}/").json()["protocol"] == "tokens"


@pytest.mark.parametrize(
    "path",
    [
        "/api/clients/?protocol=%00",
        "/api/clients/?address=a%00b",
        "/api/clients/?address=%ff%fe",
        "/api/clients/?protocol=" + "x" * 5000,
        "/api/clients/?page=99999999999999999999",
        "/api/clients/?page_size=0",
        "/api/clients/" + "f" * 3000 + "/",
        "/api/tokens/?search=%00",
        "/api/tokens/?source=%00",
        "/api/tokens/99999999999999999999999/",
        "/api/publish?key=%00",
        "/?method=get_clients&key=%00",
    ],
)
def test_a_strange_url_is_answered(api: Client, path: str) -> None:
    assert api.get(path).status_code in {200, 400, 401, 404, 405}


@pytest.mark.parametrize(
    ("path", "body", "key", "status", "reason"),
    [
        ("/api/publish", {"addresses": ["nonsense"], "message": 1}, "", 400, "malformed"),
        ("/api/publish", {"message": 1}, "", 400, "malformed"),
        ("/api/publish", {"addresses": ["token:a"], "message": 1}, "wrong", 401, "forbidden"),
        ("/api/clients/", {}, "", 405, "malformed"),
    ],
)
def test_refused_requests_are_counted(
    api: Client, path: str, body: dict[str, Any], key: str, status: int, reason: str
) -> None:
    refused = Counted("switchboard_refused_total", protocol="api", reason=reason)
    headers = {"X-API-Key": key} if key else {}

    answer = api.post(path, body, content_type="application/json", headers=headers)

    assert answer.status_code == status
    assert refused.grown == 1


def test_an_outage_is_counted(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def find(plain: str) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr(keys, "find", find)
    refused = Counted("switchboard_refused_total", protocol="api", reason="unavailable")

    assert api.get("/api/clients/").status_code == 503
    assert refused.grown == 1


async def test_a_socket_path_that_nobody_serves_is_counted() -> None:
    refused = Counted("switchboard_refused_total", protocol="none", reason="path")
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    await Sockets({})({"type": "websocket", "path": "/nothing"}, receive, send)

    assert [message["type"] for message in sent] == ["websocket.close"]
    assert refused.grown == 1
