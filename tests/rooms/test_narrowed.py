"""A key that comes to cover less while a client of it is on its way into a room."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from routing_app.core import metrics
from routing_app.core.access.grants import Grant, GrantKind
from routing_app.core.access.patterns import Patterns
from routing_app.core.codes import FORBIDDEN
from routing_app.core.delivery.connection import Connection, ConnectionState, new_id
from routing_app.core.delivery.hub import Hub
from routing_app.core.worker import Worker
from routing_app.rooms import lobby, records, service, wire
from routing_app.rooms.encoders import PLAIN
from routing_app.rooms.members import Member, MembershipEntry, members_of
from routing_app.rooms.models import Membership
from routing_app.rooms.records import Verb
from tests.core.harness import Recorder
from tests.rooms.lobbies import settle, workers

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.once]

NOT_COVERED = ("ERROR", {"event": "JOIN", "reason": "the credential does not cover this room"})


def key(*patterns: str) -> Grant:
    held = Patterns(patterns)
    return Grant(GrantKind.KEY, "a key", key_id=1, subscribe=held, publish=held)


class Client:
    """A member whose key covers every room, until it is `narrowed`."""

    def __init__(self, worker: Worker, namespace: str) -> None:
        self.worker = worker
        self.connection = Connection(new_id(worker.id), "rooms", Recorder(), worker.flusher, PLAIN)
        self.told: list[Any] = []
        self.acks = 0
        self.member = Member(worker, self.connection, namespace, self.connection.id, self._emit)
        self.member.bounded = True
        worker.hub.add(self.connection)
        worker.grants.hold(self.connection, key("room:*"), self._changed)

    async def join(self, room: str) -> None:
        await service.take(self.member, "JOIN", [{"room": room, "name": "ada"}], self._ack)

    def narrow(self) -> None:
        """The key covers another room alone, and the worker has seen it."""
        self.worker.grants.hold(self.connection, key("room:bus/mine", "room:lobby/mine"), self._changed)
        if self.connection.state is ConnectionState.OPEN:
            self._changed()

    def _changed(self) -> None:
        service.grant_changed(self.member)

    def _ack(self) -> None:
        self.acks += 1

    def _emit(self, *event: Any) -> None:
        self.told.append(event)


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    async with workers(1) as [one]:
        yield one


@pytest.fixture
async def client(worker: Worker) -> Client:
    one = Client(worker, wire.BUS)
    await service.enter(one.member)
    await settle([worker])
    return one


def narrowed_as_it_asks(monkeypatch: pytest.MonkeyPatch, client: Client, wanted: Verb) -> None:
    submit = records.submit

    def late(worker: Worker, verb: Verb, entry: MembershipEntry) -> Any:
        if verb is wanted:
            client.narrow()
        return submit(worker, verb, entry)

    monkeypatch.setattr(records, "submit", late)


def on_subscribe(monkeypatch: pytest.MonkeyPatch, call: Callable[[], None]) -> None:
    """Call something whenever a connection is about to be subscribed."""
    subscribe = Hub.subscribe

    async def late(hub: Hub, connection: Connection, *addresses: str) -> None:
        call()
        await subscribe(hub, connection, *addresses)

    monkeypatch.setattr(Hub, "subscribe", late)


def refused() -> float:
    return metrics.REFUSED.labels("rooms", "forbidden")._value.get()


async def is_outside(client: Client) -> None:
    """It is in no room, for itself, for the hub and in the rows."""
    await settle([client.worker])
    assert (client.member.rooms, client.connection.addresses) == ({}, {})
    assert not await Membership.objects.filter(connection_id=client.connection.id).aexists()


async def test_a_room_that_is_asked_while_the_key_changes_is_not_entered(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client is never subscribed to it."""
    narrowed_as_it_asks(monkeypatch, client, Verb.ASK)
    subscriptions: list[str] = []
    on_subscribe(monkeypatch, lambda: subscriptions.append("one"))
    before = refused()

    await client.join("secret")

    assert (client.told, client.acks, refused() - before) == ([NOT_COVERED], 0, 1)
    assert subscriptions == []
    await is_outside(client)
    assert client.connection.state is ConnectionState.OPEN


async def test_a_room_that_is_subscribed_while_the_key_changes_is_left_at_once(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_subscribe(monkeypatch, client.narrow)
    before = refused()

    await client.join("secret")

    assert (client.told, client.acks, refused() - before) == ([NOT_COVERED], 0, 1)
    await is_outside(client)
    assert client.connection.identity == ""
    assert client.connection.state is ConnectionState.OPEN


async def test_a_client_is_sent_away_whose_key_changes_while_its_row_is_written(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrowed_as_it_asks(monkeypatch, client, Verb.JOIN)

    await client.join("secret")

    assert client.connection.close_sent is FORBIDDEN


async def test_a_second_join_is_no_way_around_it(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client was in the room before: it is sent away as soon as its key changes."""
    await client.join("secret")
    on_subscribe(monkeypatch, client.narrow)

    await client.join("secret")

    assert (client.acks, client.connection.close_sent) == (1, FORBIDDEN)


async def test_a_client_in_a_room_that_the_key_covers_still_goes_on(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_subscribe(monkeypatch, client.narrow)

    await client.join("mine")

    assert (client.told, client.acks, set(client.member.rooms)) == ([], 1, {("bus", "mine")})
    assert client.connection.close_sent is None


async def test_a_lobby_is_not_entered_that_the_key_covers_no_longer(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Client(worker, wire.LOBBY)
    await service.enter(one.member)
    on_subscribe(monkeypatch, one.narrow)

    await lobby.connected(one.member, "secret")

    assert one.connection.close_sent is FORBIDDEN
    await is_outside(one)
    assert members_of(worker).rooms() == set()
