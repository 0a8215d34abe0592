"""A subscription that is refused once the streams are attached leaves the connection as it was."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from typing import Any

import pytest

from routing_app.core.access.grants import UNBOUNDED, GrantKind
from routing_app.core.access.patterns import Patterns
from routing_app.core.cluster.subscriptions import LayerUnavailable
from routing_app.core.delivery.connection import Connection as Inner
from routing_app.core.delivery.connection import new_id
from routing_app.core.publishing import publish
from routing_app.core.streams.rules import RuleTable
from routing_app.core.worker import Worker, current_worker, drop_worker
from routing_app.requests import service
from routing_app.requests.connection import Connection
from routing_app.requests.errors import RequestDenied
from routing_app.requests.wire import Codec
from tests.core.harness import Encoder, Recorder, received, until_received
from tests.services.waiting import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.once]

A, B = "token:a", "token:b"
READER = replace(UNBOUNDED, kind=GrantKind.KEY, scopes=frozenset({"read"}))


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    """This process as a worker whose tokens have history."""
    one = current_worker()
    one.streams.use(RuleTable([("token:*", 10, 300, False)]))
    yield one
    await one.stop()
    drop_worker()


@pytest.fixture
def client(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> Connection:
    inner = Inner(new_id(worker.id), "requests", Recorder(), worker.flusher, Encoder())
    worker.hub.add(inner)
    one = Connection(inner, Codec(), receipts=False)
    one.grant = inner.grant = READER
    monkeypatch.setattr(Connection, "record", lambda self: None)
    return one


async def test_what_it_had_before_goes_on(
    worker: Worker, client: Connection, monkeypatch: pytest.MonkeyPatch
):
    """Its credential lost the new address while the streams were looked at."""
    _, start = await service.subscribe(client, {"addresses": [A]})
    start()
    find = worker.streams.replays._find

    async def narrowed(*arguments: Any) -> Any:
        client.grant = replace(READER, subscribe=Patterns((A,)))
        return await find(*arguments)

    monkeypatch.setattr(worker.streams.replays, "_find", narrowed)
    with pytest.raises(RequestDenied, match="does not allow"):
        await service.subscribe(client, {"addresses": [B], "last": 1})
    await publish([A], "still here")

    assert await until_received(client.inner) == ["still here"]
    assert set(client.inner.addresses) == {A}
    await until(lambda: not worker.streams.replays._running)
    assert received(client.inner) == ["still here"]


async def test_an_address_that_it_asked_for_again_goes_on_too(
    worker: Worker, client: Connection, monkeypatch: pytest.MonkeyPatch
):
    """The refused request names what the client has, beside what its credential has lost."""
    _, start = await service.subscribe(client, {"addresses": [A]})
    start()
    want = worker.relay.want

    async def narrowed(addresses: Iterable[str]) -> None:
        client.grant = replace(READER, subscribe=Patterns((A,)))
        await want(addresses)

    monkeypatch.setattr(worker.relay, "want", narrowed)
    with pytest.raises(RequestDenied, match=f"does not allow {B}"):
        await service.subscribe(client, {"addresses": [A, B]})

    assert set(client.inner.addresses) == {A}
    await publish([A], "still here")
    assert await until_received(client.inner) == ["still here"]


async def test_a_request_that_fails_at_its_notices_leaves_nothing_new(
    worker: Worker, client: Connection, monkeypatch: pytest.MonkeyPatch
):
    async def out(*arguments: Any) -> None:
        raise LayerUnavailable

    _, start = await service.subscribe(client, {"addresses": [A]})
    start()
    monkeypatch.setattr(worker.notices, "watch", out)
    with pytest.raises(LayerUnavailable):
        await service.subscribe(client, {"addresses": [A, B]})

    assert set(client.inner.addresses) == {A}
