"""Socket.IO's clients in a real browser: the oldest and the newest, on every transport that they have."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from tests.services.browser import Browser
from tests.services.databases import Databases
from tests.services.javascript import require_packages
from tests.services.running import running
from tests.services.server import Server

pytestmark = pytest.mark.once  # what crosses Redis and databases is tested without a browser

OLDEST = "socket.io-client-1.0/socket.io.js"
NEWEST = "socket.io-client-4.8/dist/socket.io.min.js"
WAYS = {
    "1.0 as it comes": (OLDEST, {}, "websocket"),
    "1.0 on WebSocket": (OLDEST, {"transports": ["websocket"]}, "websocket"),
    "1.0 on polling": (OLDEST, {"transports": ["polling"]}, "polling"),
    "1.0 on JSONP": (OLDEST, {"transports": ["polling"], "forceJSONP": True}, "polling"),
    "4.8 with WebTransport first": (
        NEWEST,
        {"transports": ["webtransport", "websocket", "polling"], "tryAllTransports": True},
        "websocket",
    ),
    "4.8 with WebTransport among its upgrades": (
        NEWEST,
        {"transports": ["polling", "webtransport", "websocket"]},
        "websocket",
    ),
    "4.8 on polling": (NEWEST, {"transports": ["polling"]}, "polling"),
}
PAGE = """
window.received = [];
document.body.append(document.createElement("script"));  // JSONP puts its own before the first one
window.socket = io(URL, {forceNew: true, ...OPTIONS});
window.hex = (data) => [...new Uint8Array(data)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
socket.on("EVENT", (event) => received.push(event));
socket.on("connect", () => socket.emit("JOIN", {room: ROOM, name: "page"}, () => { window.joined = true; }));
0
"""
SEND = """
const data = new Uint8Array([0, 4, 255]).buffer;
socket.emit("NOTIFY", {room: ROOM, message: {text: "\\u00e9\\n\\u2028", data}});
0
"""


@pytest.fixture(scope="module")
def broker(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server as it comes."""
    with running(databases, tmp_path_factory.mktemp("socketio")) as server:
        yield server


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
async def test_it_sends_and_receives_text_and_buffers(
    browser: Browser, broker: Server, way: tuple[str, dict[str, Any], str]
) -> None:
    library, options, transport = way
    packages = require_packages("tests/interop") / "node_modules"
    room = f"room-{secrets.token_hex(4)}"
    values = {"URL": f"{broker.url}/layout", "OPTIONS": options, "ROOM": room}

    def with_values(script: str) -> str:
        for name, value in values.items():
            script = script.replace(name, json.dumps(value))
        return script

    # A page of the loopback address: elsewhere than on a secure origin there is no WebTransport.
    pages = [await browser.tab(f"{broker.url}/healthcheck") for _ in range(2)]
    for page in pages:
        await page.run((packages / library).read_text() + "\n;0")
        await page.run(with_values(PAGE))
        await page.until("window.joined === true")
        await page.until(f"socket.io.engine.transport.name === '{transport}'")

    await pages[0].run(with_values(SEND))

    await pages[1].until("received.length === 1")
    assert await pages[1].run("[received[0].message.text, hex(received[0].message.data)]") == [
        "é\n\u2028",
        "0004ff",
    ]
