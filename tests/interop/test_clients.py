"""Every client generation, unmodified: JOIN with ack, NOTIFY, EVENT, CLIENTS, LEAVE, text of all kinds."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from ssl import SSLContext
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect

from tests.interop import puppet
from tests.interop.cast import KINDS, Cast, Kind
from tests.interop.puppet import Client
from tests.services.representatives import all_once
from tests.services.server import Server
from tests.services.waiting import until_equal

# The processes of the clients serve all tests here.
pytestmark = pytest.mark.asyncio(loop_scope="module")

TEXTS = ["ascii", "é€ßü", "日本語 𝄞 \u2028", "Ã©", "\x7f\x80\u00ff", '"\\/\b\f\n\r\t']
POLLED, PUSHED = 200, 20
"""Messages with buffers at once: more than one poll holds, and more than one turn of the loop does."""
BOTH = ("1.7-polling", "2.5-default", "4.8-websocket")
"""The kinds that the second stack meets as well."""
Open = Callable[[str], Awaitable[Client]]
"""A client of the test's kind in a namespace; it is closed with the test."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cast(request: pytest.FixtureRequest) -> AsyncIterator[Cast]:
    """Clients of all kinds."""
    async with Cast(partial(request.getfixturevalue, "old_python")) as clients:
        yield clients


@pytest.fixture(params=all_once(KINDS, *BOTH), ids=str)
def kind(request: pytest.FixtureRequest) -> Kind:
    """One after the other."""
    kind: Kind = request.param
    if kind.library == "socketIO-client-2":
        # Its installation blocks the loop for longer than a connection may be silent, so none is open yet.
        request.getfixturevalue("old_python")
    return kind


@pytest_asyncio.fixture(loop_scope="module")
async def open_client(cast: Cast, kind: Kind, broker: Server) -> AsyncIterator[Open]:
    opened: list[Client] = []

    async def open_one(namespace: str) -> Client:
        name = f"{kind}-{secrets.token_hex(4)}"
        client = await cast.open(kind, name, f"{broker.url}/{namespace}")
        opened.append(client)
        return client

    yield open_one
    for client in opened:
        client.close()


async def plain(stack: AsyncExitStack, broker: Server, namespace: str) -> ClientConnection:
    return await stack.enter_async_context(connect(f"{broker.ws_url}/{namespace}"))


async def in_room(
    broker: Server, namespace: str, room: str, count: int, ssl: SSLContext | None = None
) -> None:
    """Wait until a room has so many members, as the REST API sees it."""
    query = urlencode({"namespace": namespace, "search": room})
    request = Request(f"{broker.url}/api/rooms/?{query}", headers={"X-API-Key": broker.api_key})

    async def members() -> int:
        with await asyncio.to_thread(urlopen, request, timeout=puppet.SECONDS, context=ssl) as response:
            rooms = json.load(response)["results"]
        return sum(row["member_count"] for row in rooms if row["name"] == room)

    await until_equal(count, members, puppet.SECONDS)


async def say(socket: ClientConnection, *event: Any) -> None:
    await socket.send(json.dumps(event))


async def receive(socket: ClientConnection) -> Any:
    return json.loads(await asyncio.wait_for(socket.recv(), puppet.SECONDS))


def texts(kind: Kind) -> list[str]:
    """Input that a client can send as it is.

    On polling 2.x sends UTF-8 and 1.x UTF-8 of UTF-8, in the same form. Text that could be both is read as
    1.x means it (routing_app/rooms/README.md). On Node, 1.0 sends UTF-8 of UTF-8 over a WebSocket, too,
    without telling so by its version.
    """
    ambiguous = kind.library == "socket.io-client-2.5" and "transports" not in kind.options
    ambiguous |= kind.name == "2.5-polling"
    if kind.library == "socket.io-client-1.0" and kind.transport == "websocket":
        return [text for text in TEXTS if text.isascii()]
    return [text for text in TEXTS if text != "Ã©" or not ambiguous]


async def test_layout_from_join_to_leave(kind: Kind, open_client: Open, broker: Server) -> None:
    room = f"room-{kind}"
    async with AsyncExitStack() as stack:
        other = await plain(stack, broker, "layout")
        client = await open_client("layout")
        assert await client.ask("JOIN", json.dumps({"room": room, "name": "device[é€]"})) == []
        await say(other, "JOIN", {"room": room, "name": "other"})

        await in_room(broker, "layout", room, 2)
        client.emit("CLIENTS", json.dumps({"room": room}))
        assert await client.received("CLIENTS") == [{"room": room, "clients": ["device[é€]", "other"]}]

        for text in TEXTS:
            client.emit("NOTIFY", json.dumps({"room": room, "message": {"text": text}}))
            assert await receive(other) == [
                "EVENT",
                {"sender": "device[é€]", "room": room, "message": {"text": text}},
            ]
            await say(other, "NOTIFY", {"room": room, "message": [text, 1.5, None]})
            assert await client.received("EVENT") == [
                {"sender": "other", "room": room, "message": [text, 1.5, None]}
            ]
        assert client.unread("EVENT") == []

        assert await client.ask("LEAVE", json.dumps({"room": room})) == []
        await say(other, "NOTIFY", {"room": room, "message": "not for who left"})
        await say(other, "CLIENTS", {"room": room})
        assert await receive(other) == ["CLIENTS", {"room": room, "clients": ["other"]}]
        client.emit("CLIENTS", json.dumps({"room": room}))
        await client.received("CLIENTS")
        assert client.unread("EVENT") == []


@pytest.mark.once
async def test_text_of_all_kinds_as_it_is(kind: Kind, open_client: Open, broker: Server) -> None:
    """In arguments that are no JSON strings, the characters themselves are on the wire."""
    room = f"document-{kind}"
    async with AsyncExitStack() as stack:
        other = await plain(stack, broker, "trigger")
        client = await open_client("trigger")
        assert await client.ask("JOIN", room) == []
        await say(other, "JOIN", room)
        await in_room(broker, "trigger", room, 2)

        for text in texts(kind):
            await say(other, "BROADCAST_EVENTS", room, {"events": [text]})
            assert await client.received("EVENTS") == [{"events": [text]}]
            client.emit("BROADCAST_UPDATES", room, {"generation": 1, "operations": [text]})
            assert await receive(other) == ["UPDATES", {"generation": 1, "operations": [text]}]


WITHOUT_BUFFERS = {"socket.io-client-1.0", "socketIO-client-2", "python-socketio"}
"""The first two have none. python-socketio handles each packet in a thread of its own, so that what belongs
to one event may change places on a busy machine."""
WITH_BUFFERS = [kind for kind in KINDS if kind.library not in WITHOUT_BUFFERS]


@pytest.mark.parametrize("kind", all_once(WITH_BUFFERS, *BOTH), ids=str)
async def test_buffers_arrive_as_buffers(kind: Kind, open_client: Open, broker: Server) -> None:
    room = f"buffers-{kind}"
    buffers = [{"buffer": "AAECBP8="}, {"buffer": ""}, {"buffer": "eHl6" * 1000}]
    message = {"text": "é€", "buffers": buffers}
    async with AsyncExitStack() as stack:
        other = await plain(stack, broker, "layout")
        one, two = [await open_client("layout") for _ in range(2)]
        for name, client in (("one", one), ("two", two)):
            assert await client.ask("JOIN", {"room": room, "name": name}) == []
        await say(other, "JOIN", {"room": room, "name": "other"})
        await in_room(broker, "layout", room, 3)

        burst = range(POLLED if kind.transport == "polling" else PUSHED)
        for number in burst:
            one.emit("NOTIFY", {"room": room, "message": {"number": number, **message}})

        received = [event["message"] for [event] in await two.received_many("EVENT", len(burst))]
        assert received == [{"number": n, **message} for n in burst]
        as_json = [{"_base64": value["buffer"]} for value in buffers]
        for number in burst:
            assert (await receive(other))[1]["message"] == {**message, "number": number, "buffers": as_json}
        assert two.unread("disconnect") == one.unread("disconnect") == []


@pytest.mark.once
async def test_it_ends_on_the_transport_it_wants(kind: Kind, open_client: Open) -> None:
    client = await open_client("bus")
    await client.ends_on(kind.transport)
    assert await client.ask("JOIN", json.dumps({"room": f"bus-{kind}", "name": "me"})) == []
