"""The page "Try it" in a browser: every panel speaks its protocol, and shows what went over the wire."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from switchboard_client import connect as connect_requests
from websockets.asyncio.client import ClientConnection, connect

from tests.console.trying import Page, Site, make_publisher, open_page, read
from tests.services.browser import Browser
from tests.services.waiting import until

# The page and its scripts are under test; the protocols are tested on both stacks.
pytestmark = pytest.mark.once

MARKUP = '<img src=x onerror="document.title = 1"><b>bold</b>'


async def test_tokens(page: Page, site: Site) -> None:
    async with connect(f"{site.server.ws_url}/ws?RegisterToken=demo") as client:
        await page.connect("tokens", token="demo")
        await page.act("tokens", "Broadcast", receivers="demo", text="from the page")
        assert await read(client) == "from the page"
        await client.send('demo|{"n": [1, 2]}')
        assert await read(client) == '{"n": [1, 2]}'

        shown = await page.frames("tokens", 3)
        assert shown == [
            ["out", "A", "demo|from the page"],
            ["in", "A", "from the page"],
            ["in", "A", '{"n": [1, 2]}'],
        ]
    sizes = "[...within('tokens', '.try-frames').querySelectorAll('[data-kind=frame] .try-size')]"
    assert await page.tab.run(f"{sizes}.map((one) => one.textContent)") == ["18 B", "13 B", "13 B"]
    await page.tab.run("within('tokens', '.try-log input[type=checkbox]').click(); 0")
    assert (await page.frames("tokens", 3))[2][2] == '{\n  "n": [\n    1,\n    2\n  ]\n}'


async def test_rooms(page: Page, site: Site) -> None:
    async with connect(f"{site.server.ws_url}/layout") as client:
        await page.connect("rooms", 0)
        await page.connect("rooms", 1)
        await page.act("rooms", "JOIN", "A", room="r", name="ann")
        await page.act("rooms", "JOIN", "B", room="r", name="ben")
        await client.send(json.dumps(["JOIN", {"room": "r", "name": "eve"}]))
        await all_are_in(client)
        await page.act("rooms", "CLIENTS", "A", room="r")
        await page.frames("rooms", 4)
        await page.act("rooms", "NOTIFY", "A", room="r", message='{"playing": true}')
        event = await read(client)
        assert json.loads(event) == ["EVENT", {"sender": "ann", "room": "r", "message": {"playing": True}}]
        shown = await page.frames("rooms", 6)
        assert ["in", "B", event] in shown
        assert ["out", "A", '["NOTIFY",{"room":"r","message":{"playing":true}}]'] in shown
        assert not [
            text for direction, who, text in shown if (direction, who) == ("in", "A") and text == event
        ]


async def all_are_in(client: ClientConnection) -> None:
    """Wait until everybody's JOIN has been handled."""

    async def are_in() -> bool:
        await client.send(json.dumps(["CLIENTS", {"room": "r"}]))
        return {"ann", "ben", "eve"} <= set(json.loads(await read(client))[1]["clients"])

    await until(are_in)


async def test_events(page: Page, site: Site) -> None:
    async with connect(f"{site.server.ws_url}/websocket?channel_id=tea") as client:
        await read(client)
        await page.connect("events", channel_id="tea")
        [[_, _, greeting]] = await page.frames("events", 1)
        assert json.loads(greeting)["data"]["channel_id"] == "tea"
        await page.act("events", "channel", channel_ids="tea", data='{"text": "hi"}')
        assert await read(client) == '{"text":"hi"}'
        assert (await page.frames("events", 3))[2] == ["in", "A", '{"text":"hi"}']


async def test_events_with_a_login_and_its_walkers(page: Page) -> None:
    await page.act("events", "POST /user/register", email="ann@example.com", password="correct horse 9")
    assert (await page.frames("events", 2, "HTTP"))[1][2].startswith("201 ")
    await page.act("events", "POST /user/login")
    assert (await page.frames("events", 4, "HTTP"))[3][2].startswith("200 ")
    await page.connect("events")
    [[_, _, greeting]] = await page.frames("events", 1)
    assert json.loads(greeting)["data"]["root_id"] != "n::000000000000000000000001"
    await page.act("events", "▸ greet", name="Ann", times="2")
    shown = await page.frames("events", 3)
    assert json.loads(shown[1][2])["context"] == {"name": "Ann", "times": 2}
    assert json.loads(shown[2][2]) == {"status": 200, "reports": ["Hello, Ann!", "Hello, Ann!"]}
    await page.act("events", "POST /user/logout")
    await page.tab.until("within('events', '.try-client').dataset.state === 'closed'")
    note = await page.tab.run("within('events', '.try-client .try-note').textContent")
    assert note == "4008 revoked · credentials revoked · A client should stay away."


async def test_requests(page: Page, site: Site) -> None:
    async with await connect_requests(f"{site.server.ws_url}/connection", key=site.server.api_key) as client:
        deliveries: list[Any] = []
        client.on("delivery", deliveries.append)
        await client.subscribe("channel:news")
        await page.connect("requests")
        await page.act("requests", "whoami")
        await page.act("requests", "subscribe", addresses="channel:news")
        await page.act("requests", "publish", addresses="channel:news", message="from the page")
        await until(lambda: deliveries)
        shown = [
            json.loads(text) for direction, _, text in await page.frames("requests", 7) if direction == "in"
        ]
    by_key = {frame["key"]: frame for frame in shown if "key" in frame}
    assert by_key[1]["name"] == "root"
    assert by_key[2] == {"addresses": ["channel:news"], "key": 2, "direction": "REPLY"}
    assert by_key[3] == {"delivered_to": 2, "key": 3, "direction": "REPLY"}
    assert [(one.address, one.message) for one in deliveries] == [("channel:news", "from the page")]
    delivery = {"type": "delivery", "address": "channel:news", "message": "from the page"}
    assert [frame for frame in shown if "key" not in frame] == [delivery]


async def test_handlers_of_an_app_answer_in_pieces_and_ask_back(page: Page) -> None:
    await page.connect("requests")
    await page.act("requests", "Your handler", type="count", fields='{"to": 2}')
    pieces = [json.loads(text) for _, _, text in (await page.frames("requests", 4))[1:]]
    assert pieces == [
        {"n": 0, "key": 1, "direction": "PARTIAL"},
        {"n": 1, "key": 1, "direction": "PARTIAL"},
        {"done": True, "key": 1, "direction": "REPLY"},
    ]
    await page.act("requests", "Your handler", type="greet", fields="{}")
    question = json.loads((await page.frames("requests", 6))[5][2])
    assert (question["type"], question["direction"]) == ("name?", "REQUEST")
    await page.act("requests", "Answer", fields='{"name": "Ann"}')
    shown = await page.frames("requests", 8)
    assert json.loads(shown[6][2]) == {"key": question["key"], "direction": "REPLY", "name": "Ann"}
    assert json.loads(shown[7][2]) == {"text": "Hello, Ann!", "key": 2, "direction": "REPLY"}


async def test_two_players_and_their_limit(page: Page, site: Site) -> None:
    await make_publisher(page)
    await page.connect("sessions", 0)
    await page.press("document.querySelectorAll('#panel-sessions .try-client')[1]", {})
    await page.tab.until("within('sessions', '.try-extra button') !== null")
    notes = (
        "[...document.querySelectorAll('#panel-sessions .try-note')].slice(-2).map((one) => one.textContent)"
    )
    assert (await page.tab.run(notes))[1] == "409: Limit of 1 for offer demo reached."

    await page.tab.run("within('sessions', '.try-extra button').click(); 0")
    await page.tab.until(
        "document.querySelectorAll('#panel-sessions .try-client')[0].dataset.state === 'closed'"
    )
    await page.tab.until(f"{notes}[1].startsWith('plays')")
    assert (await page.tab.run(notes))[0].startswith("4002 taken_over · another session took the slot")
    # PINGs come when they are due, so no number of frames tells that the last one is shown.
    await page.tab.until("rows('sessions', 'frame').some(([way, who]) => way === 'in' && who === 'B')")
    frames = [frame for frame in await page.frames("sessions", 5) if "PING" not in frame[2]]
    assert ["in", "A", '{"action":"TAKE_OVER","sessionName":"Phone"}'] in frames
    assert [text for direction, who, text in frames if (direction, who) == ("in", "B")] == ['{"action":"OK"}']


async def test_a_panel_of_an_app_of_ones_own(page: Page, site: Site) -> None:
    await page.connect("pusher")
    await page.act("pusher", "pusher:subscribe", channel="news")
    await page.frames("pusher", 3)
    await page.act("pusher", "POST /api/publish", channel="news", message="hi")
    shown = await page.frames("pusher", 4)
    assert json.loads(shown[3][2]) == {"event": "message", "channel": "news", "data": '"hi"'}


@pytest.fixture
async def crowd(site: Site) -> AsyncIterator[ClientConnection]:
    async with connect(f"{site.server.ws_url}/ws?RegisterToken=crowd") as socket:
        yield socket


async def test_markup_is_text_and_old_rows_go(page: Page, crowd: ClientConnection) -> None:
    await page.connect("tokens", token="demo")
    await crowd.send(f"demo|{MARKUP}")
    assert await page.frames("tokens", 1) == [["in", "A", MARKUP]]
    await page.act("tokens", "Broadcast", receivers="nobody", text=MARKUP)
    assert MARKUP.replace('"', '\\"') in await page.snippet("tokens", "javascript")
    assert await page.tab.run("document.querySelectorAll('main :is(img, b)').length") == 0
    for n in range(320):
        await crowd.send(f"demo|{n}")
    last = "within('tokens', '.try-frames').lastElementChild.querySelector('.try-text').textContent"
    await page.tab.until(f"{last} === '319'")
    # With "open", the markup and the frame that was sent, 323 rows have come.
    assert (
        await page.tab.run("within('tokens', '.try-count').textContent") == "300 rows, 23 older ones dropped"
    )
    assert len(await page.frames("tokens", 300)) == 300


async def test_the_first_minute_by_keyboard_alone(page: Page, site: Site) -> None:
    done = "document.querySelectorAll('#first-minute [data-done]').length"
    focused = "document.activeElement.getAttribute('aria-label')"
    assert await page.tab.run(done) == 0
    for _ in range(40):
        await page.tab.press("Tab")
        if str(await page.tab.run(focused)).startswith("Step 1"):
            break
    async with connect(f"{site.server.ws_url}/ws?RegisterToken=demo") as client:
        for step in range(1, 6):
            assert str(await page.tab.run(focused)).startswith(f"Step {step}")
            assert await page.tab.run(done) == step - 1
            await page.tab.press("Enter")
            await page.tab.until(f"{done} === {step}")
        assert [await read(client), await read(client)] == ["Hello from tokens", '{"from":"REST"}']
    shapes = await page.tab.run(
        "[...document.querySelectorAll('[data-shape]')].map((one) => one.textContent)"
    )
    assert shapes[0] == '{"from":"REST"}'
    assert json.loads(shapes[1]) == {"type": "delivery", "address": "token:demo", "message": {"from": "REST"}}
    assert await page.tab.run("document.querySelector('.try-finished').hidden") is False


async def test_a_message_that_arrives_at_one_client_is_not_enough(page: Page) -> None:
    steps = "[...document.querySelectorAll('#first-minute [data-done]')].length"
    press = "document.querySelector('[data-step={}] button').click(); 0"
    for count, step in enumerate(["connect-requests", "subscribe", "connect-tokens"], 1):
        await page.tab.run(press.format(step))
        await page.tab.until(f"{steps} === {count}")
    await page.act("requests", "unsubscribe", addresses="token:demo")
    await page.frames("requests", 4)
    await page.tab.run(press.format("send"))
    await page.frames("tokens", 2)
    # The answer comes after all that the server had to tell this client before.
    await page.act("requests", "whoami")
    await page.frames("requests", 6)
    assert await page.tab.run(steps) == 3
    await page.tab.run(press.format("subscribe"))
    await page.frames("requests", 8)
    await page.tab.run(press.format("send"))
    await page.tab.until(f"{steps} === 4")


async def test_a_step_that_is_refused_is_not_done(browser: Browser, site: Site) -> None:
    page = await open_page(browser, site.server, site.sessions["plain"])
    press = "document.querySelector('[data-step={}] button').click(); 0"
    await page.tab.run(press.format("connect-requests"))
    await page.tab.until("document.querySelector('[data-step=connect-requests]').hasAttribute('data-done')")
    await page.tab.run(press.format("subscribe"))
    error = await page.tab.until("document.querySelector('[data-step=subscribe] .try-error').textContent")
    assert error.startswith("forbidden: ")
    steps = "[...document.querySelectorAll('#first-minute [data-done]')].map((one) => one.dataset.step)"
    assert await page.tab.run(steps) == ["connect-requests"]
    await page.tab.run("within('sessions', '.try-setup button').click(); 0")
    note = await page.tab.until("within('sessions', '.try-setup .try-note').textContent")
    assert note.startswith("The server answered 403: ")


async def test_a_telephone_shows_it_without_scrolling_sideways(page: Page) -> None:
    await page.tab.width(360)
    for panel in await page.tab.run(
        "[...document.querySelectorAll('[data-protocol]')].map((one) => one.dataset.protocol)"
    ):
        await page.show(panel)
        assert await page.tab.run("document.documentElement.scrollWidth") <= 360, panel
