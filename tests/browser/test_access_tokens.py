"""Access tokens in a real browser, which can set no header of a socket: in the URL of each of them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator

import pytest

from tests.browser.test_requests import site
from tests.services.browser import Browser
from tests.services.databases import Databases
from tests.services.issuing import add_issuer, bad_tokens, token
from tests.services.running import running
from tests.services.server import Server
from tests.stream.conftest import publish

# Tokens are tested on both stacks without a browser.
pytestmark = pytest.mark.once

__all__ = ["site"]

A = "channel:a"
LIVES = (20, 60, 120)
"""Seconds for which a token is good: longer ones where a machine stood still for as long as that."""


@pytest.fixture(scope="module")
def broker(site: str, databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose clients need a credential; it admits the site."""
    options = {
        "REDIS_URL": "",
        **{f"{protocol}_ACCESS": "token" for protocol in ("TOKENS", "ROOMS", "EVENTS", "REQUESTS")},
        "REQUESTS_ORIGINS": f"self,{site}",
    }
    with running(databases, tmp_path_factory.mktemp("browser"), **options) as server:
        add_issuer(server)
        yield server


SOCKETS = {
    "/websocket?channel_id=a": (A, ""),
    "/ws?RegisterToken=a": ("token:a", "Echo:here"),
    "/bus?room=a": ("room:bus/a", '["CLIENTS", {"room": "a"}]'),
}
"""Sockets, with the address that they use and a frame that is answered; events sends one by itself."""


@pytest.mark.parametrize("path", SOCKETS)
async def test_a_page_opens_a_socket_with_a_token(browser: Browser, broker: Server, path: str) -> None:
    address, frame = SOCKETS[path]
    page = await browser.tab(f"{broker.url}/health/live")
    told = []
    for credential in (token([address]), bad_tokens()["expired"]):
        url = json.dumps(f"{broker.ws_url}{path}&access_token={credential}")
        script = """new Promise((resolve) => {
            const socket = new WebSocket(URL);
            socket.onopen = () => FRAME && socket.send(FRAME);
            socket.onmessage = ({ data }) => resolve(data);
            socket.onclose = ({ code }) => resolve(code);
        })"""
        told.append(await page.run(script.replace("URL", url).replace("FRAME", json.dumps(frame))))
    answer, refused = told
    assert refused == 1006
    expected = {"Echo:here": "here"}.get(frame, '"connection"' if not frame else '["CLIENTS"')
    assert expected in str(answer)


async def test_an_event_source_ends_for_good_with_its_token(browser: Browser, broker: Server) -> None:
    page = await browser.tab(f"{broker.url}/health/live")
    for seconds in LIVES:
        good = token([A], exp=int(time.time()) + seconds)
        await page.run(f"""
            window.events = [];
            window.source = new EventSource("/api/stream?address={A}&access_token={good}");
            source.onmessage = (event) => events.push(JSON.parse(event.data).message);
            0
        """)
        if await page.until("source.readyState !== EventSource.CONNECTING && 1 + source.readyState") == 2:
            await asyncio.to_thread(publish, broker, "hello", A)
            await page.until("events.length === 1 || source.readyState === EventSource.CLOSED")
        if await page.run("events.length"):
            break
    # The stream ends in order, the browser comes back, and is told that its token is no good any more.
    await page.until("source.readyState === EventSource.CLOSED")
    assert await page.run("events") == ["hello"]


async def test_the_client_replaces_its_token_in_time(
    browser: Browser,
    broker: Server,
    site: str,
) -> None:
    page = await browser.tab(f"{site}/example/index.html")
    script = """(async () => {
        const tokens = TOKENS, events = [];
        const connection = await switchboard.connect(URL, { token: async () => tokens.shift() });
        connection.on("close", (code) => events.push(code));
        await connection.subscribe("channel:a");
        const names = new Set();
        while (!names.has("late")) names.add((await connection.request({ type: "whoami" })).message.name);
        const { message } = await connection.request({ type: "whoami" });
        await connection.close();
        return [[...names], message.addresses, message.expires_in > 100, events];
    })()"""
    url = f"{broker.ws_url}/connection"
    for seconds in LIVES:
        tokens = [token([A], exp=int(time.time()) + seconds, sub="soon"), token([A], sub="late")]
        filled = script.replace("TOKENS", json.dumps(tokens)).replace("URL", repr(url))
        names, *others = await page.run(filled)
        if "soon" in names:
            break
    assert [names, *others] == [["soon", "late"], [A], True, [1000]]
