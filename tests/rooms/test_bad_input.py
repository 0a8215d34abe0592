"""Input that no client should send: the documented answer or silence, and the connection stays where it
should."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import pytest

from routing_app.core.codes import MALFORMED, TOO_BIG, UNSUPPORTED_DATA
from tests.compliance.engineio.client import Site
from tests.rooms.client import SOCKET_IO, Api, plain, polled, socketio
from tests.services.server import Server

# Events that crash the original, or that it drops; an ack must not come, since nothing was done.
LAYOUT: list[list[Any]] = [
    *(
        [name, payload]
        for name in ("JOIN", "LEAVE", "NOTIFY", "CLIENTS")
        for payload in ("null", "{", "[]", 5)
    ),
    ["JOIN"],
    ["JOIN", None],
    ["JOIN", {"room": "r"}],
    ["JOIN", {"room": "r", "name": ""}],
    ["UNKNOWN", {}],
    ["disconnect"],
    [5, {}],
    ["BROADCAST", {"message": 1}],
]
OTHERS: list[tuple[str, list[Any]]] = [
    ("lobby", ["BROADCAST", None]),
    ("lobby", ["BROADCAST", "null"]),
    ("lobby", ["BROADCAST", {}]),
    ("lobby", ["RTCSIGNAL", {"sdp": 1}]),
    ("lobby", ["RTCSIGNAL", {"to": ["x"]}]),
    ("lobby", ["RTCSIGNAL"]),
    ("lobby", ["LEAVE"]),
    ("lobby", ["UNKNOWN"]),
    ("trigger", ["JOIN"]),
    ("trigger", ["BROADCAST_EVENTS"]),
    ("trigger", ["BROADCAST_NOTHING", "room", 1]),
]
CASES = [("layout", case) for case in LAYOUT] + OTHERS


@pytest.mark.parametrize("version", [3, 4])
async def test_bad_events_are_ignored_without_an_ack(
    broker: Server, stack: AsyncExitStack, room: str, version: int
) -> None:
    for namespace in ("layout", "lobby", "trigger"):
        client = await socketio(stack, broker, namespace, version, lobbyId=room)
        await client.settled()
        for event in [event for of, event in CASES if of == namespace]:
            await client.emit(*event, id=1)
        assert await client.settled() == []


async def test_bad_frames_of_plain_sockets_are_ignored(broker: Server, stack: AsyncExitStack) -> None:
    client = await plain(stack, broker, "layout")
    for text in (
        "",
        "null",
        "{}",
        "[]",
        "5",
        "[",
        '["JOIN',
        '[["JOIN"]]',
        "[" * 60_000,
        '["JOIN",{"room":NaN}]',
    ):
        await client.connection.send(text)
    for event in LAYOUT:
        await client.say(*event)

    assert await client.settled() == []


async def test_nothing_of_a_bad_event_is_logged(broker: Server, stack: AsyncExitStack) -> None:
    client = await plain(stack, broker, "layout")
    await client.connection.send('["JOIN", "my-secret-words')
    await client.say("NOTIFY", {"message": "my-secret-words"})
    await client.say("JOIN", {"room": "my-secret-words\n", "name": "my-secret-words"})
    await client.settled()

    assert "is ignored" in broker.log_text()
    assert "my-secret-words" not in broker.log_text()


@pytest.mark.parametrize("version", [3, 4])
async def test_unknown_namespaces_are_refused(broker: Server, stack: AsyncExitStack, version: int) -> None:
    client = await socketio(stack, broker, "layout", version)
    await client.send("40/nope,", '42/nope,0["JOIN","x"]', "41/nope,")

    reason = '"Invalid namespace"' if version == 3 else '{"message":"Invalid namespace"}'
    assert await client.receive_packet() == f"44/nope,{reason}"
    assert await client.settled() == []


@pytest.mark.parametrize("packet", ["42/layout,", "42/layout,{}", "4x", "x", "", "9", "43/layout,[]"])
async def test_text_that_is_no_packet_ends_the_session(
    broker: Server, stack: AsyncExitStack, packet: str
) -> None:
    client = await socketio(stack, broker, "layout")
    await client.send(packet)

    assert await client.frames.closed() == MALFORMED.code


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x04\x00", MALFORMED.code),
        ('451-/layout,["NOTIFY"]', MALFORMED.code),
        ('42/layout,["NOTIFY","' + "x" * 1_000_000 + '"]', TOO_BIG.code),
    ],
    ids=["binary frame", "a packet after one that wants an attachment", "too big"],
)
async def test_bad_values_are_refused_by_their_code(
    broker: Server, stack: AsyncExitStack, frame: Any, code: int
) -> None:
    for version in (3, 4):
        client = await socketio(stack, broker, "layout", version)
        await client.frames.send(frame, '42/layout,["NOTIFY"]')
        assert await client.frames.closed() == code


async def test_binary_is_refused_on_plain_sockets(broker: Server, stack: AsyncExitStack) -> None:
    client = await plain(stack, broker, "layout")
    await client.connection.send(b"\x00")

    assert await client.closed() == UNSUPPORTED_DATA.code


# --- polling ---------------------------------------------------------------------------------------------


@pytest.fixture
def site(broker: Server) -> Site:
    return Site(broker.port, 4, SOCKET_IO)


async def test_acts_before_a_bad_packet_are_told(
    site: Site, broker: Server, stack: AsyncExitStack, room: str
) -> None:
    sid = await site.open(lobbyId=room)
    await site.post("40/lobby,", sid)
    await polled(site, sid, "PEERS")
    poll = await site.begin_poll(sid)

    bad = await site.post('42/lobby,["BROADCAST",{"message":1}]\x1e4x', sid)

    assert bad.status == 400
    message, end = (await poll).text.split("\x1e")
    assert message.startswith('42/lobby,["MESSAGE",')
    assert end == "1"


async def test_two_polls_at_once_end_the_session(site: Site) -> None:
    sid = await site.open()
    first = await site.begin_poll(sid)

    second = await site.get(sid)

    assert (second.status, json.loads(second.body)["code"]) == (400, 3)
    assert (await first).text == "1"
    assert json.loads((await site.get(sid)).body) == {"code": 1, "message": "Session ID unknown"}


async def test_oversized_polls_are_refused(site: Site) -> None:
    for body in ("4" + "x" * 1_000_000, "\x1e".join(["4x"] * 6000)):
        sid = await site.open()
        answer = await site.post(body, sid)
        assert answer.status in (400, 413)
        assert (await site.get(sid)).status == 400


async def test_upgrades_without_a_session_are_refused(
    site: Site, broker: Server, stack: AsyncExitStack
) -> None:
    sid = await site.open()
    owner = sid[:16]

    wrong = [
        *("x", "x" * 1000, "é" * 20, "../../x"),
        *(owner, owner + "wrong", "f" * 16 + "wrong", sid + "x"),
    ]
    # An owner that is not there is given three seconds to answer: all at once.
    refusals, polls = await asyncio.gather(
        asyncio.gather(*(site.refusal(one) for one in wrong)),
        asyncio.gather(*(site.get(one) for one in wrong)),
    )

    assert {*refusals, *(poll.status for poll in polls)} == {400}
    assert await Site(broker.port, 3, SOCKET_IO).refusal(sid) == 400
    assert (await Site(broker.port, 3, SOCKET_IO).get(sid)).status == 400


@pytest.mark.parametrize(
    "query", ["", "EIO=4", "transport=polling&j=", "EIO=4&transport=polling&j=x", "&" * 200]
)
async def test_queries_that_say_too_little_are_refused(site: Site, query: str) -> None:
    answer = await site.request("GET", f"{SOCKET_IO}?{query}")

    assert answer.status == 400
    assert set(json.loads(answer.body)) == {"code", "message"}


async def test_the_client_script_of_the_original_is_not_offered(site: Site) -> None:
    assert (await site.request("GET", "/socket.io/socket.io.js")).status == 404


async def test_a_poller_that_goes_away_loses_nothing(
    broker: Server, stack: AsyncExitStack, room: str
) -> None:
    """The client closes its connection while it waits; what comes then is for its next poll."""
    site = Site(broker.port, 4, SOCKET_IO)
    sid = await site.open()
    await site.post(f'40/layout,\x1e42/layout,0["JOIN",{{"room":"{room}","name":"p"}}]', sid)
    await site.get(sid)
    _, writer = await asyncio.open_connection("127.0.0.1", broker.port)
    writer.write(f"GET {site.query('polling', sid)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await writer.drain()
    other = await plain(stack, broker, "layout")
    await other.settled()
    writer.close()
    await writer.wait_closed()

    await other.settled()
    await other.say("NOTIFY", {"room": room, "message": 1})
    await other.settled()

    assert (await site.get(sid)).text.endswith(
        f'42/layout,["EVENT",{{"sender":"unknown","room":"{room}","message":1}}]'
    )


async def test_refusals_are_counted(api: Api, site: Site) -> None:
    before = await refused(api)
    await site.get("no-such-session")
    await site.request("GET", f"{SOCKET_IO}?EIO=5&transport=polling")

    assert await refused(api) == before + 2


async def refused(api: Api) -> float:
    text = (await api.call("GET", "/metrics")).text
    wanted = 'switchboard_refused_total{protocol="rooms",reason="malformed"} '
    return sum(float(line.removeprefix(wanted)) for line in text.splitlines() if line.startswith(wanted))
