"""Snippets of "Try it" do what they say: each is run as it stands on the page."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, get_args

import pytest
from websockets.asyncio.client import connect

from routing_app.events import wire as events
from routing_app.requests.asking import OWN
from routing_app.rooms import wire as rooms
from sessions_app.wire import Action
from tests.console.trying import Page, Site, make_publisher, read
from tests.services.browser import Browser, Tab
from tests.services.databases import REPOSITORY
from tests.services.server import Server

pytestmark = pytest.mark.once

NASTY: Final = """it's "50 %" of $HOME, `id` and \\n é </script> 🙂"""
"""Each language has characters of its own that would end a string."""


@dataclass
class Act:
    """A message of a panel that others receive; the last of `frames`, if there are any, is answered."""

    panel: str
    label: str
    fields: dict[str, str]
    path: str
    frames: list[str] = field(default_factory=list)


ACTS: Final = (
    Act("tokens", "Broadcast", {"receivers": "snippets", "text": NASTY}, "/ws?RegisterToken=snippets"),
    Act(
        "rooms",
        "NOTIFY",
        {"room": "s", "message": NASTY},
        "/layout",
        [json.dumps(["JOIN", {"room": "s", "name": "eve"}]), json.dumps(["CLIENTS", {"room": "s"}])],
    ),
    Act(
        "events",
        "channel",
        {"channel_ids": "snippets", "data": json.dumps({"text": NASTY})},
        "/websocket?channel_id=snippets",
    ),
    Act(
        "requests",
        "publish",
        {"addresses": "token:snippets", "message": NASTY},
        "/ws?RegisterToken=snippets",
    ),
)


def environment(server: Server, **more: str) -> dict[str, str]:
    clients = str(REPOSITORY / "clients" / "python")
    return {**os.environ, "SWITCHBOARD_API_KEY": server.api_key, "PYTHONPATH": clients, **more}


@asynccontextmanager
async def command(words: list[str], env: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process for the time of a context; some snippets run until they are stopped."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *words, env=env, stdout=pipe, stderr=pipe, start_new_session=True
    )
    try:
        yield process
    finally:
        # A shell may have started another process, which holds the pipes.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()


def run_python(text: str, env: dict[str, str]) -> Any:
    return command([sys.executable, "-c", text], env)


def run_shell(text: str, env: dict[str, str]) -> Any:
    return command(["sh", "-c", text], env)


async def run_javascript(tab: Tab, text: str) -> None:
    """As in the developer tools of a page of this server; what it logs is in `logged`."""
    await tab.run(f"""
        window.logged = [];
        console.log = (...values) => logged.push(values.join(" "));
        (async () => {{ {text} }})().catch((error) => logged.push(String(error))); 0
    """)


async def received(client: Any) -> None:
    """Wait for the frame with the nasty text."""
    while NASTY not in texts(json_or_text(await read(client))):
        pass


def json_or_text(frame: str) -> Any:
    try:
        return json.loads(frame)
    except ValueError:
        return frame


def texts(value: Any) -> list[str]:
    """Every string in a JSON value."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for one in inner for text in texts(one)]


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.panel)
async def test_an_act_in_each_language(act: Act, page: Page, browser: Browser, site: Site) -> None:
    server = site.server
    await page.act(act.panel, act.label, **act.fields)
    snippets = {name: await page.snippet(act.panel, name) for name in ("javascript", "python", "curl")}
    assert not [text for text in snippets.values() if server.api_key in text]
    tab = await browser.tab(f"{server.url}/health/live")
    async with connect(f"{server.ws_url}{act.path}") as client:
        for frame in act.frames:
            await client.send(frame)
        if act.frames:  # the others may be quicker than what is not answered yet
            await read(client)
        await run_javascript(tab, snippets["javascript"].replace("<KEY>", server.api_key))
        await received(client)
        async with run_python(snippets["python"], environment(server)):
            await received(client)
        async with run_shell(f"{snippets['curl']} --silent --fail", environment(server)) as process:
            await received(client)
            assert await process.wait() == 0


async def test_a_walker_by_curl(page: Page, site: Site) -> None:
    await page.act("events", "▸ about")
    curl = await page.snippet("events", "curl")
    async with run_shell(f"{curl} --silent --fail", environment(site.server)) as process:
        assert b"send_chat_to_user" in await process.stdout.read()


async def test_a_subscription_in_python_and_curl(page: Page, site: Site) -> None:
    await page.act("requests", "subscribe", addresses="token:kept")
    python, curl = [await page.snippet("requests", name) for name in ("python", "curl")]
    server = site.server
    env = environment(server)
    async with run_python(python, env) as first, run_shell(f"{curl} --silent", env) as second:
        # Each says something as soon as it is subscribed.
        assert await line(first) == b"subscribed\n"
        await line(second)
        async with connect(f"{server.ws_url}/ws") as client:
            await client.send("token:none|x")
            await client.send("kept|Hello")
            assert await line(first) == b"token:kept Hello\n"
            while b'"Hello"' not in await line(second):
                pass


async def line(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    async with asyncio.timeout(60):
        text = await process.stdout.readline()
    assert text, await process.communicate()
    return text


async def test_a_player_in_each_language(page: Page, browser: Browser, site: Site) -> None:
    server = site.server
    token = await make_publisher(page)
    snippets = {}
    for language in ("javascript", "python", "curl"):
        # One session per offer: each language has its own.
        await page.tab.run(f"fill(within('sessions', '.try-setup'), 'offer', '{language}'); 0")
        await page.act("sessions", "REQUESTED")
        snippets[language] = await page.snippet("sessions", language)
    assert not [text for text in snippets.values() if token in text]
    tab = await browser.tab(f"{server.url}/health/live")
    await run_javascript(tab, snippets["javascript"].replace("<CUSTOMER TOKEN>", token))
    await tab.until("logged.length")
    assert await tab.run("logged") == ['{"action":"OK"}']
    env = environment(server, CUSTOMER_TOKEN=token)
    async with run_python(snippets["python"], env) as process:
        assert await line(process) == b'{"action":"OK"}\n'
    async with run_shell(f"{snippets['curl']} --silent", env) as process:
        assert json.loads(await line(process))["sessionName"] == "Living room"


SECRET: Final = "typed-by-the-user"
ALL: Final = """(async () => {
    const { panelOf } = await import("/static/console/js/try/registry.js");
    const all = [];
    const each = (panel) => {
        for (const input of within(panel.name, ".try-choices").querySelectorAll("input")) {
            input.click();
            for (const secret of panel.root.querySelectorAll("input[type=password]")) {
                secret.value = SECRET;
                secret.dispatchEvent(new Event("input", { bubbles: true }));
            }
            all.push([panel.name, input.value, panel.snippets.snippets]);
        }
    };
    for (const tab of document.querySelectorAll("[data-protocol]")) each(panelOf(tab.dataset.protocol));
    const rooms = panelOf("rooms");
    for (const socket of ["/bus", "/lobby", "/trigger"]) {
        fill(within("rooms", ".try-setup"), "socket", socket);
        each(rooms);
    }
    return all;
})()"""


async def test_every_message_has_a_form_and_every_snippet_is_code(
    page: Page, browser: Browser, site: Site
) -> None:
    made = await page.tab.run(ALL.replace("SECRET", json.dumps(SECRET)))
    offered = {(panel, name.split(" ")[0]) for panel, name, _ in made}
    assert {("requests", type) for type in OWN} <= offered
    assert {("sessions", action.value) for action in Action} <= offered
    assert {("events", type) for type in event_types()} <= offered
    assert {("rooms", name) for name in room_events()} <= offered
    assert {("tokens", name) for name in ("broadcast", "register", "echo", "raw")} <= offered

    snippets = [text for *_, languages in made for text in languages.items()]
    assert not [text for _, text in snippets if SECRET in text]
    assert any("YOUR_PASSWORD" in text for _, text in snippets)
    for language, text in snippets:
        if language == "python":
            compile(text, "snippet", "exec")
    shell = "\n".join(text for language, text in snippets if language == "curl")
    async with run_shell(f"set -n\n{shell}", dict(os.environ)) as process:
        assert await process.wait() == 0
    javascript = [text for language, text in snippets if language in ("javascript", "socketio")]
    tab = await browser.tab(f"{site.server.url}/health/live")
    bodies = [text.replace("import { io }", "//") for text in javascript]
    parsed = "(body) => (async () => {}).constructor('io', body) && 1"
    assert await tab.run(f"{json.dumps(bodies)}.map({parsed}).length") == len(javascript) > 60


def event_types() -> Iterator[str]:
    for event in get_args(events.Event):
        for one in get_args(event) or (event,):
            yield get_args(one.model_fields["type"].annotation)[0]


def room_events() -> set[str]:
    return {*("JOIN", "LEAVE", "NOTIFY", "CLIENTS", "BROADCAST", "RTCSIGNAL"), *rooms.TRIGGER_EVENTS}
