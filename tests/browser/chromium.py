"""Headless Chromium, driven over its own DevTools protocol: no driver and no package needed."""

from __future__ import annotations

import asyncio
import json
import shutil
from itertools import count
from pathlib import Path
from typing import Any, Final, Self

from websockets.asyncio.client import ClientConnection, connect

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


def find_chromium() -> str | None:
    """The browser's program, or None."""
    return shutil.which("chromium")


class BrowserError(RuntimeError):
    """The browser refused a command, or a script in it failed."""


class Tab:
    """One page."""

    def __init__(self, browser: Chromium, target: str, session: str) -> None:
        self._browser = browser
        self._target = target
        self._session = session

    async def go(self, url: str) -> None:
        """Load a page, and wait until its scripts have run."""
        await self._command("Page.navigate", url=url)
        await self._loaded()

    async def reload(self) -> None:
        """Load the page again; its sessionStorage stays."""
        await self.run("void (window.stale = true)")
        await self._command("Page.reload")
        async with asyncio.timeout(20):
            while await self.run("window.stale === true || document.readyState !== 'complete'"):
                await asyncio.sleep(0.05)

    async def run(self, expression: str) -> Any:
        """The JSON value of an expression; of a promise, once it is settled. Raises BrowserError."""
        answer = await self._command(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise BrowserError(json.dumps(answer["exceptionDetails"])[:1000])
        return answer["result"].get("value")

    async def close(self) -> None:
        """Close the tab, as a user would."""
        await self._browser.command("Target.closeTarget", targetId=self._target)

    async def _loaded(self) -> None:
        async with asyncio.timeout(20):
            while await self.run("document.readyState") != "complete":
                await asyncio.sleep(0.05)

    async def _command(self, method: str, **parameters: Any) -> Any:
        return await self._browser.command(method, self._session, **parameters)


class Chromium:
    """One browser with a fresh profile; an asynchronous context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}

    async def __aenter__(self) -> Self:
        program = find_chromium()
        assert program is not None, "Chromium is not installed"
        profile = self._folder / "profile"
        command = [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self._process = Process(command, log=self._folder / "log")
        port_file = profile / "DevToolsActivePort"
        self._process.wait_until(lambda: port_file.exists() and port_file.read_text().count("\n") > 0)
        port, path = port_file.read_text().splitlines()[:2]
        self._socket: ClientConnection = await connect(f"ws://127.0.0.1:{port}{path}", max_size=None)
        self._reader = asyncio.ensure_future(self._read())
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._socket.close()
        await asyncio.gather(self._reader, return_exceptions=True)
        self._process.kill_session()

    async def tab(self) -> Tab:
        """A new, empty tab."""
        target = (await self.command("Target.createTarget", url="about:blank"))["targetId"]
        attached = await self.command("Target.attachToTarget", targetId=target, flatten=True)
        return Tab(self, target, attached["sessionId"])

    async def command(self, method: str, session: str = "", **parameters: Any) -> Any:
        """Send a command and wait for its result. Raises BrowserError."""
        number = next(self._numbers)
        future = self._answers[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": parameters}
        await self._socket.send(json.dumps(message | ({"sessionId": session} if session else {})))
        async with asyncio.timeout(60):
            answer = await future
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    async def _read(self) -> None:
        async for text in self._socket:
            message = json.loads(text)
            if future := self._answers.pop(message.get("id"), None):
                future.set_result(message)
