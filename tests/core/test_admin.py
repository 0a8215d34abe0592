"""The admin of the core: what only the server writes can be looked at, and not saved."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from routing_app.core.models import ConnectionRecord, WorkerRecord

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator(client: Client) -> Client:
    """Somebody who may do everything."""
    client.force_login(User.objects.create(username="anna", is_staff=True, is_superuser=True))
    return client


@pytest.fixture
def connected() -> ConnectionRecord:
    """A client of the tokens protocol, whose token is its credential."""
    worker = WorkerRecord.objects.create(id="0123456789abcdef", host="host", pid=1)
    return ConnectionRecord.objects.create(
        id="0123456789abcdef0123456789ab",
        worker=worker,
        protocol="tokens",
        identity="credential",
        peer="10.0.0.1:4000",
        connected_at=timezone.now(),
    )


def test_connected_clients_are_listed_with_their_tokens(
    operator: Client, connected: ConnectionRecord
) -> None:
    page = operator.get("/admin/core/connectionrecord/").content.decode()

    assert connected.id in page
    assert "credential" in page
    assert 'value="disconnect"' in page


@pytest.mark.parametrize("model", ["connectionrecord", "workerrecord"])
def test_the_page_of_a_row_shows_it_and_saves_nothing(
    operator: Client, connected: ConnectionRecord, model: str
) -> None:
    """A row of a client that has left while an operator looks at it must not come back."""
    pk = connected.pk if model == "connectionrecord" else connected.worker.pk
    page = operator.get(f"/admin/core/{model}/{pk}/change/")

    assert page.status_code == 200
    assert "_save" not in page.content.decode()
    assert operator.post(f"/admin/core/{model}/{pk}/change/", {"_save": "Save"}).status_code == 403
    assert operator.get(f"/admin/core/{model}/add/").status_code == 403
    assert operator.post(f"/admin/core/{model}/{pk}/delete/", {"post": "yes"}).status_code == 403


def test_absent_clients_are_not_listed(operator: Client, connected: ConnectionRecord) -> None:
    WorkerRecord.objects.update(renewed_at="2020-01-01T00:00:00Z")

    assert connected.id not in operator.get("/admin/core/connectionrecord/").content.decode()
    assert operator.get(f"/admin/core/connectionrecord/{connected.pk}/change/").status_code == 302
