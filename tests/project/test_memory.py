"""Requests leave nothing behind: what is alive after many of them is what was alive after a few."""

from __future__ import annotations

import gc
import threading
from collections.abc import AsyncIterator
from weakref import ReferenceType

import pytest
from asgiref.sync import sync_to_async
from channels.testing import HttpCommunicator

from broker_project.asgi import application
from routing_app.core.access import keys
from routing_app.core.worker import current_worker, drop_worker

# Once: SQLite is where each thread opens and closes a connection for itself.
pytestmark = [pytest.mark.once, pytest.mark.django_db(transaction=True)]

REQUESTS = 200
NOISE = 150
"""Objects of a thread or two that may be about to end; a leak is one for each request at least."""


@pytest.fixture
async def key() -> AsyncIterator[str]:
    _, plain = await sync_to_async(keys.issue)("tester")
    yield plain
    await current_worker().stop()
    drop_worker()


@pytest.mark.parametrize("path", ["/?method=get_clients", "/api/clients/"])
async def test_a_request_leaves_no_object_and_no_thread(path: str, key: str) -> None:
    """One is served in a thread for queries, the other by Django in a thread of its own."""
    await ask(path, key, 20)
    before, threads = alive(), threading.active_count()
    await ask(path, key, REQUESTS)

    assert alive() - before < NOISE
    assert threading.active_count() - threads < REQUESTS / 10  # some more for requests that meet a busy one


def alive() -> int:
    """Objects, without those that `sqlite3` keeps for each connection: up to 128 statements, and up to 200
    weak references to cursors."""
    kinds = [type(one) for one in gc.get_objects()]
    return sum(kind is not ReferenceType and kind.__module__ != "sqlite3" for kind in kinds)


async def ask(path: str, key: str, times: int) -> None:
    for _ in range(times):
        communicator = HttpCommunicator(application, "GET", path, headers=[(b"x-api-key", key.encode())])
        await communicator.get_response(timeout=60)
        await communicator.wait()
    gc.collect()
