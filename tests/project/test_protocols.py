"""A protocol of somebody else: an app with a `protocol.py`, for which nothing in the tree changes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from tests.conftest import ServerFactory
from tests.services.server import Server
from tests.services.waiting import wait_until

pytestmark = pytest.mark.once  # nothing of it reaches a store or another process

PROTOCOL = """
from routing_app.core.address import AddressKind, make
from routing_app.core.consumer import Consumer
from routing_app.core.protocol import Protocol


class Encoder:
    per_address = False

    def __call__(self, publication, address):
        return str(publication.message).upper()


class Megaphone(Consumer):
    async def opened(self):
        await self.worker.hub.subscribe(self.connection, make("crowd", "all"))
        self.worker.presence.arrive(self.connection)

    async def received(self, text):
        self.connection.send(self.protocol.answer + text)


class Shout(Protocol):
    name = "shout"
    label = "Shouting"
    sockets = {"/shout": Megaphone}
    addresses = {"crowd": AddressKind()}
    encoder = Encoder()
    answer = "not started "

    async def start(self):
        self.answer = "you said "
"""


@pytest.fixture
def app(tmp_path: Path) -> dict[str, str]:
    """Settings that install an app which only this test knows."""
    folder = tmp_path / "shout"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "protocol.py").write_text(PROTOCOL)
    return {"EXTRA_APPS": "shout", "PYTHONPATH": str(tmp_path)}


def ask(broker: Server, path: str, body: Any = None) -> Any:
    headers = {"X-API-Key": broker.api_key, "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(broker.url + path, data, headers), timeout=60) as answer:
        text = answer.read().decode()
    return text if path == "/metrics" else json.loads(text)


def listed(broker: Server) -> list[str]:
    """The protocols of its clients; a row follows its connection."""
    return [row["protocol"] for row in ask(broker, "/api/clients/?protocol=shout")["results"]]


async def receive(client: ClientConnection) -> str | bytes:
    return await asyncio.wait_for(client.recv(), 60)


@pytest.mark.parametrize("runner", ["serve", "daphne", "uvicorn"])
async def test_an_app_with_a_protocol_is_served_like_the_others(
    server: ServerFactory, app: dict[str, str], runner: str
):
    broker = await asyncio.to_thread(server, runner, **app)
    if runner != "serve":  # which makes the key by itself
        script = "from routing_app.core.access.firstrun import prepare; prepare()"
        await asyncio.to_thread(broker.manage, "shell", "-c", script)
    query = f"key={broker.api_key}"
    async with (
        connect(f"{broker.ws_url}/shout", proxy=None) as client,
        connect(f"{broker.ws_url}/connection?{query}", proxy=None) as operator,
    ):
        await client.send("hello")
        assert await receive(client) == "you said hello"

        body = {"addresses": ["crowd:all"], "message": "from REST"}
        await asyncio.to_thread(ask, broker, "/api/publish", body)
        assert await receive(client) == "FROM REST"

        publish = {
            "direction": "REQUEST",
            "key": 1,
            "type": "publish",
            "addresses": ["crowd:all"],
            "message": "from a socket",
        }
        await operator.send(json.dumps(publish))
        assert await receive(client) == "FROM A SOCKET"

        await asyncio.to_thread(wait_until, lambda: listed(broker) == ["shout"])
        assert 'switchboard_connections{protocol="shout"} 1.0' in await asyncio.to_thread(
            ask, broker, "/metrics"
        )
    with pytest.raises(InvalidStatus):
        await connect(f"{broker.ws_url}/shout", origin=Origin("https://elsewhere.example"), proxy=None)


def test_the_options_of_an_app_with_a_protocol_are_listed(server: ServerFactory, app: dict[str, str]):
    assert "SHOUT_ORIGINS" in server(start=False, **app).manage("options")


def test_two_protocols_cannot_take_the_same_path(server: ServerFactory, app: dict[str, str], tmp_path: Path):
    (tmp_path / "shout" / "protocol.py").write_text(PROTOCOL.replace('"/shout"', '"/ws"'))
    broker = server(start=False, **app)
    broker.launch()

    assert broker.process.wait(60) != 0
    assert (
        "shout.protocol.Shout: the socket path /ws belongs to routing_app.tokens.protocol.Tokens"
        in broker.log_text()
    )
