"""What a client does while a request of its staff session is looked up in the database stays as it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any, Final

import pytest

from routing_app.core.access import admission, keys
from routing_app.core.access.grants import Grant, GrantKind
from routing_app.core.access.patterns import EVERYTHING
from routing_app.core.codes import EXPIRED, NORMAL
from routing_app.core.database import query
from routing_app.core.delivery.connection import Connection as Inner
from routing_app.core.delivery.connection import ConnectionState, new_id
from routing_app.core.models import Scope
from routing_app.core.worker import Worker
from routing_app.requests import access, service
from routing_app.requests.connection import Connection
from routing_app.requests.errors import ConnectionClosed, RequestDenied
from routing_app.requests.wire import Codec
from tests.core.harness import Encoder, Recorder

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.once]

STAFF: Final = Grant(
    GrantKind.STAFF, "ann", scopes=frozenset({Scope.READ}), subscribe=EVERYTHING, session="s" * 32
)
MORE: Final = replace(STAFF, scopes=frozenset({Scope.READ, Scope.MANAGE}))
"""The same session, once its user has got another permission."""

Answer = dict[Grant, Grant]


@pytest.fixture
async def client(worker: Worker) -> Connection:
    """A client with a staff session."""
    inner = Inner(new_id(worker.id), "requests", Recorder(), worker.flusher, Encoder())
    admission.arrived(worker, inner)
    one = Connection(inner, Codec(), receipts=False)
    access.hold(one, STAFF)
    return one


class Look:
    """The first look at the session waits in the database until it is `answered`."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self._answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.later: Answer = {}
        """The answer to the looks after it."""

    def answered(self, answer: Answer) -> None:
        self._answer.set_result(answer)

    async def __call__(self, look: Callable[..., Any], held: Collection[Grant]) -> Answer:
        if self.begun.is_set():
            return self.later
        self.begun.set()
        return await self._answer


@pytest.fixture
async def look(monkeypatch: pytest.MonkeyPatch) -> Look:
    one = Look()
    monkeypatch.setattr(access, "query", one)
    return one


@pytest.mark.parametrize("answer", [{}, {STAFF: MORE}], ids=["the session has ended", "it has more rights"])
async def test_a_key_that_it_presents_meanwhile_counts(
    client: Connection, look: Look, answer: Answer
) -> None:
    _, plain = await query(keys.issue, "its own", [Scope.READ, Scope.PUBLISH])
    listing = asyncio.ensure_future(service.presence(client, {"address": "token:x"}))
    await look.begun.wait()
    await service.authenticate(client, {"api_key": plain})
    look.answered(answer)

    assert await listing == {"connections": [], "count": 0}
    assert client.inner.state is ConnectionState.OPEN
    assert client.inner.grant.identity == service.whoami(client)["name"] == "its own"


async def test_a_key_that_it_presents_meanwhile_needs_the_right(client: Connection, look: Look) -> None:
    _, plain = await query(keys.issue, "its own", [Scope.PUBLISH])
    listing = asyncio.ensure_future(service.presence(client, {"address": "token:x"}))
    await look.begun.wait()
    await service.authenticate(client, {"api_key": plain})
    look.answered({STAFF: MORE})

    with pytest.raises(RequestDenied, match="the scope read is needed"):
        await listing


async def test_rights_of_the_session_that_came_meanwhile_count(
    worker: Worker, client: Connection, look: Look
) -> None:
    """The look of every five seconds has found them first."""
    asking = asyncio.ensure_future(access.require(client, Scope.MANAGE))
    await look.begun.wait()
    access.hold(client, MORE)
    look.later = {MORE: MORE}
    look.answered({STAFF: STAFF})

    await asking
    assert client.inner.grant is MORE


async def test_one_that_has_left_is_not_held(worker: Worker, client: Connection, look: Look) -> None:
    """Its request goes on with the rights that it has."""
    asking = asyncio.ensure_future(access.require(client, Scope.MANAGE))
    await look.begun.wait()
    admission.departed(worker, client.inner, NORMAL)
    client.ended(1001, "")
    look.answered({STAFF: MORE})

    await asking
    assert client.inner not in worker.grants._held


async def test_one_that_was_sent_away_gets_nothing(client: Connection, look: Look) -> None:
    asking = asyncio.ensure_future(access.require(client, Scope.READ))
    await look.begun.wait()
    client.inner.close(EXPIRED)
    look.answered({STAFF: STAFF})

    with pytest.raises(ConnectionClosed, match="4005"):
        await asking
