"""A page of the console in a browser, with the session of a member of the staff."""

from __future__ import annotations

import json
from typing import Any, Final

from tests.services.browser import Browser, Tab
from tests.services.server import Server

WATCH: Final = """
window.problems = [];
addEventListener("error", (event) => problems.push(event.message || "a file is missing"), true);
addEventListener("unhandledrejection", (event) => problems.push(String(event.reason)));
addEventListener("securitypolicyviolation", (event) => problems.push(event.violatedDirective));
window.notes = [];
addEventListener("DOMContentLoaded", () => {
  const edge = document.getElementById("toasts");
  const added = (changes) => changes.flatMap((one) => [...one.addedNodes]);
  const take = (changes) => notes.push(...added(changes).map((one) => one.innerText));
  if (edge) new MutationObserver(take).observe(edge, { childList: true });
});
"""
"""What went wrong in a page, and the notes at its edge, which go by themselves after some seconds."""


class Opened:
    """One page; `text` and `texts` are what a reader sees."""

    def __init__(self, tab: Tab) -> None:
        self.tab = tab

    async def texts(self, selector: str) -> list[str]:
        """The text of each element."""
        found: list[str] = await self.tab.run(
            f"[...document.querySelectorAll({json.dumps(selector)})].map((one) => one.innerText.trim())"
        )
        return found

    async def rows(self, table: str) -> list[list[str]]:
        """The cells of the rows of the table in the element `table`."""
        script = (
            f"[...document.querySelectorAll({json.dumps(f'#{table} tbody tr')})]"
            ".map((row) => [...row.cells].map((cell) => cell.innerText.trim()))"
        )
        found: list[list[str]] = await self.tab.run(script)
        return found

    async def until(self, script: str) -> Any:
        """The value of a script once it is true."""
        return await self.tab.until(script)

    async def until_rows(self, table: str, count: int) -> list[list[str]]:
        """The rows of a table once there are so many."""
        await self.tab.until(f"document.querySelectorAll('#{table} tbody tr').length === {count}")
        return await self.rows(table)

    async def click(self, selector: str) -> None:
        """Click once it is there, can be seen and is on."""
        # In one look: between two of them the page may make the element anew, or switch it off.
        await self.tab.until(f"""(() => {{
            const one = document.querySelector({json.dumps(selector)});
            if (!one?.checkVisibility() || one.disabled) return false;
            one.click();
            return true;
        }})()""")

    async def confirm(self, words: str) -> str:
        """Say yes in the dialog whose button has these words; what it asked."""
        asked: str = await self.tab.until("document.querySelector('dialog[open]')?.innerText")
        assert words in asked
        # This dialog has to go: what was done may open the next one at once.
        await self.tab.run("window.asked = document.querySelector('dialog[open]')")
        await self.tab.run("window.asked.querySelector('button.danger').click()")
        await self.tab.until("!window.asked.isConnected")
        return asked

    async def fill(self, form: str, **values: str) -> None:
        """Type into fields of a form."""
        for name, value in values.items():
            field = f"document.querySelector('#{form}').elements[{json.dumps(name)}]"
            await self.tab.run(
                f"{field}.value = {json.dumps(value)};"
                f"{field}.dispatchEvent(new Event('input', {{ bubbles: true }}))"
            )

    async def until_note(self, text: str) -> None:
        """Wait for a note at the edge of the page; it may have gone again."""
        await self.tab.until(f"window.notes.some((one) => one.includes({json.dumps(text)}))")

    async def check(self) -> None:
        """No script has failed, and the policy of the page was held to."""
        assert await self.tab.run("window.problems") == []


async def statuses(opened: Opened, calls: list[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """What the page's user is answered to calls below `/api/`, each a method and a path."""
    script = f"""Promise.all({json.dumps(calls)}.map(async ([method, path]) => {{
        const token = document.cookie.match(/csrftoken=([^;]+)/)[1];
        const headers = {{ "X-CSRFToken": token, "Content-Type": "application/json" }};
        const body = method === "GET" ? undefined : "{{}}";
        return (await fetch(`/api/${{path}}`, {{ method, headers, body }})).status;
    }}))"""
    return dict(zip(calls, await opened.tab.run(script), strict=True))


async def open_page(browser: Browser, server: Server, session: str, path: str) -> Opened:
    """Open a page below `/console/` with the session of a member of the staff."""
    tab = await browser.tab()
    command = browser.command
    await command("Network.setCookie", tab._session, name="sessionid", value=session, url=server.url)
    await command("Page.enable", tab._session)
    await command("Page.addScriptToEvaluateOnNewDocument", tab._session, source=WATCH)
    await tab.go(f"{server.url}/console/{path}")
    return Opened(tab)
