"""The page of the audit log shows who did what, narrows it, and gives it away as files."""

from __future__ import annotations

import csv
import io
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.console.opened import Opened, open_page, statuses
from tests.hooks.backend import call
from tests.monitoring.console import sessions_of
from tests.services.browser import Browser
from tests.services.server import Server

# What crosses Redis and databases is tested without a browser.
pytestmark = pytest.mark.once

AUDITOR = "<b>auditor</b>"


@pytest.fixture(scope="module")
def people(broker: Server) -> dict[str, str]:
    """Session keys: of one who may read the log, whose name is markup, and one who may not."""
    permissions = ["core.view_auditentry", "core.add_revocation", "core.change_connectionrecord"]
    return sessions_of(broker, **{AUDITOR: permissions, "unlettered": []})


@pytest.fixture
async def page(browser: Browser, broker: Server, people: dict[str, str]) -> AsyncIterator[Any]:
    """Opens the page."""
    opened: list[Opened] = []

    async def open_one(query: str = "") -> Opened:
        opened.append(await open_page(browser, broker, people[AUDITOR], f"audit/{query}"))
        return opened[-1]

    yield open_one
    for one in opened:
        await one.check()


@pytest.fixture
def channel() -> str:
    return f"c{uuid.uuid4().hex[:8]}"


@pytest.fixture
def acts(broker: Server, channel: str) -> list[tuple[str, str]]:
    """What an operator has done to a channel, the newest first: action and outcome."""
    call(broker, "POST", "/api/channels/", {"channel_id": channel})
    call(broker, "PATCH", f"/api/channels/{channel}/", {"note": "x"})
    call(broker, "DELETE", f"/api/channels/{channel}/")
    call(broker, "DELETE", f"/api/channels/{channel}/")
    return [("delete", "refused: 404"), ("delete", "ok"), ("change", "ok")]


async def test_entries_are_those_of_rest_and_narrowed_by_a_click(
    page: Any, broker: Server, channel: str, acts: list[tuple[str, str]]
) -> None:
    target = f"events.channel {channel}"
    shown = await page(f"?target={target.replace(' ', '+')}")
    await shown.until("document.querySelectorAll('#entries tbody tr').length >= 3")
    rows = await shown.rows("entries")

    assert [(row[2], row[4]) for row in rows][:3] == acts
    assert {row[3] for row in rows} == {target}
    rest = call(broker, "GET", f"/api/audit/?target={target.replace(' ', '+')}")[1]["results"]
    assert [row[6] for row in rows] == [entry["request_id"] for entry in rest]

    await shown.click("#entries tbody tr:nth-child(3) td:nth-child(3) button")
    [only] = await shown.until_rows("entries", 1)
    assert (only[2], only[4]) == ("change", "ok")
    assert await shown.tab.run("document.querySelector('[name=action]').value") == "change"
    assert "action=change" in await shown.tab.run("location.search")

    await shown.click("#filter button[type=reset]")
    await shown.until("document.querySelectorAll('#entries tbody tr').length > 1")


async def test_times_narrow_it(page: Any, acts: list[tuple[str, str]]) -> None:
    shown = await page()
    await shown.until("document.querySelectorAll('#entries tbody tr').length >= 3")

    await shown.fill("filter", until="2001-01-01T00:00:00")
    await shown.until("document.querySelector('#entries .empty').checkVisibility()")
    await shown.fill("filter", until="", since="2001-01-01T00:00:00")
    await shown.until("document.querySelectorAll('#entries tbody tr').length >= 3")


async def test_it_is_two_kinds_of_files_with_the_filters(
    page: Any, channel: str, acts: list[tuple[str, str]]
) -> None:
    shown = await page(f"?target=events.channel+{channel}&action=delete")
    await shown.until("document.querySelectorAll('#entries tbody tr').length === 2")

    text = await shown.tab.run("fetch(document.querySelector('#csv').href).then((one) => one.text())")
    lines = await shown.tab.run("fetch(document.querySelector('#lines').href).then((one) => one.text())")

    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(row["action"], row["outcome"]) for row in rows] == acts[:2]
    assert [json.loads(line)["id"] for line in lines.splitlines()] == [int(row["id"]) for row in rows]


async def test_names_and_objects_that_are_markup_are_text(page: Any) -> None:
    shown = await page()
    answered = await statuses(shown, [("POST", "disconnect"), ("DELETE", "keys/1/")])
    assert answered["DELETE", "keys/1/"] == 403

    await shown.fill("filter", actor=AUDITOR)
    names = "[...document.querySelectorAll('#entries td:nth-child(2) button')].map((one) => one.innerText)"
    await shown.until(f"{names}.length > 0 && {names}.every((name) => name === {json.dumps(AUDITOR)})")
    assert await shown.tab.run("document.querySelectorAll('main td b, main td img').length") == 0


async def test_without_permission_nothing_is_read(
    browser: Browser, broker: Server, people: dict[str, str]
) -> None:
    shown = await open_page(browser, broker, people["unlettered"], "")
    assert set((await statuses(shown, [("GET", "audit/"), ("GET", "audit/download")])).values()) == {403}
