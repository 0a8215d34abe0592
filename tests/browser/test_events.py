"""A real browser on the events protocol: the original documentation's snippets, the example's page."""

from __future__ import annotations

import json
import secrets
from typing import Any

import pytest

from tests.conftest import ServerFactory
from tests.services.browser import Browser, Tab
from tests.services.server import Server

pytestmark = pytest.mark.once  # what crosses Redis and databases is tested without a browser

PUBLIC = "n::000000000000000000000001"
CHAT = {"type": "chat", "data": {"any_field": "any_value"}}

# The snippets as they stand in the original's documentation ("END TO END INTEGRATION").
CONNECT = """const client = new WebSocket("ws://localhost:8000/websocket");"""
CONSUME = """
client.onmessage = (event) => {
const msg = JSON.parse(event.data);
switch (msg.type) {
case "connection":
// to check connection info
case "chat":
console.log(msg.data)
case "your_event1":
console.log(msg.data)
case "your_event2":
console.log(msg.data)
case "your_event3":
console.log(msg.data)
}
};
"""
CHANGE_USER = """
client.send(JSON.stringify({
"type": "change_user",
"token": "Bearer {{user's token}}" // optional - default to public user
}));
"""
WALKER = """
client.send(JSON.stringify({
"type": "walker",
"walker": "your_walker_name",
"response": true,
"context": {}
}));
"""
CLIENT = """
client.send(JSON.stringify({
"type": "client",
"client_ids": ["target client_id from connection event"],
"data": {
"type": "chat",
"data": {
"any_field": "any_value"
}
}
}));
"""
CHANNEL = CLIENT.replace('"type": "client"', '"type": "channel"').replace(
    '"client_ids": ["target client_id from', '"channel_ids": ["target channel_id from'
)
USER = CLIENT.replace('"type": "client"', '"type": "user"').replace(
    '"client_ids": ["target client_id from', '"root_ids": ["target root_id from'
)
CONNECTION = """
client.send(JSON.stringify({
"type": "connection"
}));
"""

RECORD = """
var frames = [], logged = [];
console.log = (value) => logged.push(value);
client.addEventListener("message", (event) => frames.push(JSON.parse(event.data)));
"""


class Page:
    """A tab that has run the connecting snippet; the frames that it gets are kept."""

    def __init__(self, tab: Tab, server: Server) -> None:
        self.tab = tab
        self._server = server
        self._read = 0

    async def open(self, query: str = "") -> dict[str, Any]:
        """Connect and consume as documented; the data of the connection frame."""
        await self.tab.go(f"{self._server.url}/healthz")
        url = self._server.ws_url.removeprefix("ws://")
        await self.tab.run(
            CONNECT.replace("localhost:8000", url).replace("/websocket", f"/websocket{query}") + RECORD
        )
        await self.tab.run(CONSUME)
        frame = await self.next()
        assert frame["type"] == "connection"
        data: dict[str, Any] = frame["data"]
        return data

    async def send(self, snippet: str, **names: str) -> None:
        """Run a snippet with the placeholders filled in."""
        for placeholder, value in names.items():
            snippet = snippet.replace(PLACEHOLDERS[placeholder], value)
        await self.tab.run(snippet)

    async def next(self) -> Any:
        """The next frame."""
        self._read += 1
        await self.tab.until(f"frames.length >= {self._read}")
        return await self.tab.run(f"frames[{self._read - 1}]")

    async def all_frames(self) -> list[Any]:
        """Frames that came before the answer to a `connection` event."""
        await self.send(CONNECTION)
        frames = []
        while (frame := await self.next()).get("type") != "connection":
            frames.append(frame)
        return frames


PLACEHOLDERS = {
    "token": "{{user's token}}",
    "walker": "your_walker_name",
    "client": "target client_id from connection event",
    "channel": "target channel_id from connection event",
    "root": "target root_id from connection event",
    "context": '"context": {}',
}


@pytest.fixture
def chat(server: ServerFactory) -> Server:
    return server(EXTRA_APPS="examples.chat")


ACCOUNT = """
(async () => {
  const ask = (path) => fetch(path, {
    method: "POST", headers: {"Content-Type": "application/json"},
    body: JSON.stringify({email: "ann@example.com", password: "tea and cakes at nine"}),
  });
  await ask("/user/register");
  return (await ask("/user/login")).json();
})()
"""


async def test_the_snippets_of_the_documentation_work_as_they_stand(browser: Browser, chat: Server):
    one, two = Page(await browser.tab(), chat), Page(await browser.tab(), chat)
    first, second = await one.open(), await two.open("?channel_id=tea%20room")
    assert first["root_id"] == second["root_id"] == PUBLIC
    assert second["channel_id"] == "tea room"
    account = await one.tab.run(ACCOUNT)
    root = f"n::{account['user']['root_id']}"

    for page, hello in ((one, first), (two, second)):
        await page.send(CHANGE_USER, token=account["token"])
        assert await page.next() == {"type": "connection", "data": {**hello, "root_id": root}}

    await one.send(CLIENT, client=second["client_id"])
    assert await two.next() == CHAT
    assert await one.all_frames() == []
    await one.send(CHANNEL, channel="tea room")
    assert await two.next() == CHAT
    assert await one.all_frames() == []
    await one.send(USER, root=root)
    assert await two.next() == CHAT
    assert await one.all_frames() == [CHAT]

    walk = {"walker": "send_chat_to_group", "context": '"context": {"channel_id": "tea room"}'}
    await two.send(WALKER, **walk)
    assert await two.next() == {"type": "chat", "data": {"message": "string"}}
    assert await two.next() == {"status": 200, "reports": []}
    assert CHAT["data"] in await two.tab.run("logged")


async def test_people_chat_on_the_example_s_page_in_two_tabs(browser: Browser, chat: Server):
    address = f"{chat.url}/static/chat/index.html?channel=tea"
    one, two = await browser.tab(address), await browser.tab(address)
    for tab in (one, two):
        await tab.until("document.getElementById('channel').textContent === 'tea'")
    email = f"{secrets.token_hex(4)}@example.com"
    await fill(one, "account", email=email, password="tea and cakes at nine")
    await one.run("document.querySelector('[value=register]').click()")
    await one.until(f"!who.textContent.includes({PUBLIC!r}) && who.textContent.startsWith('n::')")

    said = []
    for to in ("channel", "walker"):
        said.append(f"hello to the {to} {secrets.token_hex(2)}")
        await fill(one, "say", to=to, text=said[-1])
        await one.run("document.querySelector('#say button').click()")
        for tab in (one, two):
            await tab.until(f"{LINES}.length === {len(said)}")
    client = await two.run("who.textContent.match(/client (.*)\\)/)[1]")
    said.append("for your eyes only")
    await fill(one, "say", to="client", id=client, text=said[-1])
    await one.run("document.querySelector('#say button').click()")
    await two.until(f"{LINES}.length === {len(said)}")

    assert await two.run(LINES) == said
    assert await one.run(LINES) == said[:2]


LINES = "[...document.querySelectorAll('#log li')].map((line) => line.textContent)"


async def fill(tab: Tab, form: str, **values: str) -> None:
    """Fill in a form's fields."""
    for name, value in values.items():
        await tab.run(f"document.querySelector('#{form} [name={name}]').value = {json.dumps(value)}")
