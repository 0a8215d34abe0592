"""The page "Try it" as its user handles it: fields, buttons, and what is shown."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Final

from websockets.asyncio.client import ClientConnection

from tests.services.browser import Browser, Tab
from tests.services.server import Server

HANDLE: Final = """
window.within = (panel, selector) => document.querySelector(`#panel-${panel} ${selector}`);
window.fill = (place, name, value) => {
  const input = place.querySelector(`[data-field="${name}"] :is(input, select, textarea)`);
  input.value = value;
  input.dispatchEvent(new Event("input", { bubbles: true }));
};
window.rows = (panel, kind) =>
  [...document.querySelectorAll(`#panel-${panel} .try-frame[data-kind="${kind}"]`)].map((row) => [
    row.classList.contains("try-in") ? "in" : row.classList.contains("try-out") ? "out" : "state",
    row.querySelector(".try-who")?.textContent ?? "",
    row.querySelector(".try-text").textContent,
  ]);
0
"""


@dataclass
class Site:
    """A server, and the session keys of `root`, and of `plain`, who has no permission."""

    server: Server
    sessions: dict[str, str]


@dataclass
class Page:
    """The page in a tab."""

    tab: Tab

    async def show(self, panel: str) -> None:
        """Choose the tab of a protocol."""
        await self.tab.run(f"document.getElementById('tab-{panel}').click(); 0")

    async def connect(self, panel: str, index: int = 0, **fields: str) -> None:
        """Fill in the card of a client, press its button, and wait until it is connected."""
        card = f"document.querySelectorAll('#panel-{panel} .try-client')[{index}]"
        await self.press(card, fields)
        await self.tab.until(f"{card}.dataset.state === 'open'")

    async def act(self, panel: str, act: str, sender: str = "", **fields: str) -> None:
        """Choose a message by its label, fill in its form, and send it as a client."""
        form = f"within({panel!r}, '.try-acts')"
        await self.tab.run(f"""
            [...{form}.querySelectorAll(".try-choice label")]
              .find((label) => label.textContent === {json.dumps(act)}).click(); 0
        """)
        if sender:
            await self.tab.run(f"""{{
                const as = {form}.querySelector(".try-sender select");
                as.selectedIndex = [...as.options].findIndex((one) => one.text === {json.dumps(sender)});
                as.dispatchEvent(new Event("change", {{ bubbles: true }}));
            }} 0""")
        await self.press(form, fields)

    async def press(self, form: str, fields: dict[str, str]) -> None:
        """Fill in some fields of a form and submit it."""
        fills = "".join(f"fill(form, {name!r}, {json.dumps(value)});" for name, value in fields.items())
        await self.tab.run(f"{{ const form = {form}; {fills} form.requestSubmit(); }} 0")

    async def frames(self, panel: str, count: int, kind: str = "frame") -> list[list[str]]:
        """Wait for so many rows: direction, client and text of each."""
        await self.tab.until(f"rows({panel!r}, {kind!r}).length >= {count}")
        shown: list[list[str]] = await self.tab.run(f"rows({panel!r}, {kind!r})")
        return shown

    async def snippet(self, panel: str, language: str) -> str:
        """The text of a snippet of the chosen message."""
        tab = f"within({panel!r}, '.try-tabs [data-language={language}]')"
        text: Any = await self.tab.run(f"{tab}.click(), within({panel!r}, '.try-code').textContent")
        return str(text)


async def open_page(browser: Browser, server: Server, session: str) -> Page:
    """The page of a member of the staff, when its panels are there."""
    await browser.set_cookie(server.url, "sessionid", session)
    tab = await browser.tab(f"{server.url}/console/try/")
    await tab.until(
        "document.querySelectorAll('.try-acts').length === document.querySelectorAll('.try-panel').length"
    )
    await tab.run(HANDLE)
    return Page(tab)


async def make_publisher(page: Page) -> str:
    """Press the button for a demo publisher, and wait for the token of its customer; returns that."""
    token = "within('sessions', '[data-field=token] input').value"
    await page.tab.run("within('sessions', '.try-setup button').click(); 0")
    return str(await page.tab.until(token))


async def read(socket: ClientConnection) -> str:
    """The next frame of a client of the test."""
    async with asyncio.timeout(60):
        return str(await socket.recv())
