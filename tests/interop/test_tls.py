"""Over HTTPS with the certificate that the server makes itself, which clients are told not to verify."""

from __future__ import annotations

import asyncio
import json
import ssl

import pytest
from websockets.asyncio.client import connect

from tests.conftest import ServerFactory
from tests.interop import puppet
from tests.interop.cast import JS_KINDS
from tests.interop.puppet import Client
from tests.interop.test_clients import in_room, receive

ROOM = "all.contexts"
TEXT = "é€" * 2_000


@pytest.mark.once
async def test_clients_of_all_generations_share_a_room_over_tls(server: ServerFactory) -> None:
    """As the original's README says, with `rejectUnauthorized: false`."""
    broker = server(HTTPS="1")
    async with puppet.node() as node:
        clients = [
            await node.open(
                str(kind), kind.library, f"{broker.url}/layout", rejectUnauthorized=False, **kind.options
            )
            for kind in JS_KINDS
        ]
        await asyncio.gather(*(join(client) for client in clients))
        for kind, client in zip(JS_KINDS, clients, strict=True):
            await client.ends_on(kind.transport)

        url = f"{broker.ws_url}/layout"
        async with connect(url, ssl=trusting(), proxy=None) as other:
            await other.send(json.dumps(["NOTIFY", {"room": ROOM, "message": TEXT}]))
            for client in clients:
                assert await client.received("EVENT") == [
                    {"sender": "unknown", "room": ROOM, "message": TEXT}
                ]
            await other.send(json.dumps(["JOIN", {"room": ROOM, "name": "plain"}]))
            await in_room(broker, "layout", ROOM, len(clients) + 1, trusting())
            clients[0].emit("NOTIFY", json.dumps({"room": ROOM, "message": TEXT}))
            event = await receive(other)
            assert event == ["EVENT", {"sender": clients[0].name, "room": ROOM, "message": TEXT}]


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def join(client: Client) -> None:
    assert await client.ask("JOIN", json.dumps({"room": ROOM, "name": client.name})) == []
