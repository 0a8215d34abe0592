"""`/lobby`, repaired: JOINED, PEERS, LEFT, MESSAGE, RTCSIGNAL."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from tests.rooms.client import Client, plain, socketio
from tests.services.server import Server


async def enter(stack: AsyncExitStack, broker: Server, lobby: str, version: int = 4) -> Client:
    client = await socketio(stack, broker, "lobby", version, lobbyId=lobby)
    assert await client.receive() == ["JOINED", client.sid]
    return client


@pytest.mark.parametrize(
    ("version", "connect", "query"),
    [
        (3, "", {"lobbyId": "L-{}"}),
        (3, "?lobbyId=L-{}", {}),
        (3, "?lobbyId=L-{},", {"lobbyId": "L-{}"}),
        (4, "", {"lobbyId": "L-{}"}),
        (4, ',{{"lobbyId":"L-{}"}}', {"lobbyId": "not this one"}),
    ],
    ids=["1.4", "second namespace", "1.7", "4 query", "4 auth"],
)
async def test_each_generation_names_its_lobby_in_its_way(
    broker: Server, stack: AsyncExitStack, room: str, version: int, connect: str, query: dict[str, str]
) -> None:
    query = {name: text.format(room) for name, text in query.items()}
    first = await enter(stack, broker, f"L-{room}")
    assert await first.receive() == ["PEERS", []]

    client = await socketio(stack, broker, "lobby", version, connect.format(room), **query)

    assert await client.receive() == ["JOINED", client.sid]
    assert await client.receive() == ["PEERS", [first.sid]]
    assert await first.receive() == ["JOINED", client.sid]


@pytest.mark.parametrize(("version", "connect"), [(3, ""), (4, ","), (4, ',{"lobbyId":[5.5]}'), (4, ",{}")])
async def test_without_a_lobby_the_client_is_sent_away(
    broker: Server, stack: AsyncExitStack, version: int, connect: str
) -> None:
    client = await socketio(stack, broker, "lobby", version, connect)

    assert (await client.receive_packet()).removesuffix(",") == "41/lobby"
    await client.send("40/layout,")
    assert (await client.receive_packet()).startswith("40/layout")


async def test_a_plain_socket_without_a_lobby_is_refused(broker: Server, stack: AsyncExitStack) -> None:
    for path in ("lobby", "lobby?lobbyId="):
        with pytest.raises(InvalidStatus) as refusal:
            await plain(stack, broker, path)
        assert refusal.value.response.status_code == 403


async def test_plain_and_socketio_clients_share_a_lobby(
    broker: Server, stack: AsyncExitStack, room: str
) -> None:
    client = await enter(stack, broker, room, 3)
    await client.receive()
    socket = await plain(stack, broker, f"lobby?lobbyId={room}")

    name, id = await socket.receive()
    assert (name, await socket.receive()) == ("JOINED", ["PEERS", [client.sid]])
    assert await client.receive() == ["JOINED", id]
    await client.emit("RTCSIGNAL", {"to": id, "sdp": "x"})
    assert await socket.receive() == ["RTCSIGNAL", {"to": id, "sdp": "x"}]
    await socket.connection.close()
    assert await client.receive() == ["LEFT", id]


async def lobby_of_three(stack: AsyncExitStack, broker: Server, lobby: str) -> list[Client]:
    clients = [await enter(stack, broker, lobby, version) for version in (3, 4, 4)]
    for client in clients:
        await client.settled()
    return clients


async def test_left_on_leave_on_disconnect_and_on_a_lost_connection(
    broker: Server, stack: AsyncExitStack, room: str
) -> None:
    a, b, c = await lobby_of_three(stack, broker, room)

    await b.ask("LEAVE", room)
    assert (await a.receive(), await c.receive()) == (["LEFT", b.sid], ["LEFT", b.sid])
    assert await b.settled() == []
    await b.emit("JOIN", room)
    await b.settled()
    assert (await a.receive(), await c.receive()) == (["JOINED", b.sid], ["JOINED", b.sid])

    await b.send("41/lobby,")
    assert (await a.receive(), await c.receive()) == (["LEFT", b.sid], ["LEFT", b.sid])
    c.frames.connection.transport.abort()
    assert await a.receive() == ["LEFT", c.sid]


async def test_leave_is_acked_also_for_another_lobby(
    broker: Server, stack: AsyncExitStack, room: str
) -> None:
    a, b, _ = await lobby_of_three(stack, broker, room)

    await b.ask("LEAVE", f"{room}-other")
    await b.emit("BROADCAST", {"message": "still in"})

    assert await a.receive() == ["MESSAGE", {"from": b.sid, "message": "still in"}]


async def test_rejoin_has_no_peers_and_a_second_lobby_no_effect(
    broker: Server, stack: AsyncExitStack, room: str
) -> None:
    a, b, _c = await lobby_of_three(stack, broker, room)
    await b.emit("JOIN", f"{room}-other", id=1)
    assert await b.receive_packet() == "43/lobby,1[]"

    await b.ask("LEAVE", room)
    await b.emit("JOIN", room, id=2)
    received = [await b.receive_packet(), await b.receive_packet(), *await b.settled()]

    assert sorted(received) == sorted([f'42/lobby,["JOINED","{b.sid}"]', "43/lobby,2[]"])
    assert [await a.receive(), await a.receive()] == [["LEFT", b.sid], ["JOINED", b.sid]]


async def test_broadcast_reaches_the_own_lobby_with_its_sender(
    broker: Server, stack: AsyncExitStack, room: str
) -> None:
    clients = await lobby_of_three(stack, broker, room)
    stranger = await enter(stack, broker, f"{room}-other")
    await stranger.receive()

    message = {"message": {"any": ["thing"]}, "lobbyId": f"{room}-other", "from": "forged"}
    await clients[0].emit("BROADCAST", message)

    for client in clients:
        assert await client.receive() == ["MESSAGE", {"from": clients[0].sid, "message": {"any": ["thing"]}}]
    assert await stranger.settled() == []


async def test_signals_reach_members_of_the_own_lobby_only(
    broker: Server, stack: AsyncExitStack, room: str
) -> None:
    a, b, c = await lobby_of_three(stack, broker, room)
    stranger = await enter(stack, broker, f"{room}/x")
    await stranger.receive()
    to_peer: dict[str, Any] = {"to": c.sid, "type": "offer", "sdp": "é"}
    to_all = {"to": room, "candidate": None}

    await a.emit("RTCSIGNAL", to_peer)
    await a.emit("RTCSIGNAL", to_all)
    for to in (stranger.sid, f"{room}/x", "nobody", f"x/{stranger.sid}", a.sid):
        await a.emit("RTCSIGNAL", {"to": to})
    await stranger.emit("RTCSIGNAL", {"to": a.sid})

    assert [await c.receive(), await c.receive()] == [["RTCSIGNAL", to_peer], ["RTCSIGNAL", to_all]]
    assert await b.receive() == ["RTCSIGNAL", to_all]
    await stranger.settled()
    assert [await client.settled() for client in (a, b, c, stranger)] == [[], [], [], []]


async def test_a_client_in_no_lobby_reaches_nobody(broker: Server, stack: AsyncExitStack, room: str) -> None:
    a, b, _ = await lobby_of_three(stack, broker, room)
    await b.ask("LEAVE", room)
    assert await a.receive() == ["LEFT", b.sid]

    await b.emit("BROADCAST", {"message": 1, "lobbyId": room})
    await b.emit("RTCSIGNAL", {"to": a.sid})
    await b.emit("RTCSIGNAL", {"to": room})

    assert (await b.settled(), await a.settled()) == ([], [])
