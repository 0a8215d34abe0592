"""Headless Chromium, driven over its own DevTools protocol: no driver and no package needed."""

from __future__ import annotations

import asyncio
import json
import shutil
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.services.process import Process

FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
)
PATIENCE_SECONDS: Final = 150
"""Longest wait: for what hangs. A page of the console asks for some things once a minute only."""
GOES_AWAY: Final = ("navigated", "context was destroyed", "Cannot find default execution context")
"""What the browser says of a page that goes away, or is not there yet."""
KEY_CODES: Final = {"Tab": 9, "Enter": 13, "ArrowRight": 39}


class BrowserError(RuntimeError):
    """The browser refused a command, or a script in it failed."""


def find_chromium() -> str | None:
    """The browser's program, or None."""
    return shutil.which("chromium")


class Chromium:
    """One browser process, its profile in `folder`; a context manager. `url` is its DevTools socket's."""

    def __init__(self, folder: Path) -> None:
        program = find_chromium()
        assert program is not None, "Chromium is not installed (make test installs it)"
        profile = folder / "profile"
        command = [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self._process = Process(command, log=folder / "chromium.log")
        try:
            self.url = self._wait_for_url(profile / "DevToolsActivePort")
        except BaseException:
            self._process.kill_session()
            raise

    def _wait_for_url(self, file: Path) -> str:
        """Port and path of the socket, which Chromium writes into a file of two lines."""
        self._process.wait_until(lambda: file.exists() and len(file.read_text().splitlines()) >= 2)
        port, path = file.read_text().splitlines()[:2]
        return f"ws://127.0.0.1:{port}{path}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill_session()


class Tab:
    """One page."""

    def __init__(self, browser: Browser, target: str, session: str) -> None:
        self._browser = browser
        self._target = target
        self._session = session

    async def go(self, url: str) -> None:
        """Load a page, and wait until its scripts have run."""
        await self._leave("Page.navigate", url=url)

    async def reload(self) -> None:
        """Load the page again; its sessionStorage stays."""
        await self._leave("Page.reload")

    async def back(self) -> None:
        """Go back by one page, as its button does, and wait until that has loaded."""
        history = await self._browser.command("Page.getNavigationHistory", self._session)
        entry = history["entries"][history["currentIndex"] - 1]
        await self._browser.command("Page.navigateToHistoryEntry", self._session, entryId=entry["id"])
        await self._arrives(f"location.href === {json.dumps(entry['url'])}")

    async def close(self) -> None:
        """Close the tab, as a user would."""
        await self._browser.command("Target.closeTarget", targetId=self._target)

    async def run(self, script: str) -> Any:
        """Run a script; the JSON value of its last expression, a promise's once it is settled."""
        answer = await self._browser.command(
            "Runtime.evaluate",
            self._session,
            expression=script,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        if "exceptionDetails" in answer:
            raise BrowserError(json.dumps(answer["exceptionDetails"])[:2000])
        return answer["result"].get("value")

    async def press(self, key: str) -> None:
        """Press and release a key that writes nothing, or Enter, as a user would."""
        text = {"Enter": "\r"}.get(key, "")
        stroke = {"key": key, "code": key, "windowsVirtualKeyCode": KEY_CODES[key], "text": text}
        await self._browser.command("Input.dispatchKeyEvent", self._session, type="keyDown", **stroke)
        await self._browser.command("Input.dispatchKeyEvent", self._session, type="keyUp", **stroke)

    async def width(self, pixels: int) -> None:
        """Make the window of the page so wide, as a telephone's."""
        size = {"width": pixels, "height": 800, "deviceScaleFactor": 1, "mobile": True}
        await self._browser.command("Emulation.setDeviceMetricsOverride", self._session, **size)
        await self.until(f"screen.width === {pixels}")  # the page learns of it a moment later

    async def until(self, expression: str) -> Any:
        """Wait until an expression is true in the page, or in the one that it goes to; its value."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (value := await self._seen(expression)):
                await asyncio.sleep(0.02)
        return value

    async def _leave(self, method: str, **parameters: Any) -> None:
        """The page of before is marked, so that it is not taken for the new one."""
        await self.run("void (window.stale = true)")
        await self._browser.command(method, self._session, **parameters)
        await self._arrives("window.stale === undefined")

    async def _arrives(self, expression: str) -> None:
        """Wait until an expression is true in a page that has loaded, in whatever page that is."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await self._seen(f"{expression} && document.readyState === 'complete'"):
                await asyncio.sleep(0.02)

    async def _seen(self, expression: str) -> Any:
        """The value of an expression; None, too, while the page that was asked goes away."""
        try:
            return await self.run(expression)
        except BrowserError as error:
            if any(words in str(error) for words in GOES_AWAY):
                return None
            raise


class Browser:
    """A visitor: tabs that share cookies and stores with each other and nobody else.

    An asynchronous context manager; its tabs are closed in the end.
    """

    def __init__(self, chromium: Chromium) -> None:
        patience: dict[str, Any] = {"open_timeout": PATIENCE_SECONDS, "ping_interval": None}
        self._connecting = connect(chromium.url, max_size=None, proxy=None, **patience)
        self._numbers = count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}

    async def __aenter__(self) -> Self:
        self._socket = await self._connecting.__aenter__()
        self._reader = asyncio.ensure_future(self._read())
        self._context = (await self.command("Target.createBrowserContext"))["browserContextId"]
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.command("Target.disposeBrowserContext", browserContextId=self._context)
        await self._connecting.__aexit__(None, None, None)
        await asyncio.gather(self._reader, return_exceptions=True)

    async def tab(self, url: str = "") -> Tab:
        """A new tab, on a page or empty."""
        created = await self.command("Target.createTarget", url="about:blank", browserContextId=self._context)
        target = created["targetId"]
        attached = await self.command("Target.attachToTarget", targetId=target, flatten=True)
        tab = Tab(self, target, attached["sessionId"])
        if url:
            await tab.go(url)
        return tab

    async def set_cookie(self, url: str, name: str, value: str) -> None:
        """Have the visitor send a cookie to a site."""
        cookie = {"url": url, "name": name, "value": value}
        await self.command("Storage.setCookies", cookies=[cookie], browserContextId=self._context)

    async def command(self, method: str, session: str = "", **parameters: Any) -> Any:
        """Send a DevTools command and wait for its result. Raises BrowserError."""
        number = next(self._numbers)
        future = self._answers[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": parameters}
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._socket.send(json.dumps(message | ({"sessionId": session} if session else {})))
                answer = await future
        finally:
            self._answers.pop(number, None)  # an answer that nobody waits for any more may still come
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    async def _read(self) -> None:
        try:
            async for text in self._socket:
                message = json.loads(text)
                future = self._answers.get(message.get("id"))
                if future and not future.done():
                    future.set_result(message)
        except ConnectionClosed:
            pass
