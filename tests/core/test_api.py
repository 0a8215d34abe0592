"""`/api/clients/`, and edges of every listing: nothing in a URL is an error of the server's."""

from __future__ import annotations

import pytest
from django.test import Client
from django.utils import timezone

from routing_app.core import keys
from routing_app.core.models import ConnectionRecord, Subscription, Worker

pytestmark = pytest.mark.django_db


@pytest.fixture
def api() -> Client:
    """A caller whose key may do everything."""
    _, key = keys.issue("all")
    return Client(headers={"X-API-Key": key})


@pytest.fixture
def connected() -> list[str]:
    """Ids of two clients of a living worker, the newest first."""
    worker = Worker.objects.create(id="0123456789abcdef", host="host", pid=1)
    ids = [f"{worker.id}{number:012x}" for number in range(2)]
    for id, line in zip(ids, ["tokens", "events"], strict=True):
        row = ConnectionRecord.objects.create(id=id, worker=worker, line=line, connected_at=timezone.now())
        Subscription.objects.create(connection=row, address=f"token:{line}")
    return ids[::-1]


def ids(api: Client, query: str = "") -> list[str]:
    return [row["id"] for row in api.get(f"/api/clients/{query}").json()["results"]]


def test_clients_are_listed_and_narrowed(api: Client, connected: list[str]) -> None:
    events, tokens = connected

    assert ids(api) == [events, tokens]
    assert ids(api, "?line=tokens") == [tokens]
    assert ids(api, "?address=token:events") == [events]
    assert ids(api, "?line=tokens&address=token:events") == []
    assert ids(api, "?page_size=1&page=2") == [tokens]
    assert api.get(f"/api/clients/{tokens}/").json()["line"] == "tokens"


@pytest.mark.parametrize(
    "path",
    [
        "/api/clients/?line=%00",
        "/api/clients/?address=a%00b",
        "/api/clients/?address=%ff%fe",
        "/api/clients/?line=" + "x" * 5000,
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
