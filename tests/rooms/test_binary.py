"""Buffers in messages: of every kind of client to every other, here and at another worker."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from collections import deque
from contextlib import AsyncExitStack
from typing import Any, Final

import pytest

from routing_app.core.codes import MALFORMED, TOO_BIG
from routing_app.core.delivery.connection import Peer
from routing_app.core.worker import current_worker
from routing_app.engineio import wire
from routing_app.engineio.session import EngineOptions, EngineSession
from routing_app.engineio.socketio.client import ATTACHMENTS_LATE, SocketClient
from routing_app.engineio.wire import Packet
from tests.compliance.engineio.client import Site, Socket, handshake
from tests.rooms.client import SOCKET_IO, Api, plain, socketio
from tests.rooms.conftest import LARGEST, Pair
from tests.services.server import Server

HEARTBEAT: Final = ("2", "3", "6")


class Client:
    """A Socket.IO client in one namespace: packets as they are, in whatever form the transport has them."""

    def __init__(self, site: Site, namespace: str) -> None:
        self.site = site
        self.namespace = namespace
        self.sid = ""

    async def send(self, *packets: Packet) -> None:
        raise NotImplementedError

    async def more(self) -> list[Packet]:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError

    async def open(self, **query: str) -> None:
        self._packets: deque[Packet] = deque()
        await self.send(f"40/{self.namespace}" + ("" if self.site.version == 3 else ","))
        while not str(await self.receive()).startswith(f"40/{self.namespace}"):
            pass

    async def join(self, room: str) -> None:
        await self.send(f'42/{self.namespace},0["JOIN",{{"room":"{room}","name":"{id(self)}"}}]')
        assert await self.receive() == f"43/{self.namespace},0[]"

    async def notify(self, room: str, *attachments: bytes) -> None:
        """One message that holds all of them, in an object and in an array."""
        holders = [{"_placeholder": True, "num": number} for number in range(len(attachments))]
        message = {"first": holders[0], "rest": [holders[1:], "text"]}
        event = json.dumps(["NOTIFY", {"room": room, "message": message}])
        await self.send(f"45{len(attachments)}-/{self.namespace},{event}", *attachments)

    async def receive(self) -> Packet:
        """The next packet that is not a heartbeat; a ping is answered."""
        while True:
            while self._packets:
                if (packet := self._packets.popleft()) not in HEARTBEAT:
                    return packet
                if packet == "2":
                    await self.send("3")
            self._packets += await self.more()


class WebSocketClient(Client):
    """Over a WebSocket; with `b64` both ends write base64."""

    async def open(self, **query: str) -> None:
        self._stack = AsyncExitStack()
        self._text_only = "b64" in query
        self._socket: Socket = await self.site.socket(self._stack, **query)
        self.sid = handshake(await self._socket.receive())["sid"]
        await super().open()

    async def send(self, *packets: Packet) -> None:
        version = self.site.version
        await self._socket.send(*(wire.encode_frame(version, p, self._text_only) for p in packets))

    async def more(self) -> list[Packet]:
        frame = await self._socket.receive()
        assert isinstance(frame, str) or not self._text_only
        return [wire.decode_frame(self.site.version, frame)]

    async def close(self) -> None:
        await self._stack.aclose()


class PollingClient(Client):
    """Over polling; one of version 3 without `b64` reads and writes the binary form."""

    async def open(self, **query: str) -> None:
        self._binary = self.site.version == 3 and "b64" not in query
        answer = await self.site.get(**query)
        self.sid = handshake(answer.body[answer.body.index(b"{") :].decode())["sid"]
        await super().open()

    async def send(self, *packets: Packet) -> None:
        body, content_type = wire.encode_payload(self.site.version, packets, self._binary)
        answer = await self.site.post(body, self.sid, content_type=content_type.decode())
        assert answer.text == "ok"

    async def more(self) -> list[Packet]:
        answer = await self.site.get(self.sid)
        content_type = answer.headers["content-type"].encode()
        assert (content_type == wire.BINARY_TYPE) == self._binary
        return wire.decode_payload(self.site.version, answer.body, content_type, 1000)

    async def close(self) -> None:
        await self.send("1")


KINDS: Final = {
    "v4 websocket": (WebSocketClient, 4, {}),
    "v3 websocket": (WebSocketClient, 3, {}),
    "v3 websocket in base64": (WebSocketClient, 3, {"b64": "1"}),
    "v4 websocket in base64": (WebSocketClient, 4, {"b64": "1"}),
    "v4 polling": (PollingClient, 4, {}),
    "v3 polling": (PollingClient, 3, {"t": "1"}),
    "v3 polling in base64": (PollingClient, 3, {"b64": "1"}),
}


async def open_client(stack: AsyncExitStack, kind: str, server: Server, namespace: str = "layout") -> Any:
    of_kind, version, query = KINDS[kind]
    client = of_kind(Site(server.port, version, SOCKET_IO), namespace)
    await client.open(**query)
    stack.push_async_callback(client.close)
    return client


async def test_a_buffer_arrives_where_it_was_at_every_member(
    pair: Pair, stack: AsyncExitStack, room: str
) -> None:
    clients = [await open_client(stack, kind, server) for kind in KINDS for server in pair]
    for client in clients:
        await client.join(room)
    sockets = [await plain(stack, server, "layout") for server in pair]
    for socket in sockets:
        await socket.join(room, "plain")

    for number, sender in enumerate(clients):
        attachments = b"\x00\x04\xff" + bytes([number]), b"", b"x" * 300
        await sender.notify(room, *attachments)
        for receiver in clients:
            if receiver is not sender:
                head = await receiver.receive()
                assert head.startswith("453-/layout,")
                [name, event] = json.loads(head.removeprefix("453-/layout,"))
                assert (name, event["sender"], event["room"]) == ("EVENT", str(id(sender)), room)
                assert event["message"] == {
                    "first": {"_placeholder": True, "num": 0},
                    "rest": [[{"_placeholder": True, "num": 1}, {"_placeholder": True, "num": 2}], "text"],
                }
                assert tuple([await receiver.receive() for _ in range(3)]) == attachments
        for socket in sockets:
            _, event = await socket.receive()
            first = event["message"]["first"]
            assert list(first) == ["_base64"]
            assert bytes.fromhex("0004ff") + bytes([number]) == b64decode(first["_base64"])


async def test_json_that_says_base64_stays_json(
    broker: Server, api: Api, stack: AsyncExitStack, room: str
) -> None:
    member = await socketio(stack, broker, "layout")
    await member.ask("JOIN", {"room": room, "name": "member"})
    other = await plain(stack, broker, "layout")
    message = {"_base64": "AQID"}

    await other.say("NOTIFY", {"room": room, "message": message})
    assert (await member.receive())[1]["message"] == message

    await api.json("POST", "/api/publish", {"addresses": [f"room:layout/{room}"], "message": message})
    assert (await member.receive())[1]["message"] == message


async def test_a_placeholder_in_a_name_harms_nobody(broker: Server, stack: AsyncExitStack, room: str) -> None:
    """A client would take it for an attachment, and end its connection where it has no such number."""
    member = await socketio(stack, broker, "layout")
    await member.ask("JOIN", {"room": room, "name": "member"})
    sender = await open_client(stack, "v4 websocket", broker)
    name = {"_placeholder": True, "num": 7}
    await sender.send(f'42/layout,0["JOIN",{json.dumps({"room": room, "name": name})}]')
    await sender.receive()

    await sender.notify(room, b"\x01")

    [_, event] = await member.receive()
    assert event["sender"] == name
    assert event["message"]["first"] == {"_base64": "AQ=="}


async def test_the_other_namespaces_carry_buffers(broker: Server, stack: AsyncExitStack, room: str) -> None:
    placeholder = '{"_placeholder":true,"num":0}'
    one, two = [await open_client(stack, "v4 websocket", broker, "trigger") for _ in range(2)]
    for client in (one, two):
        await client.send(f'42/trigger,0["JOIN","{room}"]')
        await client.receive()
    await one.send(f'451-/trigger,["BROADCAST_EVENTS","{room}",[{placeholder}]]', b"\x01")
    assert await two.receive() == f'451-/trigger,["EVENTS",[{placeholder}]]'
    assert await two.receive() == b"\x01"

    sockets = [await socketio(stack, broker, "lobby", connect=f',{{"lobbyId":"{room}"}}') for _ in range(2)]
    for socket in sockets:
        await socket.settled()
    await sockets[0].send(f'451-/lobby,["BROADCAST",{{"message":{placeholder}}}]')
    await sockets[0].frames.send(b"\x02")
    for socket in sockets:
        while not (packet := await socket.receive_packet()).startswith("451-/lobby,"):
            pass
        assert f'"message":{placeholder}' in packet
        assert await socket.receive_packet() == b"\x02"
    await sockets[0].send(f'451-/lobby,["RTCSIGNAL",{{"to":"{sockets[1].sid}","data":{placeholder}}}]')
    await sockets[0].frames.send(b"\x03")
    assert f'"data":{placeholder}' in await sockets[1].receive_packet()
    assert await sockets[1].receive_packet() == b"\x03"


async def test_a_buffer_in_a_name_is_json(broker: Server, stack: AsyncExitStack, room: str) -> None:
    client = await open_client(stack, "v4 websocket", broker)
    event = json.dumps(["JOIN", {"room": room, "name": {"_placeholder": True, "num": 0}}])
    await client.send(f"451-/layout,1{event}", b"\x01")
    assert await client.receive() == "43/layout,1[]"

    other = await plain(stack, broker, "layout")
    assert await other.clients(room) == [{"_base64": "AQ=="}]


@pytest.mark.parametrize("kind", ["v3 polling in base64", "v3 polling", "v4 polling"])
async def test_packets_that_wait_for_a_poll_go_over_the_websocket_in_its_form(
    pair: Pair, stack: AsyncExitStack, room: str, kind: str
) -> None:
    """A client that polls in base64 may well have binary frames."""
    sender = await open_client(stack, "v4 websocket", pair[0])
    for server in pair:  # the WebSocket lands at the session's own worker, or at the other
        client = await open_client(AsyncExitStack(), kind, pair[0])
        await client.join(room)
        await sender.notify(room, b"\x01", b"\x02")
        await sender.send('42/layout,1["LEAVE",{"room":"none"}]')
        assert await sender.receive() == "43/layout,1[]"

        version = client.site.version
        socket = await Site(server.port, version, SOCKET_IO).socket(stack, client.sid)
        await socket.send("2probe")
        assert await socket.receive() == "3probe"
        await socket.send("5")

        prefix = b"\x04" if version == 3 else b""
        assert (await socket.receive_but(*HEARTBEAT)).startswith("452-/layout,")
        for byte in (b"\x01", b"\x02"):
            assert await socket.receive_but(*HEARTBEAT) == prefix + byte
        await sender.notify(room, b"\x03")
        assert (await socket.receive_but(*HEARTBEAT)).startswith("451-/layout,")
        assert await socket.receive_but(*HEARTBEAT) == prefix + b"\x03"
        await socket.send(f'42/layout,0["LEAVE",{{"room":"{room}"}}]')
        assert await socket.receive_but(*HEARTBEAT) == "43/layout,0[]"


async def test_a_packet_and_its_attachments_are_bounded_together(
    pair: Pair, stack: AsyncExitStack, room: str
) -> None:
    client = await socketio(stack, pair[0], "layout")
    placeholders = [{"_placeholder": True, "num": number} for number in range(2)]
    event = json.dumps(["NOTIFY", {"room": room, "message": placeholders}])
    half = b"x" * (LARGEST // 2)

    await client.send(f"452-/layout,{event}")
    await client.frames.send(half, half)

    assert await client.frames.closed() == TOO_BIG.code


async def test_attachments_that_do_not_come_end_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    session = EngineSession("s", 4, EngineOptions(), Peer(), {}, lambda session: None)
    client = SocketClient(session, current_worker(), "rooms", {}, attachment_seconds=0.01)
    ended: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    session.application = client
    monkeypatch.setattr(client, "closed", ended.set_result)

    await client.received('51-["x",{"_placeholder":true,"num":0}]')

    close = await asyncio.wait_for(ended, 60)
    assert close == ATTACHMENTS_LATE
    assert (close.code, close.reason) == (MALFORMED.code, "the attachments of a packet did not come")
