"""Headless Chromium, driven over its own DevTools protocol: no driver and no package needed."""

from __future__ import annotations

import asyncio
import json
import shutil
from itertools import count
from pathlib import Path
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
PATIENCE_SECONDS: Final = 40


class BrowserError(RuntimeError):
    """The browser refused a command, or a script in it failed."""


class Tab:
    """One page."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    async def go(self, url: str) -> None:
        """Load a page, and wait until it is complete."""
        await self._browser.command("Page.navigate", self._session, url=url)
        await self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

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

    async def until(self, expression: str) -> Any:
        """Wait until an expression is true in the page; its value."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (value := await self.run(expression)):
                await asyncio.sleep(0.02)
        return value


class Browser:
    """One browser with a fresh profile in `folder`; an asynchronous context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}

    async def __aenter__(self) -> Self:
        program = shutil.which("chromium")
        assert program is not None, "Chromium is not installed (make test installs it)"
        profile = self._folder / "profile"
        command = [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self._process = Process(command, log=self._folder / "chromium.log")
        try:
            port, path = self._wait_for_port(profile / "DevToolsActivePort")
            self._connecting = connect(f"ws://127.0.0.1:{port}{path}", max_size=None)
            self._socket = await self._connecting.__aenter__()
        except BaseException:
            self._process.kill_session()
            raise
        self._reader = asyncio.ensure_future(self._read())
        return self

    def _wait_for_port(self, file: Path) -> list[str]:
        """Port and path of the DevTools socket, which Chromium writes into a file of two lines."""
        self._process.wait_until(lambda: file.exists() and len(file.read_text().splitlines()) >= 2)
        return file.read_text().splitlines()[:2]

    async def __aexit__(self, *error: object) -> None:
        await self._connecting.__aexit__(None, None, None)
        await asyncio.gather(self._reader, return_exceptions=True)
        self._process.kill_session()

    async def tab(self, url: str = "") -> Tab:
        """A new tab, on a page or empty."""
        target = (await self.command("Target.createTarget", url="about:blank"))["targetId"]
        attached = await self.command("Target.attachToTarget", targetId=target, flatten=True)
        tab = Tab(self, attached["sessionId"])
        if url:
            await tab.go(url)
        return tab

    async def command(self, method: str, session: str = "", **parameters: Any) -> Any:
        """Send a DevTools command and wait for its result. Raises BrowserError."""
        number = next(self._numbers)
        future = self._answers[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": parameters}
        await self._socket.send(json.dumps(message | ({"sessionId": session} if session else {})))
        async with asyncio.timeout(PATIENCE_SECONDS):
            answer = await future
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    async def _read(self) -> None:
        try:
            async for text in self._socket:
                message = json.loads(text)
                if future := self._answers.pop(message.get("id"), None):
                    future.set_result(message)
        except ConnectionClosed:
            pass
