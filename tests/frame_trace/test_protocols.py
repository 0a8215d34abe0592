"""A trace shows exactly the frames that a client of each protocol has sent and received."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any, Final

import pytest

from tests.compliance.engineio.client import Site, handshake
from tests.frame_trace.clients import Client, size_of
from tests.frame_trace.conftest import Open, Pair
from tests.requests.peer import call
from tests.services.server import Server
from tests.sessions.conftest import Broker, Customer
from tests.sessions.http import Http
from tests.stream.reader import Reader

HERE: Final = "127.0.0.1"
SECRET: Final = "not for logs: é"
CLOSED: Final = ("in", 2, 1000)
WORKERS: Final = pytest.mark.parametrize("worker", [0, 1], ids=["here", "there"])


async def tokens(stack: AsyncExitStack, server: Server, name: str) -> Client:
    client = await Client.open(stack, server, f"/ws?RegisterToken={name}")
    await client.send(f"Echo:{SECRET}", f"Echo:{SECRET * 100}", b"Echo:bytes", "no frame of this protocol")
    await client.receive(3)
    return client


async def rooms(stack: AsyncExitStack, server: Server, name: str) -> Client:
    client = await Client.open(stack, server, "/layout")
    join = json.dumps(["JOIN", {"room": name, "name": SECRET}])
    await client.send(join, "[not JSON", json.dumps(["CLIENTS", {"room": name}]))
    await client.receive()
    return client


async def events(stack: AsyncExitStack, server: Server, name: str) -> Client:
    client = await Client.open(stack, server, f"/websocket?channel_id={name}")
    await client.receive()
    await client.send("[]", json.dumps({"type": "connection"}))
    while "connection" not in str(await client.receive()):
        pass
    return client


async def requests(stack: AsyncExitStack, server: Server, name: str) -> Client:
    client = await Client.open(stack, server, "/connection")
    await client.send("nonsense", json.dumps({"direction": "REQUEST", "type": "whoami", "key": SECRET}))
    await client.receive()
    return client


async def sessions_(stack: AsyncExitStack, server: Server, name: str) -> Client:
    http = Http(server.url)
    reply = await Customer(Broker(server), http).create()
    await http.close()
    client = await Client.open(stack, server, reply.json["endpoint"])
    await client.send(json.dumps({"action": "REQUESTED"}))
    await client.receive()
    return client


@WORKERS
@pytest.mark.parametrize("play", [tokens, rooms, events, requests, sessions_], ids=lambda one: one.__name__)
async def test_all_frames_of_a_client_are_shown_from_its_first_one(
    pair: Pair, page: Open, stack: AsyncExitStack, name: str, play: Any, worker: int
) -> None:
    trace = await (await page()).trace(network=HERE, bodies=True)
    await trace.until_everywhere(pair[worker], path="/ws")
    client = await play(stack, pair[worker], name)
    await client.socket.close()

    expected = client.frames()
    shown = await trace.frames(len(expected) + 1)
    assert [one for one in shown if one[0] == "in"] == [*(one for one in expected if one[0] == "in"), CLOSED]
    assert [one for one in shown if one[0] == "out"] == [one for one in expected if one[0] == "out"]
    assert {row["protocol"] for row in trace.rows} == {play.__name__.strip("_")}
    assert len({row["connection"] for row in trace.rows}) == 1


@WORKERS
async def test_packets_of_socket_io_are_shown_by_either_transport(
    pair: Pair, page: Open, stack: AsyncExitStack, name: str, worker: int
) -> None:
    trace = await (await page()).trace(network=HERE, bodies=True)
    server = pair[worker]
    await trace.until_everywhere(server, path="/ws")
    join = "42/layout,1" + json.dumps(["JOIN", {"room": name, "name": "me"}])
    notify = '451-/layout,["NOTIFY",{"room":"x","message":{"_placeholder":true,"num":0}}]'

    # By a WebSocket: what the opening and the heartbeat say is the transport's.
    client = await Client.open(stack, server, "/socket.io/?EIO=4&transport=websocket")
    await client.receive()
    await client.send("40/layout,")
    await client.receive()
    client.sent, client.received = [], client.received[1:]
    await client.send(join, notify, b"\x00\xff")
    await client.receive()
    expected = [(way, size, body) for way, size, body in client.frames() if body != "2"]
    assert await trace.frames(len(expected)) == expected
    assert "43/layout,1[]" in [body for _, _, body in expected]

    # By polling.
    site = Site(server.port, path="/socket.io/")
    sid = handshake((await site.get()).text)["sid"]
    await site.post("40/layout,", sid)
    connected = (await site.get(sid)).text
    await site.post(join, sid)
    answers = (await site.get(sid)).text.split("\x1e")
    polled = [("in", join), *(("out", one) for one in (connected, *answers) if one != "2")]
    before, trace.rows = len(trace.rows), []
    shown = await trace.frames(len(polled))
    assert shown == [(way, size_of(one), one) for way, one in polled]
    assert before == len(expected)


async def test_events_of_a_stream_are_shown(pair: Pair, page: Open, name: str) -> None:
    trace = await (await page()).trace(address=f"token:{name}", bodies=True)
    await trace.until_everywhere(pair[1], path=f"/ws?RegisterToken={name}")
    with await asyncio.to_thread(Reader, pair[1], f"token:{name}") as reader:
        await asyncio.to_thread(reader.opened)
        body = {"addresses": [f"token:{name}"], "message": SECRET}
        assert (await asyncio.to_thread(call, pair[0], "/api/publish", body))[0] == 200
        event = await asyncio.to_thread(reader.next)
        [row] = [row for row in await trace.until(1) if row["direction"] == "out"]
    assert json.loads(row["body"]) == event.data
    assert (row["protocol"], row["size"]) == ("stream", size_of(row["body"]))
