"""Event streams of a lobby are told who comes and who leaves."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from routing_app.core.delivery.connection import Connection, Encoder, new_id
from routing_app.core.delivery.frame import Frame
from routing_app.core.worker import Worker
from routing_app.requests.consumer import DeliveryEncoder
from routing_app.stream.endpoint import ENCODER
from routing_app.stream.writer import EventFrame
from tests.core.harness import Recorder
from tests.rooms.lobbies import LOBBY, Peer, settle, workers

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.once]

ADDRESS = f"room:lobby/{LOBBY}"


class Events(Recorder):
    """A writer that keeps the data of events."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Any] = []

    def write(self, frames: list[Frame]) -> None:
        self.events += [json.loads(frame.payload) for frame in frames if isinstance(frame, EventFrame)]


@pytest.fixture(params=[1, 2], ids=["one worker", "two workers"])
async def running(request: pytest.FixtureRequest) -> AsyncIterator[list[Worker]]:
    async with workers(request.param) as running:
        yield running


async def subscribed(worker: Worker, protocol: str, writer: Recorder, encoder: Encoder) -> Connection:
    """A connection that is told of the lobby."""
    connection = Connection(new_id(worker.id), protocol, writer, worker.flusher, encoder)
    worker.hub.add(connection)
    await worker.hub.subscribe(connection, ADDRESS)
    return connection


async def come_and_go(running: list[Worker], *told: Connection) -> str:
    """Have somebody enter the lobby and leave it; the id. What others are told of it is written."""
    member = Peer(running[0])
    await member.enter()
    await settle(running)
    member.go()
    await settle(running)
    for connection in told:
        connection.outbox.flush()
    return member.id


def shown(deliveries: list[Any]) -> list[tuple[Any, ...]]:
    return [(one["address"], one["event"], one["message"]) for one in deliveries]


async def test_joined_and_left_of_a_lobby_come(running: list[Worker]) -> None:
    """To several streams as to one."""
    first, second = Events(), Events()
    streams = [await subscribed(running[-1], "stream", events, ENCODER) for events in (first, second)]

    id = await come_and_go(running, *streams)

    told = [(ADDRESS, "JOINED", [id]), (ADDRESS, "LEFT", [id])]
    assert shown(first.events) == told
    assert shown(second.events) == told


async def test_a_client_of_the_requests_protocol_is_told_the_same(running: list[Worker]) -> None:
    written = Recorder()
    client = await subscribed(running[-1], "requests", written, DeliveryEncoder())

    id = await come_and_go(running, client)

    assert shown(written.messages) == [(ADDRESS, "JOINED", [id]), (ADDRESS, "LEFT", [id])]
