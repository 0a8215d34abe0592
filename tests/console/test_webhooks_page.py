"""The pages of webhooks, hooks and scheduled messages show what was done, and their acts act."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.console.opened import Opened, open_page, statuses
from tests.hooks.backend import ALLOW, Backend, Hooks, call
from tests.monitoring.console import sessions_of
from tests.services.browser import Browser
from tests.services.databases import sql
from tests.services.server import Server
from tests.services.waiting import until, until_equal
from tests.webhooks.receiver import Receiver

# What crosses Redis and databases is tested without a browser.
pytestmark = pytest.mark.once

LOOKS = ["core.view_webhook", "core.view_hook", "core.view_scheduledmessage"]


@pytest.fixture(scope="module")
def people(broker: Server) -> dict[str, str]:
    """Session keys: of one who may all, one who may see, one who may see nothing."""
    return sessions_of(broker, manages=None, watches=LOOKS, sightless=[])


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as one:
        yield one


@pytest.fixture
async def page(browser: Browser, broker: Server, people: dict[str, str]) -> AsyncIterator[Any]:
    """Opens a page."""
    opened: list[Opened] = []

    async def open_one(path: str, name: str = "manages") -> Opened:
        opened.append(await open_page(browser, broker, people[name], path))
        return opened[-1]

    yield open_one
    for one in opened:
        await one.check()


@pytest.fixture
def path() -> str:
    """Of the test's own webhook."""
    return f"/{uuid.uuid4().hex[:8]}"


@pytest.fixture
def webhook(broker: Server, receiver: Receiver, path: str) -> Iterator[dict[str, Any]]:
    """A webhook whose name is markup."""
    name = f"<b onclick=problems.push(1)>{path}</b>"
    body = {"name": name, "url": receiver.url(path), "events": ["user.registered"]}
    made = call(broker, "POST", "/api/webhooks/", body)[1]
    yield made
    call(broker, "DELETE", f"/api/webhooks/{made['id']}/")


def row_of(rows: list[list[str]], name: str) -> list[str]:
    [row] = [one for one in rows if one[0] == name]
    return row


async def test_a_test_is_sent_and_its_delivery_and_answer_are_shown(
    page: Any, webhook: dict[str, Any], receiver: Receiver, path: str
) -> None:
    shown = await page(f"webhooks/?webhook={webhook['id']}")
    await shown.click("#test")
    await until(lambda: receiver.of(path))

    await shown.until("document.querySelector('#deliveries .badge')?.innerText === 'done'")
    [delivery] = await shown.rows("deliveries")
    assert delivery[1:5] == ["webhook.test", "done", "1", "204"]

    async def listed() -> list[str]:
        return row_of(await shown.rows("webhooks"), webhook["name"])[1:]

    # The last answer is read after the numbers, which may be of a moment before.
    await until_equal([webhook["url"], "on", "0", "0", "1", "204"], listed)
    assert await shown.texts("tr[data-chosen] td:last-child") == ["204"]
    assert await shown.texts("#one-title") == [webhook["name"]]
    assert await shown.tab.run("document.querySelectorAll('main td b, main h2 b').length") == 0


async def test_one_that_the_server_has_switched_off_says_why_and_is_mended(
    page: Any, webhook: dict[str, Any], receiver: Receiver, path: str
) -> None:
    receiver.statuses[path] = ["410 Gone", "410 Gone"]
    shown = await page(f"webhooks/?webhook={webhook['id']}")
    await shown.click("#test")
    await shown.until("document.querySelector('#one-state').innerText.startsWith('switched off: ')")
    await shown.until("document.querySelector('#deliveries .badge')?.innerText === 'failed'")
    assert (await shown.rows("deliveries"))[0][4].startswith("410")

    await shown.click("#switch")
    await shown.confirm("Switch on")
    await shown.until("document.querySelector('#one-state').innerText === 'on'")
    receiver.statuses[path] = []
    await shown.click("#replay-all")
    await shown.confirm("Replay all")

    await until(lambda: len(receiver.of(path)) == 2)
    assert len(set(receiver.ids(path))) == 1, "the same event"
    await shown.until("document.querySelector('#deliveries .badge')?.innerText === 'done'")
    await shown.until_note("1 delivery is sent again")
    await shown.click("#deliveries tbody button")
    await until(lambda: len(receiver.of(path)) == 3)


async def test_deliveries_are_listed_by_state(
    page: Any, broker: Server, webhook: dict[str, Any], receiver: Receiver, path: str
) -> None:
    call(broker, "POST", f"/api/webhooks/{webhook['id']}/test")
    await until(lambda: receiver.of(path))
    shown = await page(f"webhooks/?webhook={webhook['id']}")
    await shown.until_rows("deliveries", 1)

    await shown.fill("filter", status="failed")
    await shown.until("document.querySelector('#deliveries .empty').checkVisibility()")
    await shown.fill("filter", status="done")
    await shown.until_rows("deliveries", 1)
    await shown.tab.reload()
    assert await shown.tab.run("document.querySelector('[name=status]').value") == "done"


async def test_a_new_secret_is_shown_once(page: Any, broker: Server, webhook: dict[str, Any]) -> None:
    shown = await page(f"webhooks/?webhook={webhook['id']}")
    await shown.click("#rotate")
    await shown.confirm("Rotate")

    secret = await shown.until("document.querySelector('dialog[open] input')?.value")
    [[stored]] = sql(broker.database_url, "SELECT secret FROM core_webhook WHERE id = %s", webhook["id"])
    assert secret == stored != webhook["secret"]
    await shown.click("dialog[open] button:last-child")
    await shown.until("document.querySelector('dialog') === null")
    assert secret not in await shown.tab.run("document.documentElement.outerHTML")


async def test_hooks_count_what_their_questions_came_to(page: Any, broker: Server) -> None:
    backend = Backend()
    answers: list[Any] = [ALLOW, {"allow": False}, ALLOW]
    with Hooks(broker, backend).hook("tokens", "connect", "*", lambda asked: answers.pop(0)) as route:
        url = f"{broker.ws_url}/ws"
        for _ in range(3):
            with suppress(InvalidStatus), connect(url, proxy=None):
                pass
        shown = await page("hooks/")
        [row] = await shown.until_rows("hooks", 1)
        assert row[:4] == ["tokens, connect", "*", route.url, "on"]
        await shown.until("document.querySelector('#hooks tbody td:nth-child(6)').innerText === '2'")
        assert (await shown.rows("hooks"))[0][5:11] == ["2", "1", "0", "0", "0", "0"]
        by_worker = [[int(cell) for cell in one[3:5]] for one in await shown.rows("workers")]
        assert [sum(column) for column in zip(*by_worker, strict=True)] == [2, 1]

        await shown.click("#hooks tbody button")
        await shown.confirm("Switch off")
        await shown.until("document.querySelector('#hooks .badge').innerText === 'off'")
        assert call(broker, "GET", "/api/hooks/")[1]["results"][0]["enabled"] is False
    backend.close()
    await shown.until("document.querySelector('#hooks .empty').checkVisibility()")


async def test_a_message_that_waits_is_withdrawn(page: Any, broker: Server) -> None:
    body = {"addresses": ["channel:<b>"], "message": "<img src=x>", "delay": 3600}
    assert call(broker, "POST", "/api/publish", body)[0] < 300
    shown = await page("scheduled/")
    [row] = await shown.until_rows("messages", 1)
    assert row[2:4] == ["channel:<b>", '"<img src=x>"']

    await shown.click("#messages tbody button")
    await shown.confirm("Withdraw")

    await shown.until("document.querySelector('#messages .empty').checkVisibility()")
    assert call(broker, "GET", "/api/scheduled/")[1]["count"] == 0


async def test_who_may_only_look_has_no_buttons(page: Any, webhook: dict[str, Any], broker: Server) -> None:
    shown = await page(f"webhooks/?webhook={webhook['id']}", "watches")
    await shown.until("document.querySelector('#one').checkVisibility()")
    assert await shown.tab.run(
        "[...document.querySelectorAll('main button')].filter((one) => one.checkVisibility()).length"
    ) == len(await shown.rows("webhooks")), "each opens a webhook"
    id = webhook["id"]
    looks = [("GET", one) for one in ("webhooks/", "webhooks/states", f"webhooks/{id}/deliveries", "hooks/")]
    looks += [("GET", "hooks/states"), ("GET", "scheduled/")]
    acts = [("POST", f"webhooks/{id}/{one}") for one in ("test", "replay", "rotate")]
    acts += [("PATCH", f"webhooks/{id}/"), ("POST", "deliveries/msg_0/replay"), ("PATCH", "hooks/1/")]
    acts += [("DELETE", "scheduled/0a/")]

    answered = await statuses(shown, looks + acts)
    assert [answered[one] for one in acts] == [403] * len(acts)
    assert [answered[one] for one in looks] == [200] * len(looks)
    blind = await statuses(await page("", "sightless"), looks + acts)
    assert set(blind.values()) == {403}
