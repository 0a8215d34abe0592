"""Operators ask a member and send to it, at its own worker and at another."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import pytest

from routing_app.core.access.grants import NOBODY
from routing_app.core.askable import ClientGone, TooManyAsked
from routing_app.core.delivery.connection import Peer
from routing_app.core.worker import current_worker
from routing_app.engineio.session import EngineOptions, EngineSession
from routing_app.engineio.socketio import wire
from routing_app.engineio.socketio.socket import MAX_ASKED, NamespaceSocket
from routing_app.rooms.namespaces import NAMESPACES
from tests.compliance.engineio.client import Answer
from tests.rooms.client import Api, Client, plain, socketio
from tests.rooms.conftest import Pair
from tests.services.server import Server


async def connection_of(api: Api, client: Client, room: str) -> str:
    """The id of a client's connection, by the room that it is in."""
    await client.ask("JOIN", {"room": room, "name": room})
    row = await api.room("layout", room)
    [member] = (await api.json("GET", f"/api/rooms/{row['id']}/members/"))["results"]
    return str(member["connection"])


def asked(api: Api, id: str, **body: Any) -> asyncio.Task[Answer]:
    return asyncio.create_task(
        api.call("POST", f"/api/connections/{id}/request", {"message": {"q": 1}, **body})
    )


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("asker", [0, 1], ids=["its own worker", "another worker"])
async def test_a_member_is_asked_and_acknowledges(
    pair: Pair, stack: AsyncExitStack, room: str, version: int, asker: int
) -> None:
    client = await socketio(stack, pair[0], "layout", version)
    api = Api(pair[asker])
    id = await connection_of(api, client, room)

    for number in (1, 2):
        answer = asked(api, id)
        assert await client.receive_packet() == f'42/layout,{number}["REQUEST",{{"q":1}}]'
        await client.send(f"43/layout,9{number}[]", f'43/layout,{number}[{{"a":[1]}},null]')
        assert json.loads((await answer).body) == {
            "reply": {"arguments": [{"a": [1]}, None]},
            "partials": [],
        }

    answer = asked(api, id)
    await client.receive_packet()
    await client.send('461-/layout,3[[{"_placeholder":true,"num":0}]]')
    await client.frames.send(b"\x04\x01" if version == 3 else b"\x01")
    assert json.loads((await answer).body)["reply"] == {"arguments": [[{"_base64": "AQ=="}]]}

    assert (await asked(api, id, timeout=0.5)).status == 504
    answer = asked(api, id, message={"q": 2})
    # An owner that was late gave the one before up unsent, so the number says nothing.
    while not (await client.receive_packet()).endswith('["REQUEST",{"q":2}]'):
        pass
    await client.send("41/layout,")
    assert (await answer).status == 404
    assert (await asked(api, id)).status == 404


@pytest.mark.parametrize("asker", [0, 1], ids=["its own worker", "another worker"])
async def test_a_member_is_sent_a_message(pair: Pair, stack: AsyncExitStack, room: str, asker: int) -> None:
    client = await socketio(stack, pair[0], "layout")
    api = Api(pair[asker])
    id = await connection_of(api, client, room)
    for body in ({"message": {"n": 1}}, {"message": {"n": 2}, "volatile": True}):
        assert (await api.call("POST", f"/api/connections/{id}/send", body)).status == 204
        event = {"sender": "API", "room": id, "message": body["message"]}
        assert await client.receive() == ["EVENT", event]


async def test_a_plain_socket_has_no_acks(broker: Server, api: Api, stack: AsyncExitStack, room: str) -> None:
    socket = await plain(stack, broker, "layout")
    await socket.join(room, room)
    row = await api.room("layout", room)
    [member] = (await api.json("GET", f"/api/rooms/{row['id']}/members/"))["results"]
    id = member["connection"]

    answer = await asked(api, id)
    assert answer.status == 400
    assert "acknowledgements" in answer.text
    await api.json("POST", f"/api/connections/{id}/send", {"message": {"n": 1}})
    assert (await socket.receive())[1]["message"] == {"n": 1}


@pytest.fixture
async def polled() -> EngineSession:
    """A session whose client does not poll."""
    return EngineSession("s", 4, EngineOptions(), Peer(), {}, lambda session: None)


def socket_of(session: EngineSession) -> NamespaceSocket:
    namespace = NAMESPACES["/layout"]
    return NamespaceSocket(
        session, current_worker(), "rooms", "/layout", namespace, {}, {}, lambda socket: None, NOBODY
    )


async def test_a_volatile_event_is_dropped_behind_another(polled: EngineSession) -> None:
    socket = socket_of(polled)

    assert socket.emit_volatile("x", 1)
    assert not socket.emit_volatile("x", 2)
    socket.connection.outbox.flush()
    assert not socket.emit_volatile("x", 3)
    polled.begin_poll()
    assert polled.end_poll().body == b'42/layout,["x",1]'
    assert socket.emit_volatile("x", 4)
    polled.close()


async def test_questions_to_one_client_are_bounded_and_end_with_it(polled: EngineSession) -> None:
    socket = socket_of(polled)
    questions = [asyncio.ensure_future(socket.emit_with_ack("x", timeout=None)) for _ in range(MAX_ASKED)]
    await asyncio.sleep(0)

    with pytest.raises(TooManyAsked):
        await socket.emit_with_ack("x", timeout=None)
    await socket.received(wire.Packet(wire.ACK, "/layout", ["yes"], "1"))
    assert await questions[0] == ["yes"]

    socket.close()
    for question in questions[1:]:
        with pytest.raises(ClientGone):
            await question
    with pytest.raises(ClientGone):
        await socket.emit_with_ack("x", timeout=None)
    polled.close()
