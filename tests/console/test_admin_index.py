"""The index of the admin shows what is there now, and leads to the console."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db.models.functions import Now
from django.test import Client
from django.utils import timezone

from routing_app.core.models import LEASE_SECONDS, ConnectionRecord, WorkerRecord
from routing_app.core.protocol import registered
from tests.console.test_pages import client_of

pytestmark = pytest.mark.django_db

GONE = timedelta(seconds=LEASE_SECONDS + 1)
SESSIONS = "Sessions that are played"


def index(client: Client) -> str:
    answer = client.get("/admin/")
    assert answer.status_code == 200
    return answer.content.decode()


def counts(html: str) -> dict[str, int]:
    return {name: int(count) for name, count in re.findall(r'data-count="([^"]*)">(\d+)<', html)}


def worker(id: str, *protocols: str, is_gone: bool = False) -> None:
    """A worker with a connection of each protocol."""
    row = WorkerRecord.objects.create(id=id, host="here", pid=1)
    if is_gone:
        WorkerRecord.objects.filter(pk=id).update(renewed_at=Now() - GONE)
    for number, protocol in enumerate(protocols):
        ConnectionRecord.objects.create(
            id=f"{id}{number}", worker=row, protocol=protocol, connected_at=timezone.now()
        )


def test_it_counts_what_is_there_and_leads_to_the_console() -> None:
    worker("a" * 16, "tokens", "tokens", "rooms")
    worker("b" * 16, "tokens", "events")
    worker("c" * 16, "tokens", "requests", is_gone=True)
    client = Client()
    client.force_login(User.objects.create_superuser("admin"))
    html = index(client)

    expected = {one.label: 0 for one in registered() if not one.of_operators}
    expected |= {"Tokens": 3, "Rooms": 1, "Events": 1, "All connections": 5, "Workers": 2, SESSIONS: 0}
    assert counts(html) == expected
    assert 'href="/console/"' in html
    assert "Connections" in html, "rows are there as before"


def test_sessions_are_counted_for_those_who_may_see_them() -> None:
    assert SESSIONS not in counts(index(client_of()))
    assert SESSIONS in counts(index(client_of("sessions_app.view_session")))
