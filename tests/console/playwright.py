"""Pages of the console as Playwright sees them, in the browser that the tests share."""

from __future__ import annotations

import json
import shutil
import subprocess
from types import TracebackType
from typing import Any, Final, Self

from tests.services.browser import Chromium
from tests.services.javascript import require_packages
from tests.services.server import Server

SMALL: Final = 360
LARGE: Final = 1280
PAINTED: Final = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))"
"""Charts are as wide as their places from the next frame on."""


class PlaywrightError(AssertionError):
    """A step failed, such as a wait that has gone on for too long."""


class Playwright:
    """The driver. A context manager; the pages that it opened are closed with it."""

    def __init__(self, chromium: Chromium) -> None:
        folder = require_packages("tests/console")
        node = shutil.which("node")
        assert node is not None, "Node is not installed (make test installs it)"
        self._process = subprocess.Popen(
            [node, folder / "drive.mjs", chromium.url],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def open(self, server: Server, session: str, path: str = "", **how: Any) -> PlaywrightPage:
        """A page below `/console/` in a context of its own; `how` is `width`, `height` and `scheme`."""
        number = self.command("open", url=server.url, session=session, **how)
        page = PlaywrightPage(self, number, server)
        page.go(path)
        return page

    def command(self, do: str, **what: Any) -> Any:
        """Tell the driver, and wait for its answer. Raises PlaywrightError."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **what}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline() or '{"error": "the driver has ended"}')
        if "error" in answer:
            raise PlaywrightError(answer["error"])
        return answer["answer"]


class PlaywrightPage:
    """One page in a browser context of its own: its cookies and stores are nobody else's."""

    def __init__(self, playwright: Playwright, number: int, server: Server) -> None:
        self._playwright = playwright
        self._number = number
        self.server = server

    def steps(self, *steps: list[Any]) -> Any:
        """Calls of Playwright's, each on what the one before gave; the last one's value."""
        return self._playwright.command("steps", page=self._number, steps=steps)

    def go(self, path: str) -> None:
        """Go to a page below `/console/`."""
        self.steps(["goto", f"{self.server.url}/console/{path}"])

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        return self.steps(["evaluate", script])

    def until(self, expression: str) -> None:
        """Wait until an expression is true in the page."""
        self._playwright.command("until", page=self._number, expression=expression)

    def until_text(self, selector: str, text: str) -> None:
        """Wait until an element has a text; fails with the text that it has."""
        found = f"document.querySelector({json.dumps(selector)})?.innerText.trim()"
        try:
            self.until(f"{found} === {json.dumps(text)}")
        except PlaywrightError as error:
            raise PlaywrightError(f"{selector}: {self.run(found)!r} is not {text!r}") from error

    def texts(self, selector: str) -> list[str]:
        """The text of each element."""
        found: list[str] = self.steps(["locator", selector], ["allInnerTexts"])
        return found

    def click(self, selector: str) -> None:
        """Click once it can be."""
        self.steps(["locator", selector], ["click"])

    def press(self, name: str) -> None:
        """Press the button of a name."""
        self.steps(["getByRole", "button", {"name": name, "exact": True}], ["click"])

    def fill(self, label: str, value: str) -> None:
        """Type into the field of a label."""
        self.steps(["getByLabel", label, {"exact": True}], ["fill", value])

    def look(self, width: int, scheme: str) -> None:
        """Change the width of the window, and whether the system is light or dark; charts follow."""
        self.steps(["setViewportSize", {"width": width, "height": 900}])
        self.steps(["emulateMedia", {"colorScheme": scheme}])
        self.run(PAINTED)

    def violations(self) -> list[dict[str, Any]]:
        """What axe-core finds."""
        found: list[dict[str, Any]] = self._playwright.command("axe", page=self._number)
        return found

    def problems(self) -> list[str]:
        """What the page has complained of so far."""
        found: list[str] = self._playwright.command("problems", page=self._number)
        return found

    def called(self) -> list[str]:
        """Its calls of REST so far, such as `GET sessions/`."""
        found: list[str] = self._playwright.command("called", page=self._number)
        return found

    def pushed(self) -> list[dict[str, Any]]:
        """What the server has pushed to it with totals, oldest first: `at` and `totals`."""
        found: list[dict[str, Any]] = self._playwright.command("pushed", page=self._number)
        return found

    def close(self) -> None:
        """Leave."""
        self._playwright.command("close", page=self._number)
