"""`get_clients`, by the rows it is made from."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from routing_app.core.access.grants import Grant
from routing_app.core.access.masking import SecretAccess
from routing_app.core.models import LEASE_SECONDS, ConnectionRecord, WorkerRecord
from routing_app.tokens import service

EVERYTHING = Grant(secrets=SecretAccess(everything=True))

pytestmark = pytest.mark.django_db


def worker(id: str, silent_for: float = 0) -> WorkerRecord:
    """A worker that renewed its lease so many seconds ago."""
    return WorkerRecord.objects.create(
        id=id, host="host", pid=1, renewed_at=timezone.now() - timedelta(seconds=silent_for)
    )


def connected(
    worker: WorkerRecord, id: str, peer: str, token: str = "abc1", protocol: str = "tokens"
) -> None:
    now = timezone.now()
    ConnectionRecord.objects.create(
        id=id, worker=worker, protocol=protocol, identity=token, peer=peer, connected_at=now
    )


def test_decision_20_clients_that_share_an_address_or_have_none_are_known_by_their_id() -> None:
    one = worker("one")
    connected(one, "c1", "10.0.0.1:1", "a")
    connected(one, "c2", "10.0.0.1:1", "b")
    connected(one, "c3", "", "c")
    connected(one, "c4", "[::1]:2", "unregistered")

    assert service.clients(EVERYTHING) == {
        "10.0.0.1:1": "a",
        "10.0.0.1:1#c2": "b",
        "c3": "c",
        "[::1]:2": "unregistered",
    }


def test_decision_21_clients_of_a_worker_whose_lease_has_ended_are_gone() -> None:
    connected(worker("alive", LEASE_SECONDS / 5), "c1", "10.0.0.1:1")
    connected(worker("dead", LEASE_SECONDS + 5), "c2", "10.0.0.1:2")

    assert service.clients(EVERYTHING) == {"10.0.0.1:1": "abc1"}


def test_clients_of_other_protocols_are_not_listed() -> None:
    connected(worker("one"), "c1", "10.0.0.1:1", protocol="rooms")

    assert service.clients(EVERYTHING) == {}
