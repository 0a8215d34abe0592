"""Access tokens and API keys on rooms: who is let in, over every transport, and what each of them allows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any, Final
from urllib.parse import urlencode

import pytest
from websockets.exceptions import InvalidStatus

from tests.compliance.engineio.client import Site
from tests.rooms.client import SOCKET_IO, Api, Client, Plain, plain, polled, socketio
from tests.rooms.conftest import two_servers
from tests.rooms.returning import Returning
from tests.services.databases import Databases
from tests.services.issuing import add_issuer, add_key, bad_tokens, change_key, token
from tests.services.running import running
from tests.services.server import Server
from tests.services.short_lived import let_in_async

BAD: Final = ("expired", "unknown issuer", "other secret", "not a JWT")
WRONG: Final = "credentials missing or wrong"
KEEPER: Final = {"ROOMS_ACCESS": "token", "ROOMS_RECOVERY_SECONDS": "60"}
HERE: Final = "room:layout/nobody is here"
"""The room that `Plain.settled` asks about."""


@pytest.fixture(scope="module")
def bounded(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose clients need a credential."""
    with running(databases, tmp_path_factory.mktemp("bounded"), ROOMS_ACCESS="token") as server:
        add_issuer(server)
        yield server


@pytest.fixture(scope="module")
def keeper(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The same, with sessions that clients may come back to."""
    with running(databases, tmp_path_factory.mktemp("keeper"), **KEEPER) as server:
        add_issuer(server)
        yield server


@pytest.fixture(scope="module")
def open_to_all(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server as it comes, with an issuer."""
    with running(databases, tmp_path_factory.mktemp("open")) as server:
        add_issuer(server)
        yield server


async def status(stack: AsyncExitStack, server: Server, path: str, **query: str) -> int:
    """The status that the handshake of a plain socket is answered with."""
    try:
        await plain(stack, server, f"{path}?{urlencode(query)}")
    except InvalidStatus as error:
        return error.response.status_code
    return 101


async def refused(server: Server) -> float:
    """Everything of rooms that was refused as forbidden, until now."""
    line = 'switchboard_refused_total{protocol="rooms",reason="forbidden"} '
    text = (await Api(server).call("GET", "/metrics")).text
    return sum(float(one.removeprefix(line)) for one in text.splitlines() if one.startswith(line))


async def answer(
    stack: AsyncExitStack, server: Server, version: int, auth: Any = None, connect: str = "", **query: str
) -> str:
    """The answer to a CONNECT to `/layout`; `connect` is the query of the namespace, for old clients."""
    frames = await Site(server.port, version, SOCKET_IO).socket(stack, **query)
    await frames.receive()
    if version == 3:
        await frames.receive()  # the main namespace, or the refusal of it
        await frames.send(f"40/layout{connect}")
    else:
        await frames.send("40/layout," + ("" if auth is None else json.dumps(auth)))
    packet: str = await frames.receive_but("2", "3")
    return packet


async def with_token(stack: AsyncExitStack, server: Server, namespace: str, held: str, **more: str) -> Client:
    """A client of Socket.IO 4.x."""
    return await socketio(stack, server, namespace, connect="," + json.dumps({"token": held} | more))


# --- let in, or not ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", BAD)
@pytest.mark.parametrize("mode", ["bounded", "open_to_all"])
async def test_a_bad_token_is_refused(request: Any, stack: AsyncExitStack, mode: str, wrong: str) -> None:
    server, bad = request.getfixturevalue(mode), bad_tokens()[wrong]

    assert await status(stack, server, "layout", access_token=bad) == 403
    assert await status(stack, server, "lobby", lobbyId="x", access_token=bad) == 403
    told = f'44/layout,{{"message":"{WRONG}"}}'
    assert await answer(stack, server, 4, {"token": bad}) == told
    assert await answer(stack, server, 4, access_token=bad) == told
    assert await answer(stack, server, 3, access_token=bad) == f'44/layout,"{WRONG}"'
    if (mode, wrong) == ("open_to_all", "not a JWT"):  # a field of the client's own, as old ones have it
        assert await answer(stack, server, 3, token=bad) == "40/layout"
    else:
        assert await answer(stack, server, 4, token=bad) == told
        assert await answer(stack, server, 3, token=bad) == f'44/layout,"{WRONG}"'


async def test_what_is_no_string_is_nobodys_token(open_to_all: Server, stack: AsyncExitStack) -> None:
    wrong: list[Any] = [5, ["a"], {"a": 1}, True]
    none: list[Any] = ["", None, 0]
    for value in wrong:
        assert (await answer(stack, open_to_all, 4, {"token": value})).startswith("44/layout,")
    for value in none:
        assert (await answer(stack, open_to_all, 4, {"token": value})).startswith("40/layout,")


async def test_a_client_without_a_credential_is_refused(bounded: Server, stack: AsyncExitStack) -> None:
    for namespace in ("layout", "bus", "trigger"):
        assert await status(stack, bounded, namespace) == 403
    assert await answer(stack, bounded, 4) == f'44/layout,{{"message":"{WRONG}"}}'
    assert await answer(stack, bounded, 3) == f'44/layout,"{WRONG}"'


async def test_the_main_namespace_is_refused_as_well(bounded: Server, stack: AsyncExitStack) -> None:
    frames = await Site(bounded.port, 4, SOCKET_IO).socket(stack)
    await frames.receive()
    await frames.send("40")
    assert await frames.receive() == f'44{{"message":"{WRONG}"}}'
    await frames.send("40" + json.dumps({"token": token()}))
    assert (await frames.receive()).startswith('40{"sid":')

    frames = await Site(bounded.port, 3, SOCKET_IO).socket(stack)
    await frames.receive()
    assert await frames.receive() == f'44"{WRONG}"'


async def test_a_client_that_was_refused_may_try_again(bounded: Server, stack: AsyncExitStack) -> None:
    frames = await Site(bounded.port, 4, SOCKET_IO).socket(stack)
    await frames.receive()
    await frames.send("40/layout,")
    assert (await frames.receive()).startswith("44/layout,")
    await frames.send("40/layout," + json.dumps({"token": token()}))
    assert (await frames.receive()).startswith('40/layout,{"sid":')


async def test_a_client_is_let_in_by_each_way_of_presenting(bounded: Server, stack: AsyncExitStack) -> None:
    good, key = token(), bounded.api_key

    assert await status(stack, bounded, "layout", access_token=good) == 101
    assert await status(stack, bounded, "layout", key=key) == 101
    for auth in ({"token": good}, {"token": key}, {"key": key}, {"access_token": good}):
        assert (await answer(stack, bounded, 4, auth)).startswith("40/layout,")
    for query in ({"access_token": good}, {"token": good}, {"token": key}, {"key": key}):
        assert (await answer(stack, bounded, 4, **query)).startswith("40/layout,")
        assert await answer(stack, bounded, 3, **query) == "40/layout"
    assert await answer(stack, bounded, 3, connect=f"?token={good}") == "40/layout"


async def test_a_poll_is_let_in_by_a_header(bounded: Server) -> None:
    site, headers = Site(bounded.port, 4, SOCKET_IO), {"Authorization": f"Bearer {token()}"}
    opened = await site.request("GET", site.query("polling"), headers=headers)
    sid = json.loads(opened.text[1:])["sid"]

    assert (await site.post("40/layout,", sid)).text == "ok"
    assert (await site.get(sid)).text.startswith('40/layout,{"sid":')


async def test_the_token_of_a_namespace_counts_before_that_of_its_session(
    bounded: Server, stack: AsyncExitStack
) -> None:
    good, bad = token(), bad_tokens()["expired"]
    assert (await answer(stack, bounded, 4, {"token": good}, access_token=bad)).startswith("40/layout,")
    assert (await answer(stack, bounded, 4, {"token": bad}, access_token=good)).startswith("44/layout,")


# --- rights -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("namespace", "join", "send"),
    [
        ("layout", {"room": "THE ROOM", "name": "a"}, ["NOTIFY", {"room": "THE ROOM", "message": 1}]),
        ("bus", {"room": "THE ROOM", "name": "a"}, ["NOTIFY", {"room": "THE ROOM", "message": 1}]),
        ("trigger", "THE ROOM", ["BROADCAST_EVENTS", "THE ROOM", 1]),
        ("trigger", "THE ROOM", ["BROADCAST_UPDATES", "THE ROOM", 1]),
        ("trigger", "THE ROOM", ["BROADCAST_STATUS", "THE ROOM", 1]),
    ],
)
async def test_each_right_and_its_absence(
    bounded: Server, stack: AsyncExitStack, room: str, namespace: str, join: Any, send: list[Any]
) -> None:
    join, send = (json.loads(json.dumps(event).replace("THE ROOM", room)) for event in (join, send))
    address = f"room:{namespace}/{room}"
    receiver = await with_token(stack, bounded, namespace, token([address]))
    sender = await with_token(stack, bounded, namespace, token([], [address]))
    before = await refused(bounded)

    await receiver.ask("JOIN", join)
    await sender.emit("JOIN", join, id=1)
    await receiver.emit(*send)
    reason = "the credential does not cover this room"
    assert await sender.settled() == [
        f"42/{namespace}," + json.dumps(["ERROR", {"event": "JOIN", "reason": reason}], separators=(",", ":"))
    ]
    assert await receiver.receive() == ["ERROR", {"event": send[0], "reason": reason}]
    assert await refused(bounded) == before + 2

    await sender.emit(*send)
    name, *arguments = await receiver.receive()
    assert name in ("EVENT", "EVENTS", "UPDATES", "STATUS")
    assert arguments in ([1], [{"sender": "unknown", "room": room, "message": 1}])
    assert await sender.settled() == []
    await receiver.ask("LEAVE", join)


async def test_clients_needs_subscribe(bounded: Server, stack: AsyncExitStack, room: str) -> None:
    address = f"room:layout/{room}"
    member = await with_token(stack, bounded, "layout", token([address]))
    sender = await with_token(stack, bounded, "layout", token([], [address]))
    await member.ask("JOIN", {"room": room, "name": "me"})

    await member.emit("CLIENTS", {"room": room})
    await sender.emit("CLIENTS", {"room": room})

    assert await member.receive() == ["CLIENTS", {"room": room, "clients": ["me"]}]
    assert (await sender.receive())[0] == "ERROR"
    assert await sender.settled() == []


async def test_rights_of_a_plain_socket(bounded: Server, stack: AsyncExitStack, room: str) -> None:
    address = f"room:layout/{room}"
    member = await plain(stack, bounded, f"layout?access_token={token([address, HERE])}")
    sender = await plain(stack, bounded, f"layout?access_token={token([HERE], [address])}")
    await member.join(room, "me")

    await sender.say("JOIN", {"room": room, "name": "you"})
    await member.say("NOTIFY", {"room": room, "message": 1})
    assert [name for name, _ in await sender.settled()] == ["ERROR"]
    assert [name for name, _ in await member.settled()] == ["ERROR"]
    await sender.say("NOTIFY", {"room": room, "message": 2})
    assert await member.receive() == ["EVENT", {"sender": "unknown", "room": room, "message": 2}]
    assert await member.clients(room) == ["me"]


async def test_a_number_is_covered_as_its_string(bounded: Server, stack: AsyncExitStack) -> None:
    client = await with_token(stack, bounded, "layout", token(["room:layout/15"]))
    await client.ask("JOIN", {"room": 15.0, "name": "me"})
    await client.emit("JOIN", {"room": 16, "name": "me"})
    assert (await client.receive())[0] == "ERROR"


async def test_a_lobby_needs_subscribe_to_enter_and_publish_to_send(
    bounded: Server, stack: AsyncExitStack, room: str
) -> None:
    address = f"room:lobby/{room}"
    silent = await with_token(stack, bounded, "lobby", token([address]), lobbyId=room)
    assert [(await silent.receive())[0] for _ in range(2)] == ["JOINED", "PEERS"]
    loud = await with_token(stack, bounded, "lobby", token([address], [address]), lobbyId=room)
    assert [(await loud.receive())[0] for _ in range(2)] == ["JOINED", "PEERS"]
    assert (await silent.receive())[0] == "JOINED"
    before = await refused(bounded)

    for event in (
        ["BROADCAST", {"message": 1}],
        ["RTCSIGNAL", {"to": room, "data": 1}],
        ["RTCSIGNAL", {"to": loud.sid, "data": 1}],
    ):
        await silent.emit(*event)
        assert (await silent.receive())[0] == "ERROR"
    assert await loud.settled() == []
    assert await refused(bounded) == before + 3

    await loud.emit("BROADCAST", {"message": 2})
    await loud.emit("RTCSIGNAL", {"to": silent.sid, "data": 3})
    assert [(await silent.receive())[0] for _ in range(2)] == ["MESSAGE", "RTCSIGNAL"]


async def test_a_lobby_that_the_token_does_not_cover_is_left_at_once(
    bounded: Server, stack: AsyncExitStack, room: str
) -> None:
    held = token(["room:lobby/another"])
    client = await with_token(stack, bounded, "lobby", held, lobbyId=room)
    assert await client.receive_packet() == "41/lobby,"
    assert await status(stack, bounded, "lobby", lobbyId=room, access_token=held) == 403
    assert await status(stack, bounded, "lobby", lobbyId="another", access_token=held) == 101

    client = await with_token(stack, bounded, "lobby", held, lobbyId="another")
    assert [(await client.receive())[0] for _ in range(2)] == ["JOINED", "PEERS"]
    await client.ask("LEAVE", "another")
    await client.emit("JOIN", room)
    assert (await client.receive())[0] == "ERROR"


@pytest.mark.parametrize(
    ("scopes", "joins", "sends"),
    [(["read"], True, False), (["publish"], False, True), (["manage"], False, False)],
)
async def test_an_api_key_needs_the_scope(
    bounded: Server, stack: AsyncExitStack, room: str, scopes: list[str], joins: bool, sends: bool
) -> None:
    key = await asyncio.to_thread(add_key, bounded, "phone", scopes, [f"room:layout/{room}*"])
    client = await with_token(stack, bounded, "layout", key)

    await client.emit("JOIN", {"room": room, "name": "me"}, id=1)
    await client.emit("NOTIFY", {"room": room, "message": 1})

    heard = await client.settled()
    assert heard[0].startswith("43/layout,1[]" if joins else '42/layout,["ERROR",{"event":"JOIN"')
    assert heard[1:] == [] if sends else heard[1].startswith('42/layout,["ERROR",{"event":"NOTIFY"')


async def test_an_open_server_bounds_nobody(open_to_all: Server, stack: AsyncExitStack, room: str) -> None:
    client = await with_token(stack, open_to_all, "layout", token())
    other = await socketio(stack, open_to_all, "layout")

    for one, name in ((client, "a"), (other, "b")):
        await one.ask("JOIN", {"room": room, "name": name})
    await client.emit("NOTIFY", {"room": room, "message": 1})

    assert await other.receive() == ["EVENT", {"sender": "a", "room": room, "message": 1}]


# --- posts to /bus ----------------------------------------------------------------------------------------


async def test_a_post_needs_a_credential_that_covers_the_room(
    bounded: Server, stack: AsyncExitStack, room: str
) -> None:
    site, path = Site(bounded.port), f"/bus-message/{room}"
    client = await with_token(stack, bounded, "bus", token([f"room:bus/{room}"]))
    await client.ask("JOIN", {"room": room, "name": "me"})

    async def post(**headers: str) -> int:
        return (await site.request("POST", path, "{}", {"Content-Type": "application/json"} | headers)).status

    assert await post() == 401
    assert await post(Authorization=f"Bearer {bad_tokens()['expired']}") == 401
    assert await post(Authorization=f"Bearer {token(['*'], ['room:bus/x'])}") == 403
    assert await client.settled() == []
    assert await post(Authorization=f"Bearer {token([], [f'room:bus/{room}'])}") == 200
    assert await post(X_API_Key=bounded.api_key) == 200
    assert [(await client.receive())[0] for _ in range(2)] == ["EVENT", "EVENT"]


# --- coming back ------------------------------------------------------------------------------------------


async def cut_in_room(stack: AsyncExitStack, server: Server, room: str, held: str) -> Returning:
    """A client that was in a room, and has lost its connection."""
    client = Returning(server, "layout")
    await client.connect(stack, token=held)
    await client.ask("JOIN", {"room": room, "name": "me"})
    await client.cut()
    return client


async def test_a_session_comes_back_to_its_holder_with_a_newer_token(
    keeper: Server, stack: AsyncExitStack, room: str
) -> None:
    address = f"room:layout/{room}"
    client = await cut_in_room(stack, keeper, room, token([address], jti="1"))
    assert await client.connect(stack, token=token([address], jti="2"))


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"subscribe": []}, id="fewer rights"),
        pytest.param({"subscribe": ["*"]}, id="more rights"),
        pytest.param({"sub": "bob"}, id="another subject"),
    ],
)
async def test_a_session_does_not_come_back_with_another_grant(
    keeper: Server, stack: AsyncExitStack, room: str, other: dict[str, Any]
) -> None:
    address = f"room:layout/{room}"
    client = await cut_in_room(stack, keeper, room, token([address]))
    pid = client.pid
    assert not await client.connect(stack, token=token(**{"subscribe": [address], **other}))
    assert await client.settled() == []

    client.pid = pid
    assert await client.connect(stack, token=token([address])), "its holder may still come back"


async def test_a_session_does_not_come_back_with_a_bad_token(
    keeper: Server, stack: AsyncExitStack, room: str
) -> None:
    client = await cut_in_room(stack, keeper, room, token(["*"]))
    auth = {"pid": client.pid, "token": bad_tokens()["expired"]}
    assert await answer(stack, keeper, 4, auth) == f'44/layout,{{"message":"{WRONG}"}}'


async def test_a_session_comes_back_to_its_holder_alone_at_another_worker(
    databases: Databases,
    redis_url: str,
    tmp_path_factory: pytest.TempPathFactory,
    stack: AsyncExitStack,
    room: str,
) -> None:
    with two_servers(databases, redis_url, tmp_path_factory, **KEEPER) as (owner, other):
        await asyncio.to_thread(add_issuer, owner)
        client = await cut_in_room(stack, owner, room, token(["*"]))
        client.server, pid = other, client.pid
        assert not await client.connect(stack, token=token(["*"], sub="bob"))
        client.pid = pid
        assert await client.connect(stack, token=token(["*"], jti="next", iat=1))


# --- the end ----------------------------------------------------------------------------------------------


async def test_a_plain_socket_ends_with_its_token(bounded: Server, stack: AsyncExitStack) -> None:
    async def enter(end: float) -> Plain:
        client = await plain(stack, bounded, f"layout?access_token={token([HERE], exp=end)}")
        assert await client.settled() == []
        return client

    assert await (await let_in_async(enter)).closed() == 4005


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("mode", ["bounded", "open_to_all"])
async def test_a_namespace_ends_with_its_token(
    request: Any, stack: AsyncExitStack, mode: str, version: int
) -> None:
    server: Server = request.getfixturevalue(mode)

    async def enter(end: float) -> Client:
        return await socketio(stack, server, "layout", version, token=token(["*"], exp=end))

    client = await let_in_async(enter)
    assert await client.receive_packet() == "41/layout,"


async def test_a_namespace_over_polling_ends_with_its_token(bounded: Server) -> None:
    site = Site(bounded.port, 4, SOCKET_IO)

    async def enter(end: float) -> tuple[str, str]:
        sid = await site.open(token=token(exp=end))
        await site.post("40/layout,", sid)
        received = await polled(site, sid, "/layout,")
        assert received.startswith("40/layout,")
        return sid, received

    sid, received = await let_in_async(enter)
    if "41/layout," not in received:
        await polled(site, sid, "41/layout,")


@pytest.mark.parametrize("now", [["room:layout/elsewhere"], None])
async def test_a_namespace_ends_when_its_key_does_not_cover_its_rooms_any_longer(
    bounded: Server, stack: AsyncExitStack, room: str, now: list[str] | None
) -> None:
    key = await asyncio.to_thread(add_key, bounded, room, ["read"], [f"room:layout/{room}*"])
    client = await with_token(stack, bounded, "layout", key)
    await client.ask("JOIN", {"room": room, "name": "me"})

    await asyncio.to_thread(change_key, bounded, room, now)

    assert await client.receive_packet() == "41/layout,"


async def test_a_session_that_waits_ends_with_its_token(
    keeper: Server, stack: AsyncExitStack, room: str
) -> None:
    watcher = await with_token(stack, keeper, "layout", token(["*"]))

    async def enter(end: float) -> Returning:
        return await cut_in_room(stack, keeper, room, token(["*"], exp=end))

    client = await let_in_async(enter)
    clients: Any = None
    while clients != []:
        await watcher.emit("CLIENTS", {"room": room})
        clients = (await watcher.receive())[1]["clients"]
    assert not await client.connect(stack, token=token(["*"]))


async def test_no_credential_is_logged(bounded: Server, stack: AsyncExitStack) -> None:
    bad, good = bad_tokens()["other secret"], token()
    await answer(stack, bounded, 4, {"token": bad})
    await answer(stack, bounded, 4, access_token=bad)
    await answer(stack, bounded, 3, token=good)
    log = bounded.log_text()

    assert "access token refused" in log
    for secret in (bad, good, bounded.api_key):
        assert secret not in log
