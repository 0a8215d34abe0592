"""Limits of Socket.IO clients, over WebSocket and by polling."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.compliance.engineio.client import Site
from tests.rate_limits.client import refusals
from tests.rooms.client import SOCKET_IO, Plain, plain, socketio
from tests.services.limits import limited
from tests.services.server import Server
from tests.services.waiting import until


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as one:
        yield one


async def reading(stack: AsyncExitStack, server: Server, room: str) -> Plain:
    member = await plain(stack, server, "layout")
    await member.join(room, "reader")
    return member


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("command", ["*", "publish"])
async def test_events_beyond_a_limit_are_skipped_with_their_attachments(
    broker: Server, stack: AsyncExitStack, host: str, version: int, command: str
):
    room = f"r{host}"
    member = await reading(stack, broker, room)
    client = await socketio(stack, broker, "layout", version)
    packet = f'451-/layout,["NOTIFY",{{"room":"{room}","message":{{"_placeholder":true,"num":0}}}}]'
    attachment = b"\x04data" if version == 3 else b"data"
    before = refusals(broker, "rooms")
    with limited(broker, "rooms", command, "connection", burst=2):
        for _ in range(4):
            await client.frames.send(packet, attachment)
        await until(lambda: refusals(broker, "rooms") - before == 2)
    await client.emit("NOTIFY", {"room": room, "message": "last"})

    messages = []
    while "last" not in messages:
        messages.append((await member.receive())[1]["message"])
    assert len(messages) == 3


@pytest.mark.parametrize("version", [3, 4])
async def test_a_namespace_beyond_a_limit_is_refused_and_leaving_never_is(
    broker: Server, stack: AsyncExitStack, host: str, version: int
):
    frames = await Site(broker.port, version, SOCKET_IO).socket(stack)
    await frames.receive()
    if version == 3:
        assert await frames.receive() == "40"
    comma = "" if version == 3 else ","
    with limited(broker, "rooms", "*", "connection", burst=1):
        await frames.send(f"40/layout{comma}")
        assert (await frames.receive()).startswith("40/layout")
        await frames.send(f"40/bus{comma}")
        assert "too many, try again in" in await frames.receive()
        await frames.send("41/layout,")
    await frames.send(f"40/layout{comma}")
    assert (await frames.receive()).startswith("40/layout")


async def test_a_namespace_counts_as_a_connection_of_its_identity(
    broker: Server, stack: AsyncExitStack, host: str
):
    """Who has presented nothing is nobody, and is not counted."""
    with limited(broker, "rooms", "connect", "identity"):
        for _ in range(3):
            await socketio(stack, broker, "layout")


@pytest.mark.parametrize("version", [3, 4])
async def test_packets_beyond_a_limit_end_the_session(
    broker: Server, stack: AsyncExitStack, host: str, version: int
):
    client = await socketio(stack, broker, "layout", version)
    with limited(broker, "rooms", "*", "connection", burst=2, then="close"):
        for _ in range(3):
            await client.emit("CLIENTS", {"room": "nobody"})
        # Old clients see their connection drop where they shall come back: a close frame ends some of them.
        assert await client.frames.closed() == (4101 if version == 4 else None)


async def test_packets_of_a_poll_wait_and_none_is_lost(broker: Server, stack: AsyncExitStack, host: str):
    room = f"r{host}"
    member = await reading(stack, broker, room)
    site = Site(broker.port, 4, SOCKET_IO)
    sid = await site.open()
    await site.post("40/layout,", sid)
    with limited(broker, "rooms", "*", "connection", rate=100, then="wait"):
        notify = [f"42/layout,{json.dumps(['NOTIFY', {'room': room, 'message': n}])}" for n in range(10)]
        assert (await site.post("\x1e".join(notify), sid)).status == 200

    assert [(await member.receive())[1]["message"] for _ in range(10)] == list(range(10))
