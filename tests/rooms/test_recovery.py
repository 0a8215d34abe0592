"""Sessions that outlive their transport: Socket.IO's connection state recovery, on one worker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from routing_app.core.codes import TAKEN_OVER
from tests.conftest import ServerFactory
from tests.rooms.client import Api, Plain, plain, socketio
from tests.rooms.returning import Returning
from tests.services.databases import Databases
from tests.services.running import running
from tests.services.server import Server
from tests.services.waiting import until_equal

TRANSPORTS = ("websocket", "polling")


@pytest.fixture(scope="module")
def keeper(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that keeps sessions."""
    with running(databases, tmp_path_factory.mktemp("keeper"), ROOMS_RECOVERY_SECONDS="60") as server:
        yield server


@pytest.fixture
async def other(keeper: Server, stack: AsyncExitStack) -> Plain:
    """Somebody else, who sees nothing of all this."""
    return await plain(stack, keeper, "layout")


async def joined(
    stack: AsyncExitStack, server: Server, room: str, transport: str = "websocket", namespace: str = "layout"
) -> Returning:
    """A client in a room, by the name of `me`."""
    client = Returning(server, namespace, transport)
    assert not await client.connect(stack)
    await client.ask("JOIN", room if namespace == "trigger" else {"room": room, "name": "me"})
    return client


async def notify(other: Plain, room: str, *messages: Any) -> None:
    """Publish, and wait until it is done."""
    for message in messages:
        await other.say("NOTIFY", {"room": room, "message": message})
    await other.settled()


async def test_off_no_client_sees_an_offset_or_a_pid(
    broker: Server, stack: AsyncExitStack, room: str
) -> None:
    client = await socketio(stack, broker, "layout")
    await client.ask("JOIN", {"room": room, "name": "me"})
    await notify(await plain(stack, broker, "layout"), room, 1)
    assert await client.receive() == ["EVENT", {"sender": "unknown", "room": room, "message": 1}]

    await client.send("40/bus,")
    assert list(json.loads((await client.receive_packet()).removeprefix("40/bus,"))) == ["sid"]


async def test_a_client_of_engineio_3_sees_no_offsets(
    keeper: Server, stack: AsyncExitStack, other: Plain, room: str
) -> None:
    client = await socketio(stack, keeper, "layout", 3)
    await client.ask("JOIN", {"room": room, "name": "me"})
    await notify(other, room, 1)
    assert await client.receive() == ["EVENT", {"sender": "unknown", "room": room, "message": 1}]
    await client.frames.connection.close()
    await until_equal([], lambda: other.clients(room))


@pytest.mark.parametrize("back_on", TRANSPORTS)
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_client_that_was_cut_has_its_rooms_its_name_and_all_it_missed(
    keeper: Server, stack: AsyncExitStack, other: Plain, room: str, transport: str, back_on: str
) -> None:
    client = await joined(stack, keeper, room, transport)
    sid = client.sid
    await notify(other, room, "before")
    assert await client.messages(1) == ["before"]

    await client.cut()
    await notify(other, room, *range(5))
    assert await other.clients(room) == ["me"]
    client.transport = back_on
    assert await client.connect(stack)

    assert client.sid == sid
    assert await client.messages(5) == list(range(5))
    await notify(other, room, "after")
    assert await client.messages(1) == ["after"]
    await client.emit("NOTIFY", {"room": room, "message": "by its name"})
    await other.join(room, "other")
    await client.emit("NOTIFY", {"room": room, "message": "by its name"})
    assert await other.receive() == ["EVENT", {"sender": "me", "room": room, "message": "by its name"}]
    await client.ask("LEAVE", {"room": room})
    assert await other.clients(room) == ["other"]


async def test_it_comes_back_again_and_again_and_with_the_offset_of_a_missed_event(
    keeper: Server, stack: AsyncExitStack, other: Plain, room: str
) -> None:
    client = await joined(stack, keeper, room)
    for turn in range(3):
        await client.cut()
        await notify(other, room, [turn, 0], [turn, 1])
        assert await client.connect(stack)
        assert await client.messages(2) == [[turn, 0], [turn, 1]]


@pytest.mark.parametrize("end", ["close frame", "engine packet"])
async def test_a_transport_that_its_client_closes_is_no_leave(
    keeper: Server, stack: AsyncExitStack, other: Plain, room: str, end: str
) -> None:
    """`socket.io.engine.close()`, with which the documentation of the originals tries it."""
    client = await joined(stack, keeper, room, "websocket" if end == "close frame" else "polling")
    await notify(other, room, 0)
    await client.messages(1)
    if end == "close frame":
        await client.frames.connection.close()
    else:
        await client.send("1")
    await notify(other, room, 1)
    assert await client.connect(stack)
    assert await client.messages(1) == [1]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_half_open_connection_is_taken_over(
    keeper: Server, stack: AsyncExitStack, other: Plain, room: str, transport: str
) -> None:
    client = await joined(stack, keeper, room, transport)
    await notify(other, room, 1, 2, 3)
    assert await client.messages(1) == [1]  # the others are on the way and never come

    old = client.frames
    assert await client.connect(stack)

    assert await client.messages(2) == [2, 3]
    if transport == "websocket":
        assert await old.closed() == TAKEN_OVER.code
    await notify(other, room, 4)
    assert await client.messages(1) == [4]
    assert await other.clients(room) == ["me"]


async def test_several_namespaces_of_one_connection_come_back_each(
    keeper: Server, stack: AsyncExitStack, other: Plain, room: str
) -> None:
    layout = await joined(stack, keeper, room)
    bus = Returning(keeper, "bus")
    await layout.send("40/bus,")
    told = json.loads((await layout.packet()).removeprefix("40/bus,"))
    bus.sid, bus.pid = told["sid"], told["pid"]
    await layout.send(f"42/bus,7{json.dumps(['JOIN', {'room': room, 'name': 'me'}])}")
    assert await layout.packet() == "43/bus,7[]"
    assert layout.pid != bus.pid

    assert await layout.connect(stack)  # half-open: the other one waits from now on
    await Api(keeper).json("POST", "/api/publish", {"addresses": [f"room:bus/{room}"], "message": 1})
    assert await bus.connect(stack)
    assert await bus.messages(1) == [1]


async def test_peers_in_a_lobby_see_nothing_of_it(keeper: Server, stack: AsyncExitStack, room: str) -> None:
    stays, goes = (Returning(keeper, "lobby", lobbyId=room) for _ in range(2))
    await stays.connect(stack)
    assert await stays.receive() == ["JOINED", stays.sid]
    assert await stays.receive() == ["PEERS", []]
    await goes.connect(stack)
    assert await goes.receive() == ["JOINED", goes.sid]
    assert await goes.receive() == ["PEERS", [stays.sid]]
    assert await stays.receive() == ["JOINED", goes.sid]

    await goes.cut()
    third = await socketio(stack, keeper, "lobby", lobbyId=room)
    assert await stays.receive() == ["JOINED", third.sid]
    await stays.emit("RTCSIGNAL", {"to": goes.sid, "sdp": 1})
    await stays.settled()
    assert await goes.connect(stack)

    assert await goes.receive() == ["JOINED", third.sid]
    assert await goes.receive() == ["RTCSIGNAL", {"to": goes.sid, "sdp": 1}]
    await goes.emit("BROADCAST", {"message": "back"})
    for client in (stays, goes):
        assert await client.receive() == ["MESSAGE", {"from": goes.sid, "message": "back"}]
    await goes.send("41/lobby,")
    assert await stays.receive() == ["LEFT", goes.sid]


async def test_binary_events_have_offsets_and_are_kept(
    keeper: Server, stack: AsyncExitStack, room: str
) -> None:
    client = await joined(stack, keeper, room)
    sender = await joined(stack, keeper, f"{room}-2")

    async def send(*buffers: bytes) -> None:
        message = {"b": [{"_placeholder": True, "num": number} for number in range(len(buffers))]}
        text = json.dumps(["NOTIFY", {"room": room, "message": message}])
        await sender.send(f"45{len(buffers)}-/layout,{text}", *buffers)
        await sender.settled()

    await send(b"one", b"two")
    assert await client.messages(1) == [{"b": [b"one", b"two"]}]
    await client.cut()
    await send(b"three", b"\x00\xff")
    await send(b"4")
    client.transport = "polling"
    assert await client.connect(stack)
    assert await client.messages(2) == [{"b": [b"three", b"\x00\xff"]}, {"b": [b"4"]}]


async def test_plain_values_have_their_offset_behind_them(
    keeper: Server, stack: AsyncExitStack, room: str
) -> None:
    client = await joined(stack, keeper, room, namespace="trigger")
    sender = await joined(stack, keeper, f"{room}-2", namespace="trigger")
    await sender.emit("BROADCAST_EVENTS", room, "a string")
    assert await client.receive() == ["EVENTS", "a string"]
    await client.cut()
    await sender.emit("BROADCAST_STATUS", room)
    await sender.settled()
    assert await client.connect(stack)
    assert await client.receive() == ["STATUS", None]


async def test_a_client_that_has_received_nothing_has_no_offset_and_comes_back(
    keeper: Server, stack: AsyncExitStack, other: Plain, room: str
) -> None:
    client = await joined(stack, keeper, room)
    await client.cut()
    await notify(other, room, 1)
    assert client.offset is None
    assert await client.connect(stack)
    assert await client.messages(1) == [1]


async def test_the_offset_of_an_earlier_session_is_none_of_this_one(
    keeper: Server, stack: AsyncExitStack, other: Plain, room: str
) -> None:
    """The client keeps its last offset when it gets a new session."""
    client = await joined(stack, keeper, room)
    await notify(other, room, 1)
    assert await client.messages(1) == [1]
    assert not await client.connect(stack, pid="of a server before its restart")
    await client.ask("JOIN", {"room": room, "name": "again"})
    await client.cut()
    await notify(other, room, 2)
    assert await client.connect(stack)
    assert await client.messages(1) == [2]


NO_PIDS: list[Any] = [None, 1, True, [], {}, "", "x", "f" * 40, "é" * 40]
NO_OFFSETS: list[Any] = [None, 0, 1, True, [], {}, "", "1", "x.1", "é"]
BAD: dict[str, dict[str, Any]] = {
    **{f"pid {value!r}": {"pid": value} for value in NO_PIDS},
    **{f"offset {value!r}": {"offset": value} for value in NO_OFFSETS},
    "pid of another namespace": {},
    "offset of the future": {},
    "offset before the first": {},
    "offset beyond all numbers": {},
    "offset with a tail": {},
    "offset of another session": {},
}


@pytest.mark.parametrize("kind", BAD)
async def test_what_makes_no_sense_is_a_new_session(
    keeper: Server, stack: AsyncExitStack, other: Plain, room: str, kind: str
) -> None:
    client = await joined(stack, keeper, room)
    await notify(other, room, 1)
    await client.messages(1)
    sid = client.sid
    tag, _, number = (client.offset or "").partition(".")
    auth = dict(BAD[kind])
    if kind == "pid of another namespace":
        auth["pid"] = (await joined(stack, keeper, room, namespace="bus")).pid
    elif kind == "offset of another session":
        stranger = await joined(stack, keeper, f"{room}-2")
        await notify(other, f"{room}-2", 2)
        await stranger.messages(1)
        auth["offset"] = stranger.offset
    elif kind.startswith("offset "):
        texts = {"future": f"{tag}.{int(number) + 1}", "first": f"{tag}.{int(number) - 1}"}
        texts |= {"tail": f"{tag}.{number} ", "numbers": f"{tag}.{'9' * 30}"}
        last_word = kind.rsplit(maxsplit=1)[-1]
        auth |= {"offset": texts[last_word]} if last_word in texts else {}
    await client.cut()

    assert not await client.connect(stack, **auth)

    assert client.sid != sid
    await client.ask("JOIN", {"room": room, "name": "new"})
    await notify(other, room, "only this")
    assert await client.messages(1) == ["only this"]
    assert await other.clients(room) == (["me", "new"] if kind.startswith("pid") else ["new"])


@pytest.mark.parametrize("end", ["left", "disconnected", "disconnected while away"])
async def test_a_deliberate_end_is_final(
    keeper: Server, stack: AsyncExitStack, other: Plain, room: str, end: str
) -> None:
    client = await joined(stack, keeper, room)
    await notify(other, room, 1)
    await client.messages(1)
    api = Api(keeper)
    row = await api.room("layout", room)
    [member] = (await api.json("GET", f"/api/rooms/{row['id']}/members/"))["results"]
    if end == "left":
        await client.send("41/layout,")
    elif end == "disconnected while away":
        await client.cut()
    if end != "left":
        await api.json("POST", f"/api/clients/{member['connection']}/disconnect/")
    await until_equal([], lambda: other.clients(room))
    assert not await client.connect(stack)


async def test_who_does_not_come_back_in_time_has_left(server: ServerFactory, stack: AsyncExitStack) -> None:
    hasty = server(ROOMS_RECOVERY_SECONDS="0.2")
    stays, goes = (Returning(hasty, "lobby", lobbyId="l") for _ in range(2))
    for client in (stays, goes):
        await client.connect(stack)
        assert await client.receive() == ["JOINED", client.sid]
        await client.receive()
    assert await stays.receive() == ["JOINED", goes.sid]
    await goes.cut()
    assert await stays.receive() == ["LEFT", goes.sid]
    sid = goes.sid
    assert not await goes.connect(stack)
    assert goes.sid != sid


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_thousand_missed_events_come_and_one_more_is_too_many(
    keeper: Server, stack: AsyncExitStack, other: Plain, room: str, transport: str
) -> None:
    client = await joined(stack, keeper, room)
    await client.cut()
    await notify(other, room, *range(1000))
    client.transport = transport
    assert await client.connect(stack)
    assert await client.messages(1000) == list(range(1000))

    client.transport = "websocket"
    assert await client.connect(stack)
    await client.cut()
    await notify(other, room, *range(1001))
    assert not await client.connect(stack)


async def test_a_request_to_a_client_that_is_away_fails_and_has_no_offset(
    keeper: Server, stack: AsyncExitStack, other: Plain, room: str
) -> None:
    client = await joined(stack, keeper, room)
    api = Api(keeper)
    row = await api.room("layout", room)
    [member] = (await api.json("GET", f"/api/rooms/{row['id']}/members/"))["results"]
    path = f"/api/connections/{member['connection']}"
    await client.cut()
    await until_equal(404, lambda: _status(api, f"{path}/request"))
    await api.json("POST", f"{path}/send", {"message": {"n": 1}})
    await api.json("POST", f"{path}/send", {"message": {"n": 2}, "volatile": True})
    assert await client.connect(stack)
    assert await client.messages(1) == [{"n": 1}]
    await notify(other, room, 3)
    assert await client.messages(1) == [3]


async def _status(api: Api, path: str) -> int:
    return (await api.call("POST", path, {"message": {}, "timeout": 5})).status


async def test_metrics_count_who_is_away_and_how_it_ended(
    server: ServerFactory, stack: AsyncExitStack, room: str
) -> None:
    alone = server(ROOMS_RECOVERY_SECONDS="60")
    client = await joined(stack, alone, room)
    await client.cut()
    await until_equal([1, 0, 0], lambda: _counts(alone))
    assert await client.connect(stack)
    assert await _counts(alone) == [0, 1, 0]
    assert not await client.connect(stack, offset=1)
    assert await _counts(alone) == [0, 1, 1]


async def _counts(server: Server) -> list[float]:
    """Clients that are away, and how often one has recovered, and not."""
    lines = (await Api(server).call("GET", "/metrics")).text.splitlines()
    names = (
        'switchboard_waiting{protocol="rooms"}',
        'switchboard_recoveries_total{outcome="recovered",protocol="rooms"}',
        'switchboard_recoveries_total{outcome="new",protocol="rooms"}',
    )
    return [
        sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} ")) for name in names
    ]


async def test_events_of_a_room_with_history_are_kept_alike(
    server: ServerFactory, stack: AsyncExitStack, room: str
) -> None:
    keeps = server(ROOMS_RECOVERY_SECONDS="60", HISTORY_SIZE="10")
    other = await plain(stack, keeps, "layout")
    await notify(other, room, 1, 2, 3)
    client = Returning(keeps, "layout")
    await client.connect(stack)
    await client.ask("JOIN", {"room": room, "name": "me", "last": 2})
    assert await client.messages(1) == [2]
    await client.cut()
    await notify(other, room, 4)
    assert await client.connect(stack)
    assert await client.messages(2) == [3, 4]
