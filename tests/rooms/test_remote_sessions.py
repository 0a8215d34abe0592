"""Two processes on one Redis and one database: each serves the sessions of the other as its own."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from routing_app.core.codes import RESTART
from tests.compliance.engineio.client import Site, handshake
from tests.compliance.engineio.client import Socket as Frames
from tests.conftest import ServerFactory
from tests.rooms.client import SOCKET_IO, Api, plain, polled, socketio
from tests.rooms.conftest import LARGEST, Pair
from tests.rooms.patient import PATIENT
from tests.services.waiting import until_equal

pytestmark = pytest.mark.once  # its processes share a Redis on both stacks

TURNS = 20
"""Of a worker's loop."""


@pytest.fixture(params=[3, 4], ids=["v3", "v4"])
def sites(pair: Pair, request: pytest.FixtureRequest) -> tuple[Site, Site]:
    """Their endpoints."""
    here, there = (Site(server.port, request.param, SOCKET_IO) for server in pair)
    return here, there


def packets(site: Site, *texts: str) -> str:
    if site.version == 4:
        return "\x1e".join(texts)
    return "".join(f"{len(text)}:{text}" for text in texts)


async def joined(site: Site, room: str, name: str = "poller") -> str:
    """A polling session that is in a room."""
    answer = await site.get(b64="1")
    sid = str(handshake(answer.text)["sid"])
    if site.version == 3:
        assert (await site.get(sid)).text == "2:40"
    await site.post(
        packets(site, "40/layout,", f'42/layout,0["JOIN",{{"room":"{room}","name":"{name}"}}]'), sid
    )
    await polled(site, sid, "43/layout,0[]")
    return sid


async def test_polls_and_posts_land_anywhere(
    pair: Pair, sites: tuple[Site, Site], stack: AsyncExitStack, room: str
) -> None:
    here, there = sites
    sid = await joined(here, room)
    other = await plain(stack, pair[1], "layout")
    await other.join(room, "other")

    for number in range(10):
        waiting = await (there if number % 2 else here).begin_poll(sid)
        await other.say("NOTIFY", {"room": room, "message": number})
        assert f'"message":{number}}}' in (await waiting).text
        post = there if number % 3 else here
        text = f'42/layout,["NOTIFY",{{"room":"{room}","message":"é{number}"}}]'
        assert (await post.post(packets(here, text), sid)).text == "ok"
        assert (await other.receive())[1] == {"sender": "poller", "room": room, "message": f"é{number}"}


async def test_a_websocket_anywhere_carries_the_session_after_its_upgrade(
    pair: Pair, sites: tuple[Site, Site], stack: AsyncExitStack, room: str
) -> None:
    here, there = sites
    sid = await joined(here, room)
    other = await plain(stack, pair[0], "layout")
    await other.join(room, "other")
    await other.say("NOTIFY", {"room": room, "message": "before"})
    await other.settled()

    socket = await moved(there, sid, stack)

    assert '"message":"before"' in await socket.receive()
    for number in range(100):
        await other.say("NOTIFY", {"room": room, "message": number})
    for number in range(100):
        assert f'"message":{number}}}' in await socket.receive_but("2", "3")
    await socket.send(*(f'42/layout,["NOTIFY",{{"room":"{room}","message":{n}}}]' for n in range(100)))
    for number in range(100):
        assert (await other.receive())[1]["message"] == number
    if here.version == 3:
        await socket.send("2")
        assert await socket.receive() == "3"
    assert (await here.get(sid)).status == (await there.get(sid)).status == 400
    await (await there.socket(stack, sid)).closed()
    await (await here.socket(stack, sid)).closed()
    await socket.connection.close()
    await until_equal(["other"], lambda: other.clients(room))


async def test_a_probe_that_fails_elsewhere_leaves_the_session_on_polling(
    sites: tuple[Site, Site], stack: AsyncExitStack, room: str
) -> None:
    here, there = sites
    sid = await joined(here, room)
    socket = await there.socket(stack, sid)
    await socket.send("2nothing")
    await socket.closed()

    await there.post(packets(here, f'42/layout,1["LEAVE",{{"room":"{room}"}}]'), sid)
    assert (await there.get(sid)).text == packets(here, "43/layout,1[]")


async def test_the_end_crosses_as_well(sites: tuple[Site, Site], stack: AsyncExitStack, room: str) -> None:
    here, there = sites
    first, second, third = [await joined(here, room, name) for name in ("first", "second", "third")]

    poll = await here.begin_poll(first)
    assert (await there.post(packets(here, "1"), first)).status == 200
    assert (await poll).text == packets(here, "6")
    assert (await there.post("no payload", second)).status == 400
    poll = await here.begin_poll(third)
    assert (await there.get(third)).status == 400
    assert (await poll).text == packets(here, "1")

    for sid in (first, second, third):
        assert [(await site.get(sid)).status for site in sites] == [400, 400]


async def test_a_poll_given_up_elsewhere_loses_nothing(
    pair: Pair, sites: tuple[Site, Site], stack: AsyncExitStack, room: str
) -> None:
    here, there = sites
    sid = await joined(here, room)
    _, writer = await asyncio.open_connection("127.0.0.1", there.port)
    writer.write(f"GET {there.query('polling', sid)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await writer.drain()
    other = await plain(stack, pair[1], "layout")
    await other.settled()
    writer.close()
    await writer.wait_closed()

    # Each answer is a turn of that worker's loop; together they outlast the end of a poll. The post follows
    # the end of the poll to the owner by the same way.
    for _ in range(TURNS):
        await other.settled()
    await there.post(packets(here, '42/layout,["LEAVE",{"room":"nowhere"}]'), sid)
    await other.say("NOTIFY", {"room": room, "message": "kept"})
    assert '"message":"kept"' in (await there.get(sid)).text


async def test_a_worker_that_stops_sends_clients_of_others_on(
    server: ServerFactory, pair: Pair, redis_url: str, stack: AsyncExitStack, room: str
) -> None:
    """Polls are answered and lose nothing, sockets end as each client understands, lobbies get LEFT."""
    owner = pair[0]
    holder = server(REDIS_URL=redis_url, DATABASE_URL=owner.database_url, EXTRA_APPS=PATIENT)
    stays = await socketio(stack, owner, "lobby", lobbyId=room)
    goes = await socketio(stack, holder, "lobby", lobbyId=room)
    await until_equal(2, lambda: member_count(Api(owner), room))
    polls, sockets = {}, {}
    for version in (3, 4):
        here, there = (Site(one.port, version, SOCKET_IO) for one in (owner, holder))
        sid = await joined(here, room, f"polls{version}")
        polls[here, sid] = await there.begin_poll(sid)
        sockets[version] = await moved(there, await joined(here, room, f"moved{version}"), stack)

    assert await asyncio.to_thread(holder.stop) == 0

    assert "did not end within the limit" not in holder.log_text()
    assert [await sockets[version].closed() for version in (3, 4)] == [None, RESTART.code]
    for (here, sid), poll in polls.items():
        assert (await poll).text == packets(here, "6")
        other = await plain(stack, owner, "layout")
        await other.say("NOTIFY", {"room": room, "message": "kept"})
        assert '"message":"kept"' in (await here.get(sid)).text
    while await stays.receive() != ["LEFT", goes.sid]:
        pass
    await until_equal(["polls3", "polls4"], lambda: other.clients(room))


async def member_count(api: Api, lobby: str) -> int:
    return int((await api.room("lobby", lobby)).get("member_count", 0))


async def moved(site: Site, sid: str, stack: AsyncExitStack) -> Frames:
    """A polling session on its WebSocket."""
    socket = await site.socket(stack, sid)
    await socket.send("2probe")
    assert await socket.receive() == "3probe"
    await socket.send("5")
    return socket


async def test_operators_reach_clients_wherever_they_are(
    pair: Pair, sites: tuple[Site, Site], stack: AsyncExitStack, room: str
) -> None:
    here, there = sites
    sid = await joined(here, room)
    socket = await moved(there, sid, stack)
    api = Api(pair[1])
    number = (await api.room("layout", room))["id"]
    [member] = (await api.json("GET", f"/api/rooms/{number}/members/"))["results"]

    await api.json("POST", f"/api/clients/{member['connection']}/disconnect/")

    assert (await socket.receive_but("2")).removesuffix(",") == "41/layout"


async def test_a_reader_that_does_not_read_is_dropped_by_the_worker_that_holds_it(
    pair: Pair, stack: AsyncExitStack, room: str
) -> None:
    owner, holder = pair
    here, there = Site(owner.port, 4, SOCKET_IO), Site(holder.port, 4, SOCKET_IO)
    sid = await joined(here, room, "deaf")
    socket = await moved(there, sid, stack)
    other = await plain(stack, owner, "layout")
    await until_equal(["deaf"], lambda: other.clients(room))
    socket.connection.transport.pause_reading()

    async def flood() -> list[str]:
        for _ in range(50):
            await other.say("NOTIFY", {"room": room, "message": "x" * 30_000})
        return await other.clients(room)

    await until_equal([], flood)


async def test_messages_of_the_largest_size_cross(
    pair: Pair, sites: tuple[Site, Site], stack: AsyncExitStack, room: str
) -> None:
    here, there = sites
    poller = await joined(here, room)
    socket = await moved(there, await joined(here, room, "moved"), stack)
    other = await plain(stack, pair[1], "layout")
    await other.join(room, "other")
    head, tail = f'42/layout,["NOTIFY",{{"room":"{room}","message":"', '"}]'
    message = "x" * (LARGEST - len(head + tail))

    await socket.send(head + message + tail)
    assert (await other.receive())[1] == {"sender": "moved", "room": room, "message": message}
    assert f'"message":"{message}"' in (await there.get(poller)).text
    await other.say("NOTIFY", {"room": room, "message": message})
    assert f'"message":"{message}"' in await socket.receive_but("2", "3")
