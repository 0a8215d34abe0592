"""`/layout`, `/bus` and `/trigger`: receivers of each event, over Socket.IO of both engines and plain."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.rooms.client import Api, plain, socketio
from tests.services.server import Server
from tests.services.waiting import until_equal


async def test_all_kinds_of_clients_share_a_room(broker: Server, stack: AsyncExitStack, room: str) -> None:
    socket = await plain(stack, broker, "layout")
    old, new = await socketio(stack, broker, "layout", 3), await socketio(stack, broker, "layout", 4)
    await socket.join(room, "plain")
    await old.ask("JOIN", json.dumps({"room": room, "name": "old"}))
    await new.ask("JOIN", json.dumps({"room": room, "name": "new"}))
    members: dict[str, Any] = {"plain": socket, "old": old, "new": new}

    says: dict[str, Any] = {"plain": socket.say, "old": old.emit, "new": new.emit}
    for name, say in says.items():
        event = {"room": room, "message": {"from": name}}
        await say("NOTIFY", event)
        for other, member in members.items():
            if other != name:
                assert await member.receive() == ["EVENT", {"sender": name, **event}]
    assert [await member.settled() for member in members.values()] == [[], [], []]


@pytest.mark.parametrize("payload", ["text", "object"])
@pytest.mark.parametrize("namespace", ["layout", "bus"])
async def test_payloads_may_be_strings_or_objects(
    broker: Server, stack: AsyncExitStack, room: str, namespace: str, payload: str
) -> None:
    write = json.dumps if payload == "text" else dict
    client = await socketio(stack, broker, namespace)
    other = await plain(stack, broker, namespace)
    await other.join(room, "other")

    await client.ask("JOIN", write({"room": room, "name": "me"}))
    await client.emit("NOTIFY", write({"room": room, "message": [1, "two", None]}))
    await client.emit("CLIENTS", write({"room": room}))
    assert await client.receive() == ["CLIENTS", {"room": room, "clients": ["other", "me"]}]
    await client.ask("LEAVE", write({"room": room}))

    assert await other.receive() == ["EVENT", {"sender": "me", "room": room, "message": [1, "two", None]}]


async def test_events_of_one_client_are_taken_in_order(
    broker: Server, stack: AsyncExitStack, room: str
) -> None:
    """The bandwidth orchestrator joins and notifies back to back, without waiting for the ack."""
    other = await plain(stack, broker, "layout")
    await other.join(room, "other")
    client = await socketio(stack, broker, "layout", 3)

    for number in range(50):
        await client.emit("JOIN", json.dumps({"room": room, "name": f"BOS{number}"}))
        await client.emit("NOTIFY", json.dumps({"room": room, "message": number}))

    for number in range(50):
        assert await other.receive() == ["EVENT", {"sender": f"BOS{number}", "room": room, "message": number}]


async def test_notify_needs_no_membership_and_a_forged_sender_is_ignored(
    broker: Server, stack: AsyncExitStack, room: str
) -> None:
    member = await plain(stack, broker, "layout")
    await member.join(room, "member")
    stranger = await socketio(stack, broker, "layout", 3)

    await stranger.emit("NOTIFY", json.dumps({"room": room, "message": {}, "sender": "layoutServer"}))

    assert await member.receive() == ["EVENT", {"sender": "unknown", "room": room, "message": {}}]


async def test_a_nickname_belongs_to_the_socket(broker: Server, stack: AsyncExitStack, room: str) -> None:
    client, other = await plain(stack, broker, "layout"), await plain(stack, broker, "layout")
    await other.join(room, "other")
    await client.join(room, "first")
    await client.join(f"{room}-2", "second")

    assert await other.clients(room) == ["other", "second"]
    await client.say("LEAVE", {"room": room})
    await client.say("NOTIFY", {"room": room, "message": 1})

    assert await other.receive() == ["EVENT", {"sender": "second", "room": room, "message": 1}]
    assert await other.clients(room) == ["other"]


async def test_absent_fields_stay_absent(broker: Server, stack: AsyncExitStack, room: str) -> None:
    member, client = await plain(stack, broker, "bus"), await plain(stack, broker, "bus")
    await member.join(room, "member")

    await client.say("NOTIFY", {"room": room})
    await client.say("NOTIFY", {"room": room, "message": None})

    assert await member.receive() == ["EVENT", {"sender": "unknown", "room": room}]
    assert await member.receive() == ["EVENT", {"sender": "unknown", "room": room, "message": None}]


async def test_clients_lists_names_in_order_with_duplicates(
    broker: Server, stack: AsyncExitStack, room: str
) -> None:
    sockets = [await plain(stack, broker, "layout") for _ in range(4)]
    for socket, name in zip(sockets, ["b", "a", "b", {"odd": 1}], strict=True):
        await socket.join(room, name)  # type: ignore[arg-type]

    assert await sockets[0].clients(room) == ["b", "a", "b", {"odd": 1}]
    assert await sockets[0].clients(f"{room}-empty") == []


async def test_rooms_of_namespaces_are_apart(broker: Server, stack: AsyncExitStack, room: str) -> None:
    layout, bus = await plain(stack, broker, "layout"), await plain(stack, broker, "bus")
    await layout.join(room, "in layout")
    await bus.join(room, "in bus")

    await bus.say("NOTIFY", {"room": room, "message": 1})

    assert await bus.clients(room) == ["in bus"]
    assert await layout.settled() == []


async def test_a_client_that_left_receives_nothing_and_is_not_listed(
    broker: Server, stack: AsyncExitStack, room: str
) -> None:
    stays = await plain(stack, broker, "layout")
    leaves = await socketio(stack, broker, "layout", 3)
    disconnects = await socketio(stack, broker, "layout", 4)
    await stays.join(room, "stays")
    await leaves.ask("JOIN", {"room": room, "name": "leaves"})
    await disconnects.ask("JOIN", {"room": room, "name": "disconnects"})

    await leaves.ask("LEAVE", {"room": room})
    await leaves.ask("LEAVE", {"room": room})
    await disconnects.send("41/layout,")
    await disconnects.settled()
    await stays.say("NOTIFY", {"room": room, "message": 1})
    await stays.settled()

    assert (await leaves.settled(), await disconnects.settled()) == ([], [])
    await until_equal(["stays"], lambda: stays.clients(room))


@pytest.mark.parametrize("version", [3, 4])
async def test_several_namespaces_on_one_session(
    broker: Server, stack: AsyncExitStack, room: str, version: int
) -> None:
    client = await socketio(stack, broker, "layout", version)
    await client.send("40/trigger,")
    assert (await client.receive_packet()).startswith("40/trigger")
    await client.ask("JOIN", {"room": room, "name": "me"})
    await client.send(f'42/trigger,3["JOIN","{room}"]')
    assert await client.receive_packet() == "43/trigger,3[]"
    other = await plain(stack, broker, "trigger")

    await client.send("41/layout")
    await other.say("BROADCAST_STATUS", room, "still here")

    assert await client.receive_packet() == '42/trigger,["STATUS","still here"]'


@pytest.mark.parametrize(
    ("sent", "received"),
    [("BROADCAST_EVENTS", "EVENTS"), ("BROADCAST_UPDATES", "UPDATES"), ("BROADCAST_STATUS", "STATUS")],
)
async def test_trigger(broker: Server, stack: AsyncExitStack, room: str, sent: str, received: str) -> None:
    old, new = await socketio(stack, broker, "trigger", 3), await socketio(stack, broker, "trigger", 4)
    for client in (old, new):
        await client.ask("JOIN", room)
        await client.ask("JOIN", f"{room}-second")

    await new.emit(sent, room, {"generation": 1, "operations": []}, "dropped")
    await new.emit(sent, room)
    await old.emit(sent, f"{room}-second", [True])

    assert await old.receive() == [received, {"generation": 1, "operations": []}]
    assert await old.receive() == [received, None]
    assert await new.receive() == [received, [True]]
    await old.ask("LEAVE", room)
    await new.emit(sent, room, "to nobody")
    await new.settled()
    assert await old.settled() == []


async def test_messages_of_all_shapes_arrive_as_they_were(
    broker: Server, stack: AsyncExitStack, room: str
) -> None:
    member, sender = await socketio(stack, broker, "layout"), await plain(stack, broker, "layout")
    await member.ask("JOIN", {"room": room, "name": "member"})
    messages: list[Any] = ["text", 0, -1.5, 1e300, 10**30, None, True, [], {}, {"é": ["€", "\u2028", "\x00"]}]
    messages += ["\ud800", {"nested": [[[[{"deep": 1}]]]]}, "x" * 60_000]

    for message in messages:
        await sender.say("NOTIFY", {"room": room, "message": message})
    for message in messages:
        assert await member.receive() == ["EVENT", {"sender": "unknown", "room": room, "message": message}]


async def test_a_message_that_json_cannot_hold_is_lost_alone(
    broker: Server, stack: AsyncExitStack, room: str
) -> None:
    member, sender = await socketio(stack, broker, "layout"), await plain(stack, broker, "layout")
    await member.ask("JOIN", {"room": room, "name": "member"})

    await sender.connection.send(f'["NOTIFY",{{"room":"{room}","message":1e999}}]')
    await sender.say("NOTIFY", {"room": room, "message": "next"})

    assert (await member.receive())[1]["message"] == "next"


async def test_api_publishes_to_rooms_in_their_shape(
    broker: Server, stack: AsyncExitStack, room: str, api: Api
) -> None:
    layout, trigger = await socketio(stack, broker, "layout", 3), await plain(stack, broker, "trigger")
    await layout.ask("JOIN", {"room": room, "name": "x"})
    await trigger.say("JOIN", room)
    await until_equal(1, lambda: member_count(api, "trigger", room))

    addresses = [f"room:layout/{room}", f"room:trigger/{room}", f"room:bus/{room}"]
    await api.json("POST", "/api/publish", {"addresses": addresses, "message": {"a": 1}})

    name, event = await layout.receive()
    assert (name, event["room"], event["message"]) == ("EVENT", room, {"a": 1})
    assert event["sender"] not in ("", "unknown")
    assert await trigger.receive() == ["EVENT", event]


async def member_count(api: Api, namespace: str, room: str) -> int:
    return int((await api.room(namespace, room)).get("member_count", 0))


async def test_presence_knows_the_rooms_of_a_connection(
    broker: Server, stack: AsyncExitStack, room: str, api: Api
) -> None:
    client = await socketio(stack, broker, "layout")
    await client.ask("JOIN", {"room": room, "name": "named"})

    async def subscriptions() -> list[Any]:
        rows = (await api.json("GET", f"/api/clients/?address=room:layout/{room}"))["results"]
        return [(row["protocol"], row["identity"], row["id"]) for row in rows]

    await until_equal([("rooms", "named", client.sid)], subscriptions)
    await client.ask("LEAVE", {"room": room})
    await until_equal([], subscriptions)
