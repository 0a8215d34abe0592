"""The rooms protocol with hooks: plain sockets and Socket.IO, joins, messages, lobbies and posts."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.hooks.node import NodeBackend
from tests.rooms.client import Client, Plain, plain, socketio
from tests.services.server import Server
from tests.services.waiting import until, until_equal

PRIVATE = {"event": "JOIN", "reason": "that is private"}


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as one:
        yield one


async def member(stack: AsyncExitStack, server: Server, room: str, namespace: str = "bus") -> Plain:
    one = await plain(stack, server, namespace)
    await one.join(room, "reader")
    return one


async def test_a_room_that_the_backend_refuses_is_an_error_on_plain_sockets(
    broker: Server, node: NodeBackend, stack: AsyncExitStack, name: str
):
    one = await plain(stack, broker, "layout")
    with node.hooked(broker, "rooms", "subscribe", f"room:layout/{name}*"):
        await one.say("JOIN", {"room": f"{name} private", "name": "ada"})
        assert await one.settled() == [["ERROR", PRIVATE]]
        await one.join(f"{name} open", "ada")
        assert await one.clients(f"{name} open") == ["ada"]
        # Its second JOIN there changes the nickname: nothing is subscribed, and nobody asked.
        await one.join(f"{name} open", "bea")
        assert await one.clients(f"{name} open") == ["bea"]
    assert [one["address"].rpartition(" ")[2] for one in node.asked()] == ["private", "open"]
    assert (await one.clients(f"{name} private")) == []


async def test_members_of_a_room_that_the_backend_refuses_are_not_told(
    broker: Server, node: NodeBackend, stack: AsyncExitStack, name: str
):
    await member(stack, broker, f"{name} private")
    one = await plain(stack, broker, "bus")
    with node.hooked(broker, "rooms", "subscribe", f"room:bus/{name}*"):
        await one.say("CLIENTS", {"room": f"{name} private"})
        assert await one.settled() == [["ERROR", {"event": "CLIENTS", "reason": "that is private"}]]
    assert await one.clients(f"{name} private") == ["reader"]


@pytest.mark.parametrize("version", [3, 4])
async def test_socket_io_gets_an_error_or_its_ack(
    broker: Server, node: NodeBackend, stack: AsyncExitStack, name: str, version: int
):
    one = await socketio(stack, broker, "layout", version)
    with node.hooked(broker, "rooms", "subscribe", f"room:layout/{name}*"):
        await one.emit("JOIN", {"room": f"{name} private", "name": "ada"}, id=3)
        assert await one.receive() == ["ERROR", PRIVATE]
        await one.ask("JOIN", {"room": f"{name} open", "name": "ada"})


async def test_messages_are_refused_and_replaced(
    broker: Server, node: NodeBackend, stack: AsyncExitStack, name: str
):
    reader, one, two = await member(stack, broker, name), await plain(stack, broker, "bus"), None
    two = await socketio(stack, broker, "bus")
    with node.hooked(broker, "rooms", "publish", f"room:bus/{name}"):
        for text in ("rude", "loud", "plain"):
            await one.say("NOTIFY", {"room": name, "message": {"text": text}})
        refused = await one.settled()
        await two.emit("NOTIFY", {"room": name, "message": "loud, too"})
        heard = [(await reader.receive())[1]["message"] for _ in range(3)]
    assert refused == [["ERROR", {"event": "NOTIFY", "reason": "not that here"}]]
    assert heard == [{"text": "LOUD"}, {"text": "plain"}, "LOUD, TOO"]


async def test_a_backend_is_told_the_handshake_of_a_socket_io_client(
    broker: Server, node: NodeBackend, stack: AsyncExitStack, name: str
):
    one = await socketio(stack, broker, "bus", shop="7", access_token="")
    hook = ("rooms", "publish", f"room:bus/{name}")
    with node.hooked(broker, *hook, headers=["Sec-WebSocket-Version"]):
        await one.emit("NOTIFY", {"room": name, "message": "hello"})
        await one.settled()
    (asked,) = node.asked()
    assert asked["headers"] == {"sec-websocket-version": "13"}
    assert {"shop=7", "access_token=***"} <= set(asked["query"].split("&"))
    assert asked["connection"]
    assert asked["peer"].startswith("127.0.0.1:")


async def test_binary_data_is_shown_as_json_and_reaches_its_readers_as_it_was(
    broker: Server, node: NodeBackend, stack: AsyncExitStack, name: str
):
    reader, sender = await socketio(stack, broker, "bus"), await socketio(stack, broker, "bus")
    await reader.ask("JOIN", {"room": name, "name": "r"})
    packet = f'451-/bus,["NOTIFY",{{"room":"{name}","message":{{"_placeholder":true,"num":0}}}}]'
    with node.hooked(broker, "rooms", "publish", f"room:bus/{name}"):
        await sender.frames.send(packet, b"data")
        assert "_placeholder" in await reader.receive_packet()
        assert await reader.receive_packet() == b"data"
    assert [one["message"] for one in node.asked()] == [{"_base64": "ZGF0YQ=="}]


async def test_a_lobby_that_the_backend_refuses_is_closed_and_its_messages_are_asked_about(
    broker: Server, node: NodeBackend, stack: AsyncExitStack, name: str
):
    with (
        node.hooked(broker, "rooms", "subscribe", f"room:lobby/{name}*"),
        node.hooked(broker, "rooms", "publish", f"room:lobby/{name}*"),
    ):
        away = await socketio(stack, broker, "lobby", lobbyId=f"{name} private")
        assert await away.receive_packet() == "41/lobby,"
        one = await plain(stack, broker, f"lobby?lobbyId={name}")
        two = await plain(stack, broker, f"lobby?lobbyId={name}")
        await two.say("BROADCAST", {"message": "rude"})
        await two.say("BROADCAST", {"message": "loud"})
        while (event := await one.receive())[0] != "MESSAGE":
            pass
        assert event[1]["message"] == "LOUD"
        await two.say("RTCSIGNAL", {"to": name, "sdp": "rude"})
        await two.say("RTCSIGNAL", {"to": name, "sdp": "plain"})
        assert await one.receive() == ["RTCSIGNAL", {"to": name, "sdp": "plain"}]
    assert {one["address"] for one in node.asked()} == {f"room:lobby/{name}", f"room:lobby/{name} private"}


@pytest.mark.parametrize("over", ["plain", "socket.io"])
async def test_events_wait_for_the_one_before(
    broker: Server, node: NodeBackend, stack: AsyncExitStack, name: str, over: str
):
    reader = await member(stack, broker, name)
    one: Plain | Client = await (plain if over == "plain" else socketio)(stack, broker, "bus")
    with node.hooked(broker, "rooms", "publish", f"room:bus/{name}", at="held"):
        for number in range(3):
            notify = ("NOTIFY", {"room": name, "message": number})
            await (one.say(*notify) if isinstance(one, Plain) else one.emit(*notify))
        for number in range(3):
            await until(node.held)
            await reader.settled()
            assert node.held() == 1
            node.release()
            assert (await reader.receive())[1]["message"] == number


async def test_a_client_that_leaves_while_the_backend_is_asked_is_in_no_room(
    broker: Server, node: NodeBackend, stack: AsyncExitStack, name: str
):
    watcher, one = await plain(stack, broker, "bus"), await plain(stack, broker, "bus")
    with node.hooked(broker, "rooms", "subscribe", f"room:bus/{name}", at="held"):
        await one.say("JOIN", {"room": name, "name": "gone"})
        await until(node.held)
        await one.connection.close()
        node.release()
    await until_equal([], lambda: watcher.clients(name))


async def test_while_the_backend_fails_fail_decides(
    broker: Server, node: NodeBackend, stack: AsyncExitStack, name: str
):
    reader, one = await member(stack, broker, name), await plain(stack, broker, "bus")
    hook = ("rooms", "publish", f"room:bus/{name}", "broken")
    with node.hooked(broker, *hook):
        await one.say("NOTIFY", {"room": name, "message": "closed"})
        reason = "the backend that decides gave no valid answer; try again"
        assert await one.settled() == [["ERROR", {"event": "NOTIFY", "reason": reason}]]
    with node.hooked(broker, *hook, fail="open"):
        await one.say("NOTIFY", {"room": name, "message": "open"})
        assert (await reader.receive())[1]["message"] == "open"


async def test_posts_to_the_bus_are_asked_about_without_a_connection(
    broker: Server, node: NodeBackend, stack: AsyncExitStack, name: str
):
    reader = await member(stack, broker, name)
    with node.hooked(broker, "rooms", "publish", f"room:bus/{name}"):
        assert post(broker, name, {"text": "rude"}) == (403, "Forbidden: not that here")
        assert post(broker, name, {"text": "loud"}) == (200, "OK")
        assert (await reader.receive())[1]["message"] == {"text": "LOUD"}
    assert [one["connection"] for one in node.asked()] == [None, None]


def post(server: Server, room: str, message: object) -> tuple[int, str]:
    request = urllib.request.Request(
        f"{server.url}/bus-message/{room}",
        json.dumps(message).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
