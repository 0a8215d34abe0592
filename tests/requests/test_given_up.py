"""A request of another process that is given up there is forgotten where the client is."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from routing_app.core.cluster.calls import CallRefused, Incoming
from routing_app.core.delivery.connection import Connection as Inner
from routing_app.core.delivery.connection import new_id
from routing_app.core.worker import Worker
from routing_app.requests.connection import Connection
from routing_app.requests.remote import RemoteRequests
from routing_app.requests.wire import Codec
from tests.core.harness import Encoder, Recorder

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.once]

ASKED: Final = {"type": "q", "key": "k"}


@pytest.fixture
def client(worker: Worker) -> Connection:
    inner = Inner(new_id(worker.id), "requests", Recorder(), worker.flusher, Encoder())
    worker.hub.add(inner)
    one = worker.protocols["requests"].connections[inner.id] = Connection(inner, Codec(), receipts=False)
    return one


def remote(worker: Worker) -> RemoteRequests:
    one: RemoteRequests = worker.protocols["requests"].remote
    return one


def piece(client: Connection) -> None:
    """The client answers with a partial."""
    assert client.answered(client.codec.decode('{"direction": "PARTIAL", "key": "k", "n": 1}'))


async def test_while_a_partial_waits_to_be_passed_on(worker: Worker, client: Connection) -> None:
    passing = asyncio.Event()

    async def partial(message: Any) -> None:
        passing.set()
        await asyncio.Event().wait()

    serving = asyncio.ensure_future(
        remote(worker)._serve(Incoming("asker", [client.id, "request", ASKED, None], partial))
    )
    await asyncio.sleep(0)
    piece(client)
    await passing.wait()
    assert client.waiting_for == 1
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving

    assert client.waiting_for == 0


async def test_because_a_partial_cannot_be_passed_on(worker: Worker, client: Connection) -> None:
    async def partial(message: Any) -> None:
        raise OSError("the way back is out")

    serving = asyncio.ensure_future(
        remote(worker)._serve(Incoming("asker", [client.id, "request", ASKED, None], partial))
    )
    await asyncio.sleep(0)
    piece(client)
    with pytest.raises(CallRefused) as refused:
        await serving

    assert refused.value.payload == ("refused", "the way back is out")
    assert client.waiting_for == 0
