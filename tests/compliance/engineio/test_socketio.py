"""The checks of Socket.IO's public suite (socketio/socket.io-protocol, `test-suite/`), and older clients."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, suppress
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from routing_app.core.codes import MALFORMED
from tests.compliance.engineio.client import SECONDS, Site, Socket

pytestmark = pytest.mark.once  # nothing here is stored or published


async def test_it_stands_on_the_same_engine(pinging_socketio: Site) -> None:
    sid = await pinging_socketio.open()

    assert (await pinging_socketio.get(sid)).text == "2"
    assert (await pinging_socketio.post("3", sid)).text == "ok"


@pytest.mark.parametrize(("namespace", "prefix"), [("", ""), ("/custom", "/custom,")], ids=["main", "custom"])
@pytest.mark.parametrize("payload", ["", '{"token":"123"}'], ids=["bare", "auth"])
async def test_connect(socketio: Site, namespace: str, prefix: str, payload: str) -> None:
    async with AsyncExitStack() as stack:
        socket = await opened(socketio, stack)
        await socket.send(f"40{prefix}{payload}")

        answer = await socket.receive()
        assert answer.startswith(f"40{prefix}")
        assert list(json.loads(answer.removeprefix(f"40{prefix}"))) == ["sid"]
        assert await socket.receive() == f'42{prefix}["auth",{payload or "{}"}]'


async def test_connect_without_a_comma(socketio: Site) -> None:
    async with AsyncExitStack() as stack:
        socket = await opened(socketio, stack)
        await socket.send("40/custom")

        assert (await socket.receive()).startswith("40/custom,")


async def test_an_unknown_namespace_is_refused(socketio: Site) -> None:
    async with AsyncExitStack() as stack:
        socket = await opened(socketio, stack)
        await socket.send("40/random")

        assert await socket.receive() == '44/random,{"message":"Invalid namespace"}'


async def test_a_client_that_connects_nowhere_is_closed(pinging_socketio: Site) -> None:
    async with AsyncExitStack() as stack:
        socket = await opened(pinging_socketio, stack)
        frames = set()
        with suppress(ConnectionClosed):
            async with asyncio.timeout(SECONDS):
                while True:
                    frames.add(await socket.receive())
                    await socket.send("3")

        assert frames == {"2"}


@pytest.mark.parametrize(
    "packet", ["4abc", "4", "42{}", "42", '42abc["x"]', "42[]", "42[null]", "43[]", '40"text"', "41{}", "44"]
)
async def test_text_that_is_no_packet_closes_the_session(socketio: Site, packet: str) -> None:
    async with AsyncExitStack() as stack:
        socket = await connected(socketio, stack)
        await socket.send(packet)

        assert await socket.closed() == MALFORMED.code


async def test_disconnect_leaves_the_session_open(pinging_socketio: Site) -> None:
    async with AsyncExitStack() as stack:
        socket = await connected(pinging_socketio, stack)
        await socket.send("41")
        assert await socket.receive() == "2"
        await socket.send("3", '42["message","nobody receives this"]', "40")

        assert (await receive_answering(socket)).startswith("40{")


async def test_namespaces_are_independent(socketio: Site) -> None:
    async with AsyncExitStack() as stack:
        socket = await connected(socketio, stack)
        await socket.send("40/custom,")
        await socket.receive()
        await socket.receive()
        await socket.send('42/custom,["message",1]', "41/custom,", '42["message","to main"]')

        assert await socket.receive() == '42/custom,["message-back",1]'
        assert await socket.receive() == '42["message-back","to main"]'


async def test_event(socketio: Site) -> None:
    async with AsyncExitStack() as stack:
        socket = await connected(socketio, stack)
        await socket.send('42["message",1,"2",{"3":[true]}]')

        assert await socket.receive() == '42["message-back",1,"2",{"3":[true]}]'


async def test_event_with_ack(socketio: Site) -> None:
    async with AsyncExitStack() as stack:
        socket = await connected(socketio, stack)
        await socket.send('42456["message-with-ack",1,"2",{"3":[false]}]')

        assert await socket.receive() == '43456[1,"2",{"3":[false]}]'


TWO = '{"_placeholder":true,"num":0},"2",{"3":[{"_placeholder":true,"num":1}]}]'


async def test_event_with_binary_attachments(socketio: Site) -> None:
    async with AsyncExitStack() as stack:
        socket = await connected(socketio, stack)
        await socket.send('452-["message",' + TWO, b"\x01\x02\x03", b"\x04\x05\x06")

        assert await socket.receive() == '452-["message-back",' + TWO
        assert await socket.receive() == b"\x01\x02\x03"
        assert await socket.receive() == b"\x04\x05\x06"


async def test_event_with_binary_attachments_and_ack(socketio: Site) -> None:
    async with AsyncExitStack() as stack:
        socket = await connected(socketio, stack)
        await socket.send('452-789["message-with-ack",' + TWO, b"\x01\x02\x03", b"\x04\x05\x06")

        assert await socket.receive() == "462-789[" + TWO
        assert await socket.receive() == b"\x01\x02\x03"
        assert await socket.receive() == b"\x04\x05\x06"


ONE = '451-["message",{"_placeholder":true,"num":0}]'


@pytest.mark.parametrize(
    "packets",
    [
        (b"\x01\x02",),
        (ONE, '42["message"]'),
        (ONE, b"x", b"y"),
        (ONE, "bnot base64!"),
        ('451-["message",{"_placeholder":true,"num":1}]', b"x"),
        ('451-["message",{"_placeholder":true,"num":"splice"}]', b"x"),
        ('452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]', b"x", b"y"),
        ('451-["message"]', b"x"),
        ('45["message"]',),
        ('4511-["message"]',),
    ],
    ids=[
        "an attachment without a packet",
        "a packet between attachments",
        "an attachment too many",
        "an attachment that is not base64",
        "a number that no attachment has",
        "a number that is none",
        "two placeholders of one number",
        "no placeholder",
        "no number of attachments",
        "too many attachments",
    ],
)
async def test_attachments_that_are_wrong_end_the_session(
    socketio: Site, packets: tuple[str | bytes, ...]
) -> None:
    async with AsyncExitStack() as stack:
        socket = await connected(socketio, stack)
        await socket.send(*packets)

        assert await socket.closed() == MALFORMED.code


async def test_version_3_is_put_into_the_main_namespace_unasked(port: int) -> None:
    async with AsyncExitStack() as stack:
        socket = await opened(Site(port, 3, "/socket.io/"), stack)

        assert await socket.receive() == "40"
        assert await socket.receive() == '42["auth",{}]'
        await socket.send("40/custom?token=1")
        assert await socket.receive() == "40/custom"
        assert await socket.receive() == '42/custom,["auth",{}]'
        await socket.send("40/random")
        assert await socket.receive() == '44/random,"Invalid namespace"'


async def opened(site: Site, stack: AsyncExitStack) -> Socket:
    socket = await site.socket(stack)
    assert (await socket.receive())[0] == "0"
    return socket


async def connected(site: Site, stack: AsyncExitStack) -> Socket:
    socket = await opened(site, stack)
    await socket.send("40")
    assert (await receive_answering(socket)).startswith("40{")
    assert await receive_answering(socket) == '42["auth",{}]'
    return socket


async def receive_answering(socket: Socket) -> Any:
    """The next frame that is no ping; pings are answered."""
    while (frame := await socket.receive()) == "2":
        await socket.send("3")
    return frame
