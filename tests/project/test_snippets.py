"""Pages as they are printed: their blocks run from top to bottom, and print what the page says.

`sh` runs to its end; `js` (in Node) and `python` are started and go on beside what follows, as a client does.
Every line of a block `text` has to be printed by what runs, `…` standing for anything. A block with a title
that begins with *Before* is code for another server, or of an app that is not installed here, and is not run.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.services.databases import REPOSITORY, Databases
from tests.services.javascript import require_packages
from tests.services.process import Process
from tests.services.server import Server
from tests.services.waiting import until

pytestmark = [pytest.mark.once, pytest.mark.timeout(150)]

PAGES = [REPOSITORY / "docs/first-minutes.md", *sorted((REPOSITORY / "docs/moving").glob("*.md"))]
MADE = "Yq3n" * 4 + "8sKd" * 4 + "pW0z" * 8
"""In place of what the reader has `openssl rand` make."""
SECURITY = REPOSITORY / "docs/security.md"
COMMANDS = [REPOSITORY / name for name in ("docs/access.md", "routing_app/rooms/README.md")]
"""Pages of which the commands run; their snippets are parts of programs."""
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]*)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
NOT_RUN = {
    "git clone": "it has no address here; the server that the test has started takes its place",
    "pip install": "tests/project/test_package.py installs the package, and tests/clients the clients",
}
"""Lines of commands that are left out, by what they hold, and why."""
PROGRAMS = {
    ".venv/bin/python": sys.executable,
    ".venv/bin/switchboard ": f"{sys.executable} -m switchboard_client.cli ",
}
PACKAGES = {
    "socket.io-client": "socket.io-client-4.8",
    "switchboard-client": (REPOSITORY / "clients/js/src/index.js").as_uri(),
}
TOKEN = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+")
"""A JWT, which stands for `<TOKEN>`: the last one that was printed."""
LANGUAGES = {"sh", "js", "python", "text"}
SECONDS = 60


def blocks(page: Path) -> list[tuple[str, str]]:
    """(language, text) of the blocks that run, in order."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [(language, text) for language, title, text in found if not title.startswith("Before")]


class Reader:
    """Runs the blocks of one page."""

    def __init__(self, broker: Server, folder: Path) -> None:
        self._broker = broker
        self._folder = folder
        self._started: list[Process] = []
        self._printed = ""
        self._env = broker.env | {
            "KEY": broker.api_key,
            "PYTHONPATH": str(REPOSITORY / "clients/python"),
            "PYTHONUNBUFFERED": "1",
            "SWITCHBOARD_URL": f"{broker.ws_url}/connection",
            "SWITCHBOARD_API_KEY": broker.api_key,
            "CURL_HOME": str(folder),
        }
        (folder / ".curlrc").write_text(
            "silent\nshow-error\nfail-with-body\n"
        )  # an HTTP error fails a command

    def _here(self, text: str) -> str:
        """The block for this server."""
        text = text.replace("localhost:8000", self._broker.url.removeprefix("http://"))
        text = text.replace("sb_…", self._broker.api_key).replace(
            "wsPort: 8000", f"wsPort: {self._broker.port}"
        )
        if "<TOKEN>" in text:
            text = text.replace("<TOKEN>", TOKEN.findall(self._printed)[-1])
        for program, here in PROGRAMS.items():
            text = text.replace(program, here)
        return text

    def sh(self, text: str) -> None:
        """Run commands to their end."""
        lines = [line for line in text.splitlines() if not any(words in line for words in NOT_RUN)]
        done = subprocess.run(
            ["sh", "-ec", self._here("\n".join(lines))],
            cwd=REPOSITORY,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        self._printed += done.stdout + "\n"

    def js(self, text: str) -> None:
        """Start a module in Node, in a folder where the clients of others are installed."""
        require_packages("tests/interop")
        text = self._here(text)
        for name, here in PACKAGES.items():
            text = text.replace(f'"{name}"', f'"{here}"')
        if "new WebSocket" in text:
            text = f'import {{ WebSocket }} from "ws";\n{text}'
        self._start("node", "--input-type=module", "--eval", text, cwd=REPOSITORY / "tests/interop")

    def python(self, text: str) -> None:
        """Start a program in Python."""
        self._start(sys.executable, "-c", self._here(text), cwd=REPOSITORY)

    def _start(self, *command: str, cwd: Path) -> None:
        log = self._folder / f"{len(self._started)}.log"
        log.touch()
        self._started.append(Process(command, log=log, env=self._env, cwd=cwd))

    def printed(self) -> str:
        """All that was printed."""
        return self._printed + "".join(process.log_text() for process in self._started)

    def _has_printed(self, pattern: re.Pattern[str]) -> bool:
        return pattern.search(self.printed()) is not None

    async def text(self, text: str) -> None:
        """Wait until every line was printed."""
        for line in text.splitlines():
            pattern = re.compile(re.escape(self._here(line)).replace("…", ".*"))
            try:
                await until(partial(self._has_printed, pattern), SECONDS)
            except AssertionError:
                pytest.fail(f"nothing has printed {line!r}:\n{self.printed()}")

    def close(self) -> None:
        """End what is left."""
        for process in self._started:
            process.kill_session()


@pytest.fixture(scope="module")
def broker(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    url = databases.create()
    options = {"DATABASE_URL": url, "EXTRA_APPS": "examples.pusher,examples.chat"}
    server = Server(tmp_path_factory.mktemp("pages"), options)
    try:
        server.start()
        yield server
    finally:
        server.close()
        databases.drop(url)


def test_each_reason_not_to_run_a_line_is_one_of_a_page() -> None:
    commands = "\n".join(text for page in PAGES for language, text in blocks(page) if language == "sh")

    assert [words for words in NOT_RUN if words not in commands] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
async def test_a_page_does_what_it_says(page: Path, broker: Server, tmp_path: Path) -> None:
    found = blocks(page)
    assert {language for language, _ in found} <= LANGUAGES
    assert [text for language, text in found if language == "text"], "the page promises nothing"
    reader = Reader(broker, tmp_path)
    try:
        for language, text in found:
            outcome: Any = getattr(reader, language)(text)
            if outcome is not None:
                await outcome
    finally:
        reader.close()


@pytest.mark.parametrize("page", COMMANDS, ids=lambda page: page.stem)
def test_the_commands_of_a_page_succeed(page: Path, broker: Server, tmp_path: Path) -> None:
    commands = [text for language, text in blocks(page) if language == "sh"]

    assert commands
    for command in commands:
        Reader(broker, tmp_path).sh(command)


def manage(folder: Path, *arguments: str, **settings: str) -> str:
    """What a command of `manage.py` prints with some settings."""
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=REPOSITORY,
        env=os.environ | {"VAR_DIR": str(folder), "DATABASE_URL": "", "REDIS_URL": ""} | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_the_settings_of_the_page_on_security_are_safe(tmp_path: Path) -> None:
    [lines] = re.findall(
        r"^```ini[^\n]*\n(.*?)^```", SECURITY.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    shown = dict(line.split("=", 1) for line in lines.splitlines())
    shown = {name: MADE if value.startswith("<of: openssl") else value for name, value in shown.items()}

    checks = json.loads(manage(tmp_path, "doctor", "--json", **shown, METRICS_OPEN="yes"))["checks"]
    assert [check["name"] for check in checks if check["name"].startswith("setting ")] == [
        "setting METRICS_OPEN"
    ]
    assert "no issues" in manage(tmp_path, "check", "--deploy", **shown)
