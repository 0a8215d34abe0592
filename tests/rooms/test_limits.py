"""Bounds: who does not read is dropped alone, seats are counted, a rate slows down and loses nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest

from tests.compliance.engineio.client import Site
from tests.conftest import ServerFactory
from tests.rooms.client import SOCKET_IO, Api, plain, socketio
from tests.services.databases import Databases
from tests.services.limits import add_limit, limited
from tests.services.running import running
from tests.services.server import Server
from tests.services.waiting import until_equal

pytestmark = pytest.mark.once  # nothing of it reaches a store or another process


@pytest.fixture(scope="module")
def tight(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with narrow bounds."""
    options = {
        "MAX_OUTBOX_BYTES": "1024",  # and four times as much as the largest message
        "ROOMS_MAX_PAYLOAD": "20000",
        "ROOMS_MAX_ROOMS": "2",
    }
    with running(databases, tmp_path_factory.mktemp("tight"), **options) as server:
        add_limit(server, "rooms", "*", "connection", rate=500, burst=5, then="wait")
        yield server


@pytest.mark.parametrize("version", [3, 4])
async def test_a_client_that_does_not_poll_is_dropped_alone(
    tight: Server, stack: AsyncExitStack, room: str, version: int
) -> None:
    site = Site(tight.port, version, SOCKET_IO)
    before = await lost(tight)
    sid = await site.open(b64="1")
    join = f'42/layout,["JOIN",{{"room":"{room}","name":"deaf"}}]'
    await site.post(f"10:40/layout,{len(join)}:{join}" if version == 3 else f"40/layout,\x1e{join}", sid)
    reader, sender = await socketio(stack, tight, "layout"), await plain(stack, tight, "layout")
    await reader.ask("JOIN", {"room": room, "name": "reader"})
    assert await sender.clients(room) == ["deaf", "reader"]

    for number in range(100):
        await sender.say("NOTIFY", {"room": room, "message": [number, "x" * 1000]})

    for number in range(100):
        assert (await reader.receive())[1]["message"][0] == number
    await until_equal(["reader"], lambda: sender.clients(room))
    assert (await site.get(sid)).status == 400
    assert await lost(tight) >= before + 50


async def lost(server: Server) -> float:
    """Messages to slow readers that were thrown away."""
    text = (await Api(server).call("GET", "/metrics")).text
    wanted = 'switchboard_lost_total{reason="slow"} '
    return sum(float(line.removeprefix(wanted)) for line in text.splitlines() if line.startswith(wanted))


async def test_thousands_of_small_messages_wait_for_polls(
    broker: Server, stack: AsyncExitStack, room: str
) -> None:
    site = Site(broker.port, 4, SOCKET_IO)
    sid = await site.open()
    await site.post(f'40/layout,\x1e42/layout,["JOIN",{{"room":"{room}","name":"p"}}]', sid)
    sender = await plain(stack, broker, "layout")
    assert await sender.clients(room) == ["p"]
    await site.get(sid)

    for number in range(3000):
        await sender.say("NOTIFY", {"room": room, "message": number})
    await sender.settled()

    packets: list[str] = []
    while len(packets) < 3000:
        answer = await site.get(sid)
        assert answer.status == 200, answer
        packets += answer.text.split("\x1e")
    assert [int(packet.rpartition(":")[2].rstrip("]}")) for packet in packets] == list(range(3000))


async def test_two_posts_at_once_end_the_session(tight: Server, stack: AsyncExitStack, room: str) -> None:
    """The rate holds the first one up for most of a minute, while the other comes."""
    site, member = Site(tight.port, 4, SOCKET_IO), await plain(stack, tight, "layout")
    await member.join(room, "n")
    sid = await site.open()
    notify = f'42/layout,["NOTIFY",{{"room":"{room}","message":1}}]'
    with limited(tight, "rooms", "publish", "connection", rate=0.02, then="wait"):
        first = await site.begin_post("\x1e".join(["40/layout,", notify, notify]), sid)
        assert (await member.receive())[1]["message"] == 1

        second = await site.post(notify, sid)

        assert [(second.status, json.loads(second.body)["code"]), (await first).status] == [(400, 3), 400]
    assert (await site.get(sid)).status == 400


async def test_a_client_is_in_so_many_rooms_at_once(tight: Server, stack: AsyncExitStack, room: str) -> None:
    client = await socketio(stack, tight, "layout")
    for name in (room, f"{room}-2", room):
        await client.ask("JOIN", {"room": name, "name": "n"})

    await client.emit("JOIN", {"room": f"{room}-3", "name": "n"}, id=1)
    assert await client.receive() == ["ERROR", {"event": "JOIN", "reason": "in too many rooms"}]
    assert await client.settled() == []
    await client.ask("LEAVE", {"room": room})
    await client.ask("JOIN", {"room": f"{room}-3", "name": "n"})


FULL = ([200, 200, 503, 403], [200, 200, 503, 503])


async def test_sessions_take_seats_and_give_them_back(server: ServerFactory, stack: AsyncExitStack) -> None:
    async def filled() -> tuple[list[int], float, Site]:
        """The statuses of five clients, the seconds that they took, and where they came."""
        broker = server(MAX_CONNECTIONS="3", ROOMS_PING_INTERVAL="5", ROOMS_PING_TIMEOUT="5")
        site = Site(broker.port, 4, SOCKET_IO)
        begun = time.monotonic()
        seats = [(await site.get()).status for _ in range(2)]
        await plain(stack, broker, "layout")
        statuses = [*seats, (await site.get()).status, await site.refusal()]
        return statuses, time.monotonic() - begun, site

    found, seconds, site = await filled()
    while found not in FULL and seconds > 10:
        # A machine that stopped for so long has ended the sessions before they were in anybody's way.
        found, seconds, site = await filled()
    assert found in FULL

    async def again() -> int:
        return (await site.get()).status

    await until_equal(200, again)


async def test_a_rate_slows_down_and_loses_nothing(tight: Server, stack: AsyncExitStack, room: str) -> None:
    member, sender = await plain(stack, tight, "layout"), await socketio(stack, tight, "layout")
    await member.join(room, "n")
    for number in range(100):
        await sender.emit("NOTIFY", {"room": room, "message": number})

    for number in range(100):
        assert (await member.receive())[1]["message"] == number
