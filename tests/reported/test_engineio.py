"""Clients of Socket.IO as they are in the field: what they write, and what they can read."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from websockets.asyncio.client import connect

from routing_app.core.codes import TOO_BIG
from routing_app.core.delivery.connection import Peer
from routing_app.engineio.session import MAX_PACKETS_OUT, EngineOptions, EngineSession
from tests.compliance.engineio.client import Answer, Site, Socket, handshake
from tests.interop import puppet
from tests.rooms.client import SOCKET_IO, plain, socketio
from tests.rooms.test_remote_sessions import joined
from tests.services.server import Server

pytestmark = pytest.mark.once  # nothing of it reaches a store or another process

BURST: Final = 200


# --- who names no version, or an old one -----------------------------------------------------------------


@dataclass(frozen=True)
class Dialect:
    """A client of protocol 3: its query beside transport and sid, and how it moves to a WebSocket."""

    polling: str
    websocket: str
    move: tuple[str, ...] = ("2probe", "5")
    headers: dict[str, str] = field(default_factory=dict)

    def url(self, transport: str, sid: str) -> str:
        more = self.polling if transport == "polling" else self.websocket
        return f"{SOCKET_IO}?transport={transport}{more}{f'&sid={sid}' if sid else ''}"


DIALECTS: Final = {
    "Swift before 16": Dialect("&b64=1", ""),
    "Swift before 16 with parameters": Dialect("&b64=1&token=%C3%A9", "&token=%C3%A9"),
    "Arduino, socket.io-arduino-client": Dialect("&b64=true", "&b64=true", ("52",), {"Origin": "Arduino"}),
    "Arduino, arduinoWebSockets without EIO": Dialect("", "", ("2probe", "5"), {"Origin": "file://"}),
    "Arduino, arduinoWebSockets before 2.3": Dialect("&EIO=3", "&EIO=3", ("5",), {"Origin": "file://"}),
    "socket.io-client 1.0": Dialect("&EIO=2&t=1-0&b64=1", "&EIO=2"),
    "an EIO without a value": Dialect("&EIO=&b64=1", "&EIO="),
}
dialects = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS.keys())


class Raw:
    """A polling session in a dialect."""

    def __init__(self, server: Server, dialect: Dialect) -> None:
        self._server = server
        self._site = Site(server.port)
        self._dialect = dialect
        self.sid = ""

    async def call(self, method: str, *packets: str) -> Answer:
        body = "".join(f"{len(packet)}:{packet}" for packet in packets)
        target = self._dialect.url("polling", self.sid)
        return await self._site.request(method, target, body, self._dialect.headers)

    async def begin(self) -> dict[str, Any]:
        """The opening packet, alone in its body and in the text form."""
        text = (await self.call("GET")).text
        length, _, packet = text.partition(":")
        assert (int(length), packet[0]) == (len(packet), "0")
        opened = handshake(packet)
        self.sid = opened["sid"]
        return opened

    async def moved(self, stack: AsyncExitStack) -> Socket:
        socket = await self.socket(stack)
        await socket.send(*self._dialect.move)
        if "2probe" in self._dialect.move:
            assert await socket.receive() == "3probe"
        return socket

    async def socket(self, stack: AsyncExitStack) -> Socket:
        url = self._server.ws_url + self._dialect.url("websocket", self.sid)
        headers = self._dialect.headers
        return Socket(await stack.enter_async_context(connect(url, proxy=None, additional_headers=headers)))


@dialects
async def test_it_is_a_session_of_protocol_3_on_polling(broker: Server, dialect: Dialect) -> None:
    client = Raw(broker, dialect)

    opened = await client.begin()

    assert opened.keys() == {"sid", "upgrades", "pingInterval", "pingTimeout"}
    assert (await client.call("GET")).text == "2:40"
    assert (await client.call("POST", "2", '420["unknown"]')).text == "ok"
    assert (await client.call("GET")).text == "1:3"


@dialects
async def test_it_moves_to_a_websocket(broker: Server, stack: AsyncExitStack, dialect: Dialect) -> None:
    client = Raw(broker, dialect)
    await client.begin()
    assert (await client.call("GET")).text == "2:40"

    socket = await client.moved(stack)

    await socket.send("2", "40/layout")
    assert [await socket.receive(), await socket.receive()] == ["3", "40/layout"]


@dialects
async def test_it_begins_on_a_websocket(broker: Server, stack: AsyncExitStack, dialect: Dialect) -> None:
    socket = await Raw(broker, dialect).socket(stack)

    assert (await socket.receive())[0] == "0"
    assert await socket.receive() == "40"
    await socket.send("2", "40/layout")
    assert [await socket.receive(), await socket.receive()] == ["3", "40/layout"]


async def test_text_that_version_2_encodes_twice_is_read_as_it_was_meant(
    broker: Server, stack: AsyncExitStack, room: str
) -> None:
    """socket.io-client 1.0 encodes text a second time on every transport, later ones on polling alone."""
    other = await plain(stack, broker, "layout")
    await other.join(room, "other")
    client = await Raw(broker, DIALECTS["socket.io-client 1.0"]).socket(stack)
    text = f'42/layout,["NOTIFY",{{"room":"{room}","message":"é€𝄞"}}]'

    await client.send("40/layout", text.encode().decode("latin-1"))

    assert (await other.receive())[1]["message"] == "é€𝄞"


async def test_a_client_without_binary_frames_is_told_of_an_attachment_without_a_packet(
    broker: Server, stack: AsyncExitStack
) -> None:
    client = await Raw(broker, Dialect("&b64=1", "&b64=1")).socket(stack)

    await client.send("b4AQID")

    assert await client.closed() == 4009


@dialects
async def test_it_sends_and_receives_buffers(
    broker: Server, stack: AsyncExitStack, room: str, dialect: Dialect
) -> None:
    """In binary frames, or in base64 where the query says `b64`."""
    text_only = "b64" in dialect.websocket
    frames: list[str | bytes] = ["b4AQID"] if text_only else [b"\x04\x01\x02\x03"]
    one, two = [await Raw(broker, dialect).socket(stack) for _ in range(2)]
    for socket in (one, two):
        await socket.send("40/bus", f'42/bus,0["JOIN",{{"room":"{room}","name":"n"}}]')
        while await socket.receive() != "43/bus,0[]":
            pass

    await one.send(f'451-/bus,["NOTIFY",{{"room":"{room}","message":{{"_placeholder":true,"num":0}}}}]')
    await one.send(*frames)

    event = await two.receive()
    assert event.startswith("451-/bus,")
    assert await two.receive() == frames[0]


# --- how much comes at once ------------------------------------------------------------------------------


async def test_python_socketio_takes_a_burst_by_polling(
    broker: Server, stack: AsyncExitStack, room: str
) -> None:
    process = await stack.enter_async_context(puppet.python_socketio())
    client = await process.open("p", "python-socketio", f"{broker.url}/bus", transports=["polling"])
    await client.ask("JOIN", {"room": room, "name": "p"})
    sender = await plain(stack, broker, "bus")

    for number in range(BURST):
        await sender.say("NOTIFY", {"room": room, "message": number})

    events = await client.received_many("EVENT", BURST)  # it calls its handlers in threads, in any order
    assert sorted(event["message"] for [event] in events) == list(range(BURST))
    assert client.unread("disconnect") == []


@pytest.mark.parametrize("version", [3, 4])
async def test_sixteen_packets_go_into_one_answer(
    broker: Server, stack: AsyncExitStack, room: str, version: int
) -> None:
    """As many as python-engineio takes; the rest goes into the next answers, in order."""
    site = Site(broker.port, version, SOCKET_IO)
    sid = await site.open(b64="1")
    join = f'42/bus,0["JOIN",{{"room":"{room}","name":"p"}}]'
    await site.post(f"7:40/bus,{len(join)}:{join}" if version == 3 else f"40/bus,\x1e{join}", sid)
    while "43/bus,0[]" not in (await site.get(sid)).text:
        pass
    sender = await plain(stack, broker, "bus")
    for number in range(40):
        await sender.say("NOTIFY", {"room": room, "message": number})
    await sender.settled()

    counts: list[int] = []
    numbers: list[int] = []
    while len(numbers) < 40:
        texts = (await site.get(sid)).text.split('"message":')[1:]
        counts.append(len(texts))
        numbers += [int(text.partition("}")[0]) for text in texts]

    assert MAX_PACKETS_OUT == 16
    assert counts == [16, 16, 8]
    assert numbers == list(range(40))


# --- how large a message may be --------------------------------------------------------------------------

LARGEST: Final = 1_000_000
"""Bytes: `maxPayload` of the handshake."""


def filled(text: str, size: int) -> str:
    """`text` with its `%s` filled so that it has `size` bytes, which escapes make three times as many."""
    room = size - len(text.encode()) + 2
    return text.replace("%s", "é" * (room // 2) + "x" * (room % 2))


async def by_polling(broker: Server, stack: AsyncExitStack, version: int, room: str, more: int) -> int:
    """NOTIFY in a body of LARGEST bytes and `more`; the status of the answer."""
    site = Site(broker.port, version, SOCKET_IO)
    sid = await site.open(b64="1")
    await site.post("9:40/layout" if version == 3 else "40/layout,", sid)
    text = f'42/layout,["NOTIFY",{{"room":"{room}","message":"%s"}}]'
    if version == 3:
        packet = filled(text, LARGEST - 7 + more)
        return (await site.post(f"{len(packet)}:{packet}", sid)).status
    return (await site.post(filled(text, LARGEST + more), sid)).status


async def by_websocket(broker: Server, stack: AsyncExitStack, version: int, room: str, more: int) -> int:
    """The same in a frame; the code that ends the session, 200 where it goes on."""
    client = await socketio(stack, broker, "layout", version)
    text = f'42/layout,["NOTIFY",{{"room":"{room}","message":"%s"}}]'
    await client.send(filled(text, LARGEST + more))
    if more:
        return await client.frames.closed() or 0
    assert await client.settled() == []
    return 200


async def by_plain_socket(broker: Server, stack: AsyncExitStack, version: int, room: str, more: int) -> int:
    client = await plain(stack, broker, "layout")
    text = f'["NOTIFY",{{"room":"{room}","message":"%s"}}]'
    await client.connection.send(filled(text, LARGEST + more))
    if more:
        return await client.closed() or 0
    assert await client.settled() == []
    return 200


SENDERS: Final = {
    "3.x and 4.x by polling": (by_polling, 4, 413),
    "1.x and 2.x by polling": (by_polling, 3, 413),
    "3.x and 4.x by WebSocket": (by_websocket, 4, TOO_BIG.code),
    "1.x and 2.x by WebSocket": (by_websocket, 3, TOO_BIG.code),
    "a plain socket": (by_plain_socket, 0, TOO_BIG.code),
}
senders = pytest.mark.parametrize(("send", "version", "refusal"), SENDERS.values(), ids=SENDERS.keys())


@senders
async def test_a_message_of_the_announced_size_reaches_everybody(
    broker: Server, stack: AsyncExitStack, room: str, send: Any, version: int, refusal: int
) -> None:
    pollers = {number: Site(broker.port, number, SOCKET_IO) for number in (3, 4)}
    sids = {number: await joined(site, room) for number, site in pollers.items()}
    sockets = [await socketio(stack, broker, "layout", number) for number in (3, 4)]
    for number, socket in enumerate(sockets):
        await socket.ask("JOIN", {"room": room, "name": f"socket {number}"})
    bare = await plain(stack, broker, "layout")
    await bare.join(room, "plain")

    assert await send(broker, stack, version, room, 0) == 200

    event = await bare.receive()
    assert event[1]["message"].rstrip("x").strip("é") == ""
    assert len(event[1]["message"].encode()) > LARGEST - 200
    assert [await socket.receive() for socket in sockets] == [event, event]
    for number, site in pollers.items():
        text = (await site.get(sids[number])).text
        assert json.loads(text[text.index("[") :]) == event


@senders
async def test_a_larger_one_is_refused(
    broker: Server, stack: AsyncExitStack, room: str, send: Any, version: int, refusal: int
) -> None:
    assert await send(broker, stack, version, room, 1) == refusal


@pytest.mark.parametrize("path", ["ws", "websocket", "connection"])
async def test_other_protocols_keep_their_bound(broker: Server, stack: AsyncExitStack, path: str) -> None:
    client = await plain(stack, broker, path)

    await client.connection.send("x" * 65_537)

    assert await client.closed() == TOO_BIG.code


async def test_the_handshake_announces_it(broker: Server) -> None:
    answer = await Site(broker.port, 4, SOCKET_IO).get()

    assert handshake(answer.text)["maxPayload"] == LARGEST


# --- what ended a session, or kept a server busy ---------------------------------------------------------


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize(
    "id",
    ["9007199254740991", "9007199254740993", "18446744073709551616", "9" * 1000],
    ids=["2^53 - 1", "2^53 + 1", "2^64", "a thousand digits"],
)
async def test_an_ack_has_the_id_that_asked_for_it(
    broker: Server, stack: AsyncExitStack, room: str, version: int, id: str
) -> None:
    client = await socketio(stack, broker, "layout", version)

    await client.emit("JOIN", {"room": room, "name": "n"}, id=id)

    assert await client.receive_packet() == f"43/layout,{id}[]"


@pytest.fixture
async def moving() -> EngineSession:
    """A session whose probe was answered, and that has not moved yet."""
    session = EngineSession("s", 4, EngineOptions(), Peer(), {}, lambda session: None)
    assert session.begin_upgrade()
    session.probed()
    return session


async def test_a_poll_after_the_probe_waits_for_its_answers(
    moving: EngineSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("routing_app.engineio.session.NOOP_SECONDS", 3600)

    first = moving.begin_poll()
    assert first.done()
    assert moving.end_poll().body == b"6"
    second = moving.begin_poll()
    assert not second.done()

    moving.send("4news")
    assert second.done()
    assert moving.end_poll().body == b"4news"
    moving.close()


async def test_a_poll_after_the_probe_gets_its_answers(
    moving: EngineSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("routing_app.engineio.session.NOOP_SECONDS", 0.001)

    for _ in range(5):
        await moving.begin_poll()
        assert moving.end_poll().body == b"6"
    moving.close()


async def test_a_poll_that_waits_ends_with_the_probe_and_the_next_one_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("routing_app.engineio.session.NOOP_SECONDS", 3600)
    session = EngineSession("s", 4, EngineOptions(), Peer(), {}, lambda session: None)
    poll = session.begin_poll()
    assert session.begin_upgrade()

    session.probed()

    assert poll.done()
    assert session.end_poll().body == b"6"
    assert not session.begin_poll().done()
    session.close()
