"""A lobby of all generations: each names it in its own way, and all know each other by the ids received."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from tests.interop.cast import JS_KINDS, KINDS, Cast, Kind
from tests.interop.puppet import Client
from tests.services.server import Server

pytestmark = pytest.mark.once

LOBBY = "context-1"
PYTHON_KINDS = [kind for kind in KINDS if kind.name == "python-socketio-default"]


def naming(kind: Kind) -> dict[str, Any]:
    """How a client names its lobby: 1.x and 2.x in a query, 4.x in what comes with CONNECT."""
    if kind.library in ("socket.io-client-4.8", "python-socketio"):
        return {"auth": {"lobbyId": LOBBY}}
    if kind.library == "socket.io-client-3.1":
        return {"query": {"lobbyId": LOBBY}}
    return {"query": f"lobbyId={LOBBY}"}


def public_id(kind: Kind, client: Client) -> str:
    """Its name for peers. 1.x does not know the namespace's part of its own id."""
    return f"/lobby#{client.id}" if "-client-1." in kind.library else client.id


async def test_all_generations_meet_in_a_lobby(broker: Server, request: pytest.FixtureRequest) -> None:
    kinds = [*JS_KINDS, *PYTHON_KINDS]
    async with Cast(partial(request.getfixturevalue, "old_python")) as cast:
        clients: list[Client] = []
        ids: list[str] = []
        for kind in kinds:
            client = await cast.open(kind, str(kind), f"{broker.url}/lobby", **naming(kind))
            id = public_id(kind, client)
            assert await client.received("JOINED") == [id]
            assert await client.received("PEERS") == [ids]
            for other in clients:
                assert await other.received("JOINED") == [id]
            clients.append(client)
            ids.append(id)

        for number, client in enumerate(clients):
            peer = (number + 1) % len(clients)
            client.emit("RTCSIGNAL", {"to": ids[peer], "sdp": number})
            assert await clients[peer].received("RTCSIGNAL") == [{"to": ids[peer], "sdp": number}]
        clients[0].emit("BROADCAST", {"message": "é€"})
        for client in clients:
            assert await client.received("MESSAGE") == [{"from": ids[0], "message": "é€"}]

        clients[-1].close()
        for client in clients[:-1]:
            assert await client.received("LEFT") == [ids[-1]]
            assert client.unread("RTCSIGNAL") == client.unread("MESSAGE") == []
