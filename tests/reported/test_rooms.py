"""Rooms: names as clients write them, and a database that does not answer; each is told what became of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, Final

import pytest
from django.db import OperationalError

from routing_app.core import database
from routing_app.core.codes import UNAVAILABLE, Close
from routing_app.core.delivery.connection import Connection, new_id
from routing_app.core.worker import Worker
from routing_app.rooms import lobby_changes, records, service
from routing_app.rooms.encoders import PLAIN
from routing_app.rooms.members import Member
from tests.core.harness import Recorder
from tests.rooms.client import plain, socketio
from tests.rooms.lobbies import workers
from tests.services.server import Server

LONG: Final = "x" * 5_000


TAKEN: Final = [
    pytest.param({"name": "caf\ud83d"}, "", "caf\ufffd", id="half of an emoji in a name"),
    pytest.param({"name": ["\udc00"]}, "", ["\ufffd"], id="half of an emoji deep in a name"),
    pytest.param({"name": "a\nb\x7f"}, "", "a\nb\x7f", id="control characters in a name"),
    pytest.param({"room": "{}\ud83d", "name": "n"}, "{}\ufffd", "n", id="half of an emoji in a room"),
    pytest.param({"room": 1.5, "name": "n"}, "1.5", "n", id="room 1.5"),
    pytest.param({"room": 2.0, "name": "n"}, "2", "n", id="room 2.0"),
]
"""JOINs: payload, the room and the name that others see. `{}` is a room of the test's own."""


@pytest.mark.parametrize("as_text", [False, True], ids=["object", "string"])
@pytest.mark.parametrize(("payload", "name_of_room", "nickname"), TAKEN)
async def test_input_that_the_original_takes_is_joined_and_acked(
    broker: Server,
    stack: AsyncExitStack,
    room: str,
    payload: dict[str, Any],
    name_of_room: str,
    nickname: Any,
    as_text: bool,
) -> None:
    payload = {"room": room, **payload}
    if isinstance(payload["room"], str):
        payload["room"] = payload["room"].format(room)
    asker = await plain(stack, broker, "bus")
    client = await socketio(stack, broker, "bus")

    await client.ask("JOIN", json.dumps(payload) if as_text else payload)

    assert (await asker.clients((name_of_room or room).format(room)))[-1] == nickname


REFUSED: Final = [
    pytest.param({"name": "a\x00b"}, "a name does not hold the character U+0000", id="NUL in a name"),
    pytest.param({"name": LONG}, "a name, written as JSON, has at most 255 characters", id="long name"),
    pytest.param({"room": LONG}, "the name of a room has at most 255 characters", id="long room"),
    pytest.param({"room": "a\x00b"}, "the name of a room holds no control characters", id="NUL in a room"),
    pytest.param({"room": ["r"]}, "a room is a string, or a number", id="room is an array"),
]


@pytest.mark.parametrize(("payload", "reason"), REFUSED)
async def test_text_that_no_database_holds_is_refused_in_words(
    broker: Server, stack: AsyncExitStack, room: str, payload: dict[str, Any], reason: str
) -> None:
    payload = {"room": room, "name": "n", **payload}
    error = ["ERROR", {"event": "JOIN", "reason": reason}]
    client, socket = await socketio(stack, broker, "bus"), await plain(stack, broker, "bus")

    await client.emit("JOIN", payload, id=1)
    await socket.say("JOIN", payload)

    assert (await client.receive(), await client.settled()) == (error, [])
    assert (await socket.receive(), await socket.settled()) == (error, [])


# --- the database is out ----------------------------------------------------------------------------------


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    async with workers(1) as [one]:
        yield one


def fail(*arguments: Any) -> None:
    raise OperationalError("the database is out")


def closes(connection: Connection) -> list[Close]:
    assert isinstance(connection.writer, Recorder)
    return connection.writer.closed


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("namespace", ["layout", "bus", "trigger", "lobby"])
@pytest.mark.parametrize("event", ["JOIN", "LEAVE", "CLIENTS"])
async def test_a_failing_database_ends_the_connection_so_that_the_client_comes_back(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, namespace: str, event: str
) -> None:
    if event == "CLIENTS" and namespace in ("trigger", "lobby"):
        event = "JOIN"  # they have no CLIENTS
    argument: Any = "r" if namespace in ("trigger", "lobby") else {"room": "r", "name": "n"}
    connection = Connection(new_id(worker.id), "rooms", Recorder(), worker.flusher, PLAIN)
    worker.hub.add(connection)
    acks: list[str] = []
    received: list[Any] = []
    member = Member(worker, connection, namespace, connection.id, lambda *event: received.append(event))
    await service.enter(member)
    if event == "LEAVE":
        await service.take(member, "JOIN", [argument], lambda: acks.append("JOIN"))
        assert acks == ["JOIN"]
    received.clear()
    with monkeypatch.context() as out:
        out.setattr(records, "_apply", fail)
        out.setattr(lobby_changes, "make", fail)
        out.setattr(database, "query", fail)
        await service.take(member, event, [argument], lambda: acks.append(event))

    assert event not in acks
    assert received == []
    assert closes(connection) == [UNAVAILABLE]
    connection.mark_closed()
    worker.hub.drop(connection)
    worker.presence.leave(connection)
    service.leave(member)
