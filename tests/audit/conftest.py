"""Fixtures of the audit log's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from django.test import Client

from routing_app.core.access import keys
from routing_app.core.audit import refusals
from routing_app.core.audit.refusals import Refusals
from routing_app.core.models import ApiKey, Scope
from tests.services.databases import Databases
from tests.services.ports import LOOPBACK
from tests.services.running import running
from tests.services.server import Server

CANARY = "Canary0Secret"
"""Part of every secret in these tests; no entry may hold it."""


@pytest.fixture(scope="package")
def broker(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server behind a proxy."""
    with running(databases, tmp_path_factory.mktemp("audit"), TRUSTED_PROXIES=LOOPBACK) as server:
        yield server


@pytest.fixture(autouse=True)
def fresh_refusals(monkeypatch: pytest.MonkeyPatch) -> Iterator[Refusals]:
    """Nothing refused so far."""
    fresh = Refusals(lambda: 0.0)
    for module in ("refusals", "calls", "site", "upkeep"):
        monkeypatch.setattr(f"routing_app.core.audit.{module}.REFUSALS", fresh)
    yield fresh
    assert refusals.REFUSALS is fresh


@pytest.fixture
def key() -> ApiKey:
    """A key that may do everything."""
    row, _ = keys.issue("shop", Scope.values, f"sb_1f9Qx{CANARY}")
    return row


@pytest.fixture
def api(key: ApiKey) -> Client:
    """The holder of that key."""
    return Client(headers={"X-API-Key": f"sb_1f9Qx{CANARY}", "X-Request-ID": "request-1"})


@pytest.fixture
def reader() -> Client:
    """The holder of a key that may do nothing."""
    keys.issue("reader", [], f"sb_reade{CANARY}")
    return Client(headers={"X-API-Key": f"sb_reade{CANARY}"})


@pytest.fixture
def anna(client: Client) -> Client:
    """A superuser in the admin."""
    user = User.objects.create_superuser("anna", password=f"{CANARY}-of-anna")
    client.force_login(user)
    return client
