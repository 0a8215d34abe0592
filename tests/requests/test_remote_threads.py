"""A connection asked from a thread of its own process, and before that process has served anybody."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from routing_app.core.database import query
from routing_app.core.delivery.connection import new_id
from routing_app.core.worker import Worker, current_worker
from routing_app.requests.errors import ConnectionClosed
from routing_app.requests.pending import Request
from routing_app.requests.remote import connection

pytestmark = pytest.mark.django_db(transaction=True)

NOBODY = "0123456789abcdef000000000000"


def echo(worker: Worker) -> str:
    """A connection here whose client answers with what it is asked; its id."""

    def request(message: dict[str, Any], timeout: float | None) -> Request:
        asked = Request(timeout)
        asked.partial({"n": 1})
        asked.reply({"got": message})
        return asked

    async def send(message: dict[str, Any], timeout: float | None, volatile: bool = False) -> None:
        sent.append(message)

    sent: list[dict[str, Any]] = []
    id = new_id(worker.id)
    worker.protocols["requests"].connections[id] = SimpleNamespace(request=request, send=send, sent=sent)
    return id


FROM: dict[str, Callable[[Callable[[], Any]], Any]] = {
    "a view": sync_to_async,
    "a walker's thread": lambda function: lambda: query(function),
}


@pytest.mark.parametrize("place", FROM)
async def test_a_connection_of_this_process_is_asked(worker: Worker, place: str) -> None:
    await worker.start()
    id = echo(worker)

    reply, partials = await FROM[place](lambda: connection(id).request_sync({"q": 1}, timeout=60))()
    await FROM[place](lambda: connection(id).send_sync({"q": 2}, timeout=60))()

    assert (reply, partials) == ({"got": {"q": 1}}, [{"n": 1}])
    assert worker.protocols["requests"].connections[id].sent == [{"q": 2}]


ASKED: dict[str, Callable[[], Any]] = {
    "request": lambda: connection(NOBODY).request_sync({"q": 1}, timeout=0.1),
    "send": lambda: connection(NOBODY).send_sync({"q": 1}, timeout=0.1),
    "close": lambda: connection(NOBODY[:3]).close_sync(),
}


@pytest.mark.parametrize("kind", ASKED)
async def test_a_process_that_has_not_served_yet_keeps_its_worker(worker: Worker, kind: str) -> None:
    """A socket that connects at that moment belongs to the same one, and stays reachable."""
    with pytest.raises((ConnectionClosed, TimeoutError)):
        await sync_to_async(ASKED[kind])()
    await worker.start()

    assert current_worker() is worker
    assert worker.serving
